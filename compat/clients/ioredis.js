// ioredis against a server: `node ioredis.js PORT`, or over TLS with an authority's and a client's certificate:
// `node ioredis.js PORT CA CERT KEY`. Prints `ok - NAME` or `not ok - NAME: why` per promise.
// Uses the library's own API: promises, pipelines, MULTI, scan streams, automatic pipelining, reconnection.
'use strict';
const assert = require('node:assert');
const fs = require('node:fs');
const Redis = require('ioredis');

const [port, ...papers] = process.argv.slice(2);
const [ca, cert, key] = papers.map((path) => fs.readFileSync(path));
const tls = ca && { ca, cert, key };
const connect = (options) => new Redis({ port: Number(port), tls, ...options });
const checks = {
  async strings(r) {
    assert.strictEqual(await r.set('s', 'v'), 'OK');
    assert.strictEqual(await r.set('s', 'w', 'NX'), null);
    assert.strictEqual(await r.set('s', 'w', 'EX', 100, 'GET'), 'v');
    assert.strictEqual(await r.append('s', 'x'), 2);
    assert.deepStrictEqual(await r.mget('s', 'none'), ['wx', null]);
    assert.strictEqual(await r.mset({ a: 1, b: 2 }), 'OK');
    assert.strictEqual(await r.incrby('a', 41), 42);
    assert.strictEqual(await r.incrbyfloat('b', 0.5), '2.5');
    const blob = Buffer.alloc(1 << 20, 0xff);
    await r.set('blob', blob);
    assert.ok((await r.getBuffer('blob')).equals(blob));
  },
  async expiry(r) {
    await r.set('t', 'v', 'PX', 100000);
    assert.ok((await r.pttl('t')) > 99000);
    assert.strictEqual(await r.persist('t'), 1);
    assert.strictEqual(await r.ttl('t'), -1);
    await r.set('soon', 'v', 'PX', 5);
    await new Promise((done) => setTimeout(done, 50));
    assert.strictEqual(await r.get('soon'), null);
  },
  async keys(r) {
    const pipe = r.pipeline();
    for (let i = 0; i < 1000; i++) pipe.set(`key:${i}`, i);
    await pipe.exec();
    const seen = new Set();
    for await (const page of r.scanStream({ match: 'key:*', count: 50 })) page.forEach((key) => seen.add(key));
    assert.strictEqual(seen.size, 1000);
    assert.strictEqual(await r.dbsize(), 1000);
    assert.strictEqual(await r.del('key:1', 'key:2', 'none'), 2);
    assert.strictEqual(await r.type('key:3'), 'string');
    assert.strictEqual(await r.rename('key:3', 'renamed'), 'OK');
  },
  async streams(r) {
    assert.strictEqual(await r.xadd('x', '1-1', 'a', 1), '1-1');
    await r.xadd('x', 'MAXLEN', '~', 100, '*', 'a', 2);
    assert.deepStrictEqual(await r.xrange('x', '-', '+', 'COUNT', 1), [['1-1', ['a', '1']]]);
    assert.strictEqual(await r.xgroup('CREATE', 'x', 'g', '0'), 'OK');
    const [[key, entries]] = await r.xreadgroup('GROUP', 'g', 'c', 'COUNT', 1, 'STREAMS', 'x', '>');
    assert.deepStrictEqual([key, entries], ['x', [['1-1', ['a', '1']]]]);
    assert.deepStrictEqual(await r.xpending('x', 'g'), [1, '1-1', '1-1', [['c', '1']]]);
    assert.deepStrictEqual(await r.xautoclaim('x', 'g', 'd', 0, 0, 'JUSTID'), ['0-0', ['1-1'], []]);
    assert.strictEqual(await r.xack('x', 'g', '1-1'), 1);
    const other = connect();
    const waits = other.xread('BLOCK', 5000, 'STREAMS', 'x', '$');
    while (!/cmd=xread /.test(await r.client('LIST'))) await new Promise((done) => setTimeout(done, 5));
    const id = await r.xadd('x', '*', 'late', 1);
    assert.deepStrictEqual(await waits, [['x', [[id, ['late', '1']]]]]);
    await other.quit();
  },
  async transactions(r) {
    assert.deepStrictEqual(await r.multi().set('a', 1).incr('a').get('a').exec(), [[null, 'OK'], [null, 2], [null, '2']]);
    const other = connect();
    await r.watch('a');
    await other.set('a', 9);
    assert.strictEqual(await r.multi().set('a', 10).exec(), null);
    await other.quit();
    const results = await r.multi().set('w', 'x').incr('w').exec();
    assert.match(results[1][0].message, /not an integer/);
  },
  async pipelines(r) {
    const pipe = r.pipeline();
    for (let i = 0; i < 5000; i++) pipe.incr('n');
    const results = await pipe.exec();
    assert.deepStrictEqual(results.at(-1), [null, 5000]);
    const auto = connect({ enableAutoPipelining: true });
    assert.strictEqual((await Promise.all(Array.from({ length: 500 }, () => auto.incr('n')))).at(-1), 5500);
    await auto.quit();
  },
  async connection(r) {
    assert.strictEqual(await r.ping(), 'PONG');
    assert.strictEqual(await r.client('SETNAME', 'tester'), 'OK');
    assert.match(await r.client('LIST'), /name=tester/);
    const named = connect({ connectionName: 'named', db: 4 });
    await named.set('only', 'here');
    assert.strictEqual(await r.exists('only'), 0);
    assert.strictEqual(await named.client('GETNAME'), 'named');
    await named.flushdb();
    await named.quit();
  },
  async publish_and_subscribe(r) {
    const listener = connect();
    const heard = [];
    listener.on('message', (channel, message) => heard.push(`${channel} ${message}`));
    listener.on('pmessage', (pattern, channel, message) => heard.push(`${pattern} ${channel} ${message}`));
    listener.on('smessage', (channel, message) => heard.push(`shard ${channel} ${message}`));
    assert.strictEqual(await listener.subscribe('news', 'other'), 2);
    assert.strictEqual(await listener.psubscribe('n*'), 3);
    assert.strictEqual(await listener.ssubscribe('news'), 1);
    await assert.rejects(listener.get('x'), /subscriber mode/);
    assert.strictEqual(await r.publish('news', 'hello'), 2);
    assert.strictEqual(await r.spublish('news', 'there'), 1);
    await listener.ping();
    assert.deepStrictEqual(heard, ['news hello', 'n* news hello', 'shard news there']);
    await listener.unsubscribe('news', 'other');
    await listener.punsubscribe('n*');
    await listener.sunsubscribe('news');
    assert.strictEqual(await r.publish('news', 'nobody'), 0);
    listener.disconnect();
  },
  async reconnects_after_client_kill(r) {
    const victim = connect({ retryStrategy: () => 10 });
    const id = await victim.client('ID');
    await r.client('KILL', 'ID', id);
    assert.strictEqual(await victim.ping(), 'PONG');
    await victim.quit();
  },
  async server(r) {
    assert.match(await r.info(), /redis_version:/);
    assert.deepStrictEqual(await r.config('GET', 'maxmemory-policy'), ['maxmemory-policy', 'noeviction']);
    assert.ok((await r.command('COUNT')) > 50);
    await assert.rejects(r.call('NOSUCH'), /unknown command/);
    assert.strictEqual((await r.time()).length, 2);
  },
};

// What only a server with TLS and `tls-auth-clients yes` can be asked.
const checksOfTls = {
  async wrong_papers_are_refused(r) {
    const once = { retryStrategy: null, maxRetriesPerRequest: 0 };
    const attempt = async (tls) => {
      const stranger = connect({ ...once, tls });
      const why = new Promise((done) => stranger.once('error', (error) => done(error.code || error.message)));
      await assert.rejects(stranger.ping());
      stranger.disconnect();
      return why;
    };
    // With 1.3 the client learns of the refusal from the alert, if it comes before the end of the connection.
    for (const maxVersion of ['TLSv1.2', 'TLSv1.3']) assert.match(await attempt({ ca, maxVersion }), /ALERT|ECONNRESET|EPIPE|closed/i);
    // OpenSSL sends the authority's certificate along.
    assert.match(await attempt({ cert, key }), /^(SELF_SIGNED_CERT_IN_CHAIN|UNABLE_TO_VERIFY_LEAF_SIGNATURE)$/);
    assert.strictEqual(await attempt({ ca, cert, key, servername: 'elsewhere', checkServerIdentity: () => new Error('another name') }), 'another name');
    assert.strictEqual(await r.ping(), 'PONG');
  },
  async either_version_is_spoken() {
    for (const version of ['TLSv1.2', 'TLSv1.3']) {
      const r = connect({ tls: { ...tls, minVersion: version, maxVersion: version } });
      assert.strictEqual(await r.ping(), 'PONG');
      assert.strictEqual(r.stream.getProtocol(), version);
      assert.ok(r.stream.authorized);
      await r.quit();
    }
  },
};

async function main() {
  const r = connect();
  for (const [name, check] of Object.entries(tls ? { ...checks, ...checksOfTls } : checks)) {
    await r.flushall();
    try {
      await check(r);
      console.log(`ok - ${name}`);
    } catch (error) {
      console.log(`not ok - ${name}: ${error.message.split('\n').join(' ')}`);
    }
  }
  await r.quit();
}

main();
