//! What the connections of one thread share.
//!
//! A worker is a thread with a tokio current-thread runtime and a `LocalSet`. Its connections borrow read and reply
//! buffers from one pool, so that an idle connection holds none. The **flusher** is a task that runs at the end of a
//! turn, behind every connection that was ready in it: one flush of the journal for all of them, then their replies.

use super::connection::Connection;
use super::feed::Feed;
use super::service_time::Loop;
use super::stream::{Accepted, Stream};
use crate::clients::Client;
use crate::clock;
use crate::command::Registry;
use crate::node::Node;
use crate::observe::WorkerStats;
use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Poll, Waker};
use tokio::sync::{Notify, mpsc};

/// A connection on its way to a worker.
pub struct Arrival {
    pub socket: Accepted,
    pub client: Arc<Client>,
    /// The users that its certificate names, the first that there is wins.
    pub users: Vec<Vec<u8>>,
}

/// A worker as the acceptor sees it.
pub struct Handle {
    pub arrivals: mpsc::UnboundedSender<Arrival>,
    pub connections: Arc<AtomicUsize>,
}

/// A worker as its connections see it.
pub struct Worker {
    pub node: &'static Node,
    pub registry: &'static Registry,
    pub stats: Arc<WorkerStats>,
    /// The thread's number: its lock in the gate, its place in the statistics.
    pub thread: usize,
    pub turns: Loop,
    buffers: RefCell<Vec<Vec<u8>>>,
    waiting: RefCell<Vec<Waker>>,
    flush: Notify,
}

impl Worker {
    /// An empty buffer, usually with memory already.
    pub fn take_buffer(&self) -> Vec<u8> {
        self.buffers.borrow_mut().pop().unwrap_or_default()
    }

    /// Gives a buffer back to the pool; large ones are freed.
    pub fn give_buffer(&self, mut buffer: Vec<u8>) {
        let mut pool = self.buffers.borrow_mut();
        if buffer.capacity() > 0 && buffer.capacity() <= POOLED_BYTES_MAX && pool.len() < POOL_LEN_MAX {
            buffer.clear();
            pool.push(buffer);
        }
    }

    /// Wakes the connection once its effects have gone as far as its replies must wait for.
    pub fn wait_for_journal(&self, waker: &Waker) {
        self.waiting.borrow_mut().push(waker.clone());
        self.flush.notify_one();
    }

    /// The flusher task.
    async fn flusher(self: Rc<Self>) {
        let journal = &self.node.journal;
        loop {
            self.flush.notified().await;
            // Let every connection that is ready in this turn append first.
            tokio::task::yield_now().await;
            let target = journal.appended();
            journal.flush();
            poll_fn(|cx| {
                if journal.reply_offset() >= target {
                    return Poll::Ready(());
                }
                journal.wake_on_progress(cx.waker());
                // Progress may have come between the look and the registration.
                if journal.reply_offset() >= target { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
            self.waiting.borrow_mut().drain(..).for_each(Waker::wake);
        }
    }
}

/// Starts a worker thread. It runs until the process ends.
pub fn start(node: &'static Node, registry: &'static Registry, thread: usize) -> std::io::Result<Handle> {
    let (arrivals, mut inbox) = mpsc::unbounded_channel::<Arrival>();
    let connections = Arc::new(AtomicUsize::new(0));
    let count = connections.clone();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().event_interval(EVENT_INTERVAL).build()?;
    std::thread::Builder::new().name(format!("worker-{thread}")).spawn(move || {
        let worker = Rc::new(Worker {
            node,
            registry,
            stats: node.observatory.worker(thread),
            thread,
            turns: Loop::default(),
            buffers: RefCell::default(),
            waiting: RefCell::default(),
            flush: Notify::new(),
        });
        let local = tokio::task::LocalSet::new();
        local.spawn_local(worker.clone().flusher());
        let turning = worker.clone();
        let mut serving = Box::pin(local.run_until(async move {
            while let Some(Arrival { socket, client, users }) = inbox.recv().await {
                match Stream::adopt(socket) {
                    Ok(stream) => {
                        let serve = Serve { worker: worker.clone(), client: client.clone(), count: count.clone() };
                        let mut connection = Connection::new(worker.clone(), stream, client);
                        let worker = worker.clone();
                        connection.become_one_of(&users);
                        tokio::task::spawn_local(async move {
                            (&mut connection).await;
                            if let Some((stream, replica, input)) = connection.as_replica() {
                                Feed::new(&worker, stream, replica, input).run().await;
                            }
                            drop(serve);
                        });
                    }
                    Err(e) => {
                        crate::log::warning!("Registering a client connection failed: {e}");
                        count.fetch_sub(1, Relaxed);
                        node.clients.remove(&client);
                    }
                }
            }
        }));
        // The runtime asks the kernel for ready sockets before each poll of its main future: a turn of the loop.
        runtime.block_on(poll_fn(|cx| {
            let began = clock::ticks();
            turning.turns.turn(began, TURN_TASKS_MAX);
            turning.stats.turn_begins(began);
            let polled = serving.as_mut().poll(cx);
            turning.stats.turned(clock::ticks_to_ns(clock::ticks().wrapping_sub(began)));
            polled
        }));
    })?;
    Ok(Handle { arrivals, connections })
}

/// Signs a connection off when its task ends, however it ends.
struct Serve {
    worker: Rc<Worker>,
    client: Arc<Client>,
    count: Arc<AtomicUsize>,
}

impl Drop for Serve {
    fn drop(&mut self) {
        self.worker.node.clients.remove(&self.client);
        self.count.fetch_sub(1, Relaxed);
    }
}

/// Connections that tokio's `LocalSet` polls before it lets the runtime look at the sockets again.
const TURN_TASKS_MAX: u32 = 61;
/// Tasks run between two looks at the sockets, and so the most connections of a turn.
const EVENT_INTERVAL: u32 = 61;
const POOLED_BYTES_MAX: usize = 64 << 10;
const POOL_LEN_MAX: usize = 64;
