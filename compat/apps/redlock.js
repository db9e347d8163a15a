// redlock with one server, from several connections: `node redlock.js PORT`.
// Prints `ok - NAME` or `not ok - NAME: why` per promise.
'use strict';
const assert = require('node:assert');
const Redis = require('ioredis');
const Redlock = require('redlock');
const { keep, open, port, sleep } = require('./promises');

const locks = (options) => {
  const redis = new Redis(port);
  open({ close: () => redis.quit() });
  const redlock = new Redlock([redis], { retryCount: 10000, retryDelay: 2, retryJitter: 3, ...options });
  redlock.on('clientError', () => {}); // every try that finds the lock taken
  return redlock;
};

keep({
  async one_is_in_at_a_time(redis) {
    let inside = 0;
    await redis.set('counter', 0);
    await Promise.all(Array.from({ length: 8 }, async () => {
      const redlock = locks();
      for (let i = 0; i < 25; i++) {
        const lock = await redlock.lock('the lock', 10000);
        assert.strictEqual(++inside, 1);
        await redis.set('counter', Number(await redis.get('counter')) + 1);
        inside--;
        await lock.unlock();
      }
    }));
    assert.strictEqual(await redis.get('counter'), '200');
    assert.strictEqual(await redis.exists('the lock'), 0);
  },
  async a_lock_over_several_resources_is_whole() {
    const [one, two] = [locks(), locks({ retryCount: 0 })];
    const lock = await one.lock(['a', 'b', 'c'], 10000);
    await assert.rejects(two.lock(['c', 'd'], 10000), Redlock.LockError);
    const other = await two.lock('d', 10000);
    await lock.unlock();
    await (await two.lock(['a', 'b', 'c'], 10000)).unlock();
    await other.unlock();
  },
  async a_lock_ends_with_its_time_or_is_extended(redis) {
    const [one, two] = [locks(), locks({ retryCount: 0 })];
    const extended = await (await one.lock('long', 300)).extend(30000);
    const brief = await one.lock('short', 100);
    await sleep(400);
    await assert.rejects(two.lock('long', 100), Redlock.LockError);
    const next = await two.lock('short', 10000);
    await assert.rejects(brief.unlock(), Redlock.LockError);
    await assert.rejects(brief.extend(1000), Redlock.LockError);
    assert.ok((await redis.pttl('short')) > 1000);
    await next.unlock();
    await extended.unlock();
  },
});
