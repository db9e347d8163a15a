// rate-limiter-flexible, from several connections at once: `node rate_limiter.js PORT`.
// Prints `ok - NAME` or `not ok - NAME: why` per promise.
'use strict';
const assert = require('node:assert');
const Redis = require('ioredis');
const { BurstyRateLimiter, RateLimiterRedis } = require('rate-limiter-flexible');
const { keep, open, port, sleep } = require('./promises');

const CALLERS = 50;
const client = () => {
  const redis = new Redis(port);
  open({ close: () => redis.quit() });
  return redis;
};
const limiters = (count, options) =>
  Array.from({ length: count }, () => new RateLimiterRedis({ storeClient: client(), duration: 60, ...options }));

// All callers at once: how many were let in, and what the others were told.
async function all(limiters, key, points = 1) {
  const asked = Array.from({ length: CALLERS }, (_, n) => limiters[n % limiters.length].consume(key, points));
  const told = await Promise.allSettled(asked);
  const refused = told.filter(({ status }) => status === 'rejected').map(({ reason }) => reason);
  for (const reason of refused) if (reason instanceof Error) throw reason;
  return { passed: CALLERS - refused.length, refused };
}

keep({
  async exactly_so_many_pass() {
    const crew = limiters(5, { points: 20 });
    const { passed, refused } = await all(crew, 'guest');
    assert.strictEqual(passed, 20);
    assert.ok(refused.every((told) => told.remainingPoints === 0 && told.msBeforeNext > 0 && told.msBeforeNext <= 60000));
    assert.strictEqual(Math.max(...refused.map((told) => told.consumedPoints)), CALLERS);
    assert.strictEqual((await crew[0].get('guest')).consumedPoints, CALLERS);
    assert.strictEqual((await all(crew, 'other guest', 3)).passed, 6);
  },
  async penalty_and_reward_count() {
    const [limiter] = limiters(1, { points: 10 });
    await limiter.consume('k', 2);
    assert.strictEqual((await limiter.penalty('k', 5)).consumedPoints, 7);
    assert.strictEqual((await limiter.reward('k', 4)).consumedPoints, 3);
    assert.strictEqual((await all([limiter], 'k')).passed, 7);
    await Promise.all(Array.from({ length: CALLERS }, () => limiter.penalty('parallel')));
    assert.strictEqual((await limiter.get('parallel')).consumedPoints, CALLERS);
    assert.ok(await limiter.delete('k'));
    assert.strictEqual(await limiter.get('k'), null);
  },
  async the_blocked_stay_out() {
    const crew = limiters(3, { points: 10 });
    await crew[0].block('banned', 60);
    assert.strictEqual((await all(crew, 'banned')).passed, 0);
    assert.ok((await crew[1].get('banned')).msBeforeNext > 50000);
    const strict = limiters(2, { points: 4, blockDuration: 600, keyPrefix: 'strict' });
    const { passed } = await all(strict, 'greedy');
    assert.strictEqual(passed, 4);
    assert.ok((await strict[1].get('greedy')).msBeforeNext > 60000);
    await crew[0].set('free', -5, 60);
    assert.strictEqual((await all(crew, 'free')).passed, 15);
  },
  async points_come_back_with_time() {
    const crew = limiters(2, { points: 5, duration: 1 });
    assert.strictEqual((await all(crew, 'k')).passed, 5);
    await sleep(1200);
    assert.strictEqual((await all(crew, 'k')).passed, 5);
  },
  async a_burst_has_points_of_its_own() {
    const [steady, burst] = [limiters(1, { points: 5 })[0], limiters(1, { points: 10, keyPrefix: 'burst' })[0]];
    assert.strictEqual((await all([new BurstyRateLimiter(steady, burst)], 'k')).passed, 15);
  },
  async a_script_of_ones_own_limits_too() {
    const customIncrTtlLuaScript = `
      local n = redis.call('incrby', KEYS[1], ARGV[1])
      if n == tonumber(ARGV[1]) then redis.call('pexpire', KEYS[1], ARGV[2] * 1000) end
      return {n, redis.call('pttl', KEYS[1])}`;
    assert.strictEqual((await all(limiters(3, { points: 7, customIncrTtlLuaScript }), 'guest')).passed, 7);
  },
});
