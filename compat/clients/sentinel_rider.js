// ioredis behind Sentinels: `node sentinel_rider.js KEY HOST:PORT...`; what it does and prints is told in sentinel_rider.py.
// A host that has gone silent is found out by `socketTimeout`. Not by `failoverDetector`, which ends the client for good when it
// speaks while the client is connecting.
'use strict';
const Redis = require('ioredis');

const [key, ...places] = process.argv.slice(2);
const sentinels = places.map((place) => ({ host: place.replace(/:\d+$/, ''), port: Number(place.replace(/^.*:/, '')) }));
const pause = (ms) => new Promise((done) => setTimeout(done, ms));
const connect = (role) => {
  const options = { sentinels, name: 'group', role, connectTimeout: 500, socketTimeout: 1000 };
  const redis = new Redis({ ...options, sentinelRetryStrategy: () => 100, retryStrategy: () => 100 });
  redis.on('error', () => {}); // each command's own failure is told
  return redis;
};

(async () => {
  const [primary, replica] = [connect('master'), connect('slave')];
  for (let number = 1; ; number++) {
    try {
      await primary.sadd(key, number);
      console.log(`wrote ${number}`);
      if (number % 10 === 0) console.log(`read ${await replica.scard(key)}`);
    } catch (error) {
      console.log(`lost: ${error.message}`);
    }
    await pause(10);
  }
})();
