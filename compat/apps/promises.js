// Promises that are tried one by one, each on an emptied server, with a line that says whether it was kept.
'use strict';
const Redis = require('ioredis');

const port = Number(process.argv[2]);
const WAIT_MAX_MS = 30000;
const opened = [];

// What `opened` has is closed after the promise, the last first.
const open = (thing) => {
  opened.push(thing);
  return thing;
};
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

async function until(what, holds) {
  const deadline = Date.now() + WAIT_MAX_MS;
  for (;;) {
    const value = await holds();
    if (value) return value;
    if (Date.now() > deadline) throw new Error(`${what}: not after ${WAIT_MAX_MS} ms`);
    await sleep(10);
  }
}

async function keep(promises) {
  const redis = new Redis(port);
  for (const [name, promise] of Object.entries(promises)) {
    await redis.flushall();
    try {
      await promise(redis);
      console.log(`ok - ${name.replaceAll('_', ' ')}`);
    } catch (error) {
      console.log(`not ok - ${name.replaceAll('_', ' ')}: ${String(error.stack || error).split('\n').slice(0, 3).join(' ')}`);
      process.exitCode = 1;
    }
    for (const thing of opened.splice(0).reverse()) await thing.close();
  }
  await redis.quit();
}

module.exports = { keep, open, port, sleep, until };
