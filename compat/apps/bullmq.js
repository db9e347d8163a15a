// BullMQ: queues, workers, flows, schedulers, all by scripts: `node bullmq.js PORT`.
// Prints `ok - NAME` or `not ok - NAME: why` per promise.
'use strict';
const assert = require('node:assert');
const { FlowProducer, Queue, QueueEvents, Worker } = require('bullmq');
const { keep, open, port, sleep, until } = require('./promises');

const connection = { host: '127.0.0.1', port };
const queueOf = (name) => open(new Queue(name, { connection }));
const workerOf = (name, work, more) => {
  const worker = open(new Worker(name, work, { connection, ...more }));
  worker.on('error', () => {}); // what it cannot do shows in the queue
  return worker;
};
const finished = (queue, count) =>
  until(`${count} jobs of ${queue.name} are done`, async () => {
    const { completed, failed } = await queue.getJobCounts('completed', 'failed');
    return completed + failed >= count;
  });

keep({
  async every_job_is_done_once() {
    const queue = queueOf('jobs');
    const runs = new Map();
    await queue.addBulk(Array.from({ length: 400 }, (_, n) => ({ name: 'square', data: { n } })));
    for (let i = 0; i < 3; i++) {
      workerOf('jobs', async (job) => {
        runs.set(job.data.n, (runs.get(job.data.n) || 0) + 1);
        await sleep(1);
        return job.data.n ** 2;
      }, { concurrency: 10 });
    }
    await finished(queue, 400);
    assert.deepStrictEqual([...runs.values()], Array(400).fill(1));
    const done = await queue.getCompleted(0, -1);
    assert.ok(done.length === 400 && done.every((job) => job.returnvalue === job.data.n ** 2));
    assert.deepStrictEqual(await queue.getJobCounts('wait', 'active', 'failed'), { wait: 0, active: 0, failed: 0 });
  },
  async delayed_jobs_wait() {
    const queue = queueOf('delayed');
    const ran = [];
    workerOf('delayed', async (job) => {
      assert.ok(Date.now() >= job.timestamp + job.opts.delay, `${job.data.n} was early`);
      ran.push(job.data.n);
    });
    await queue.addBulk([4, 2, 5, 1, 3].map((n) => ({ name: 'later', data: { n }, opts: { delay: n * 250 } })));
    await finished(queue, 5);
    assert.deepStrictEqual(ran, [1, 2, 3, 4, 5]);
    assert.strictEqual(await queue.getFailedCount(), 0);
    const late = await queue.add('later', { n: 6 }, { delay: 3600000 });
    assert.strictEqual(await late.getState(), 'delayed');
    await late.promote();
    await finished(queue, 6);
  },
  async priorities_come_first() {
    const queue = queueOf('ranked');
    const ran = [];
    for (const [name, priority] of [['c', 3], ['a', 1], ['d', 30], ['b', 1], ['first', undefined], ['c2', 3]]) {
      await queue.add(name, {}, { priority });
    }
    assert.deepStrictEqual(await queue.getCountsPerPriority([0, 1, 3, 30]), { 0: 1, 1: 2, 3: 2, 30: 1 });
    workerOf('ranked', async (job) => ran.push(job.name));
    await finished(queue, 6);
    assert.deepStrictEqual(ran, ['first', 'a', 'b', 'c', 'c2', 'd']);
  },
  async failures_are_tried_again() {
    const queue = queueOf('failing');
    let hopeless = true;
    workerOf('failing', async (job) => {
      if (job.name === 'third' && job.attemptsMade < 2) throw new Error('not yet');
      if (job.name === 'hopeless' && hopeless) throw new Error('never');
      return job.attemptsMade;
    });
    await queue.add('third', {}, { jobId: 'third', attempts: 5, backoff: { type: 'exponential', delay: 20 } });
    await queue.add('hopeless', {}, { jobId: 'hopeless', attempts: 3, backoff: { type: 'fixed', delay: 20 } });
    await finished(queue, 2);
    const [third, failed] = [await queue.getJob('third'), await queue.getJob('hopeless')];
    assert.deepStrictEqual([await third.getState(), third.returnvalue, third.attemptsMade], ['completed', 2, 3]);
    assert.deepStrictEqual([await failed.getState(), failed.failedReason, failed.attemptsMade], ['failed', 'never', 3]);
    hopeless = false;
    await failed.retry();
    await until('the failed job is done', async () => (await failed.getState()) === 'completed');
  },
  async a_parent_waits_for_its_children() {
    const flow = open(new FlowProducer({ connection }));
    const parents = queueOf('parents');
    const order = [];
    workerOf('children', async (job) => {
      const own = Object.values(await job.getChildrenValues());
      order.push(job.name);
      return own.reduce((a, b) => a + b, job.data.n);
    }, { concurrency: 4 });
    workerOf('parents', async (job) => {
      order.push(job.name);
      return Object.values(await job.getChildrenValues()).sort((a, b) => a - b);
    });
    const child = (n, children) => ({ name: `child ${n}`, queueName: 'children', data: { n }, children });
    const tree = await flow.add({
      name: 'parent', queueName: 'parents',
      children: [child(1), child(2), child(3, [child(10), child(20)]), ...Array.from({ length: 20 }, (_, i) => child(100 + i))],
    });
    await finished(parents, 1);
    const parent = await parents.getJob(tree.job.id);
    assert.deepStrictEqual(parent.returnvalue, [1, 2, 33, ...Array.from({ length: 20 }, (_, i) => 100 + i)]);
    assert.strictEqual(order.at(-1), 'parent');
    assert.ok(order.indexOf('child 3') > Math.max(order.indexOf('child 10'), order.indexOf('child 20')));
    assert.deepStrictEqual([order.length, new Set(order).size], [26, 26]);
  },
  async a_stalled_job_is_taken_over() {
    const queue = queueOf('stalled');
    let stuck = 0;
    const lost = workerOf('stalled', () => new Promise(() => { stuck++; }), { lockDuration: 500, skipStalledCheck: true });
    const job = await queue.add('job', {});
    await until('the first worker has it', () => stuck === 1);
    await lost.close(true);
    workerOf('stalled', async () => 'taken over', { stalledInterval: 200, maxStalledCount: 3 });
    await finished(queue, 1);
    const done = await queue.getJob(job.id);
    assert.deepStrictEqual([done.returnvalue, done.stalledCounter], ['taken over', 1]);
  },
  async events_are_heard() {
    const queue = queueOf('told');
    const events = open(new QueueEvents('told', { connection }));
    const progress = [];
    events.on('progress', ({ data }) => progress.push(data));
    await events.waitUntilReady();
    workerOf('told', async (job) => {
      await job.updateProgress(50);
      await job.log('half way');
      if (job.name === 'bad') throw new Error('bad luck');
      return { fine: job.data };
    });
    const jobs = await Promise.all(Array.from({ length: 20 }, (_, n) => queue.add('good', { n })));
    const values = await Promise.all(jobs.map((job) => job.waitUntilFinished(events, 30000)));
    assert.deepStrictEqual(values, Array.from({ length: 20 }, (_, n) => ({ fine: { n } })));
    const bad = await queue.add('bad', {});
    await assert.rejects(bad.waitUntilFinished(events, 30000), /bad luck/);
    assert.deepStrictEqual(progress, Array(21).fill(50));
    assert.deepStrictEqual(await queue.getJobLogs(bad.id), { logs: ['half way'], count: 1 });
  },
  async a_scheduler_makes_jobs() {
    const queue = queueOf('ticks');
    let ticks = 0;
    workerOf('ticks', async () => { ticks++; });
    await queue.upsertJobScheduler('tick', { every: 100 }, { name: 'tick', data: {} });
    await until('it has ticked five times', () => ticks >= 5);
    assert.ok(await queue.removeJobScheduler('tick'));
    assert.strictEqual(await queue.getJobSchedulersCount(), 0);
  },
  async a_worker_keeps_its_rate() {
    const queue = queueOf('slow');
    const times = [];
    await queue.addBulk(Array.from({ length: 15 }, (_, n) => ({ name: 'job', data: { n } })));
    workerOf('slow', async () => times.push(Date.now()), { limiter: { max: 5, duration: 400 }, concurrency: 15 });
    await finished(queue, 15);
    assert.ok(times.at(-1) - times[0] >= 700, `all within ${times.at(-1) - times[0]} ms`);
  },
  async a_job_of_one_id_is_there_once_and_a_paused_queue_rests() {
    const queue = queueOf('calm');
    await queue.pause();
    await Promise.all(Array.from({ length: 20 }, () => queue.add('job', {}, { jobId: 'one' })));
    await Promise.all(Array.from({ length: 20 }, (_, n) => queue.add('job', { n }, { deduplication: { id: 'two' } })));
    let ran = 0;
    workerOf('calm', async () => { ran++; });
    await sleep(300);
    assert.strictEqual(ran, 0);
    await queue.resume();
    await finished(queue, 2);
    assert.strictEqual(ran, 2);
    await queue.add('job', {}, { delay: 100000 });
    await queue.obliterate({ force: true });
    assert.deepStrictEqual(await queue.getJobCounts('completed', 'delayed', 'wait'), { completed: 0, delayed: 0, wait: 0 });
  },
});
