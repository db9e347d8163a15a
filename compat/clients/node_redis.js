// node-redis against a server: `node node_redis.js PORT 2|3`. Prints `ok - NAME` or `not ok - NAME: why` per promise.
// Uses the library's own API in the given RESP version: automatic pipelining, MULTI with WATCH, scan iterators.
'use strict';
const assert = require('node:assert');
const { createClient, WatchError } = require('redis');

const url = `redis://127.0.0.1:${process.argv[2]}`;
const RESP = Number(process.argv[3] || 2);
const connect = (options = {}) => createClient({ url, RESP, ...options }).on('error', () => {}).connect();
const checks = {
  async strings(r) {
    assert.strictEqual(await r.set('s', 'v'), 'OK');
    assert.strictEqual(await r.set('s', 'w', { NX: true }), null);
    assert.strictEqual(await r.set('s', 'w', { EX: 100, GET: true }), 'v');
    assert.strictEqual(await r.getRange('s', 0, -1), 'w');
    assert.strictEqual(await r.mSet({ a: '1', b: '2' }), 'OK');
    assert.deepStrictEqual(await r.mGet(['a', 'b', 'none']), ['1', '2', null]);
    assert.strictEqual(await r.incrBy('a', 41), 42);
    assert.strictEqual(await r.getDel('a'), '42');
  },
  async expiry(r) {
    await r.set('t', 'v', { PX: 100000 });
    assert.ok((await r.pTTL('t')) > 99000);
    assert.ok(await r.persist('t'));
    assert.strictEqual(await r.ttl('t'), -1);
    await r.set('soon', 'v', { PX: 5 });
    await new Promise((done) => setTimeout(done, 50));
    assert.strictEqual(await r.exists('soon'), 0);
  },
  async keys(r) {
    await Promise.all(Array.from({ length: 1000 }, (_, i) => r.set(`key:${i}`, `${i}`)));
    const seen = new Set();
    for await (const page of r.scanIterator({ MATCH: 'key:*', COUNT: 50 })) [page].flat().forEach((key) => seen.add(key));
    assert.strictEqual(seen.size, 1000);
    assert.strictEqual(await r.dbSize(), 1000);
    assert.strictEqual(await r.copy('key:1', 'copied'), 1);
    assert.strictEqual(await r.unlink(['key:1', 'copied', 'none']), 2);
  },
  async streams(r) {
    assert.strictEqual(await r.xAdd('x', '1-1', { a: '1' }), '1-1');
    await r.xAdd('x', '*', { a: '2' }, { TRIM: { strategy: 'MAXLEN', strategyModifier: '~', threshold: 100 } });
    assert.strictEqual(await r.xLen('x'), 2);
    const [first] = await r.xRange('x', '-', '+', { COUNT: 1 });
    assert.deepStrictEqual([first.id, first.message.a], ['1-1', '1']);
    assert.strictEqual(await r.xGroupCreate('x', 'g', '0'), 'OK');
    const read = await r.xReadGroup('g', 'c', { key: 'x', id: '>' }, { COUNT: 1 });
    assert.ok(JSON.stringify(read).includes('1-1'));
    assert.strictEqual((await r.xPending('x', 'g')).pending, 1);
    assert.deepStrictEqual(await r.xAutoClaimJustId('x', 'g', 'd', 0, '0'), { nextId: '0-0', messages: ['1-1'], deletedMessages: [] });
    assert.strictEqual(await r.xAck('x', 'g', '1-1'), 1);
    assert.strictEqual((await r.xInfoStream('x')).length, 2);
    assert.strictEqual((await r.xInfoGroups('x'))[0].lag, 1);
    assert.strictEqual(await r.xTrim('x', 'MAXLEN', 1), 1);
  },
  async transactions(r) {
    assert.deepStrictEqual(await r.multi().set('a', '1').incr('a').get('a').exec(), ['OK', 2, '2']);
    const other = await connect();
    await other.watch('a');
    await r.set('a', '9');
    await assert.rejects(other.multi().set('a', '10').exec(), WatchError);
    await other.close();
  },
  async pipelines(r) {
    const results = await Promise.all(Array.from({ length: 5000 }, () => r.incr('n')));
    assert.strictEqual(results.at(-1), 5000);
  },
  async connection(r) {
    assert.strictEqual(await r.ping(), 'PONG');
    assert.strictEqual(await r.echo('hello'), 'hello');
    const named = await connect({ name: 'named', database: 4 });
    assert.strictEqual(await named.clientGetName(), 'named');
    await named.set('only', 'here');
    assert.strictEqual(await r.exists('only'), 0);
    assert.ok((await r.clientList()).some((client) => client.name === 'named'));
    await named.flushDb();
    await named.close();
  },
  async publish_and_subscribe(r) {
    const listener = await connect();
    const heard = [];
    await listener.subscribe('news', (message, channel) => heard.push(`${channel} ${message}`));
    await listener.pSubscribe('n*', (message, channel) => heard.push(`n* ${channel} ${message}`));
    await listener.sSubscribe('news', (message, channel) => heard.push(`shard ${channel} ${message}`));
    assert.strictEqual(await r.publish('news', 'hello'), 2);
    assert.strictEqual(await r.sPublish('news', 'there'), 1);
    await listener.ping();
    assert.deepStrictEqual(heard, ['news hello', 'n* news hello', 'shard news there']);
    await listener.unsubscribe();
    await listener.pUnsubscribe();
    await listener.sUnsubscribe();
    assert.strictEqual(await r.publish('news', 'nobody'), 0);
    await listener.close();
  },
  async client_side_caching(r) {
    const { createClient } = require('redis');
    const caching = createClient({ url: `redis://127.0.0.1:${process.argv[2]}`, RESP: 3, clientSideCache: { maxEntries: 100 } });
    await caching.connect();
    await r.set('cached', '1');
    assert.strictEqual(await caching.get('cached'), '1');
    assert.strictEqual(await caching.get('cached'), '1');
    await r.set('cached', '2');
    await new Promise((done) => setTimeout(done, 50));
    assert.strictEqual(await caching.get('cached'), '2');
    await caching.close();
  },
  async server(r) {
    assert.match(await r.info('server'), /redis_version:/);
    assert.strictEqual((await r.configGet('maxmemory-policy'))['maxmemory-policy'], 'noeviction');
    assert.ok((await r.commandCount()) > 50);
    assert.ok((await r.memoryUsage('none')) === null);
    await assert.rejects(r.sendCommand(['NOSUCH']), /unknown command/);
  },
};

async function main() {
  const r = await connect();
  for (const [name, check] of Object.entries(checks)) {
    await r.flushAll();
    try {
      await check(r);
      console.log(`ok - ${name}`);
    } catch (error) {
      console.log(`not ok - ${name}: ${error.message.split('\n').join(' ')}`);
    }
  }
  await r.close();
}

main();
