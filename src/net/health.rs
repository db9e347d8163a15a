//! Whether the workers' loops turn: what `/healthz` answers.
//!
//! A worker marks when a turn of its loop begins and when it ends. One that is in a turn for longer than [`STUCK`]
//! serves no client, whatever it does: a command without end, a lock, a device. One that waits for sockets is in no turn.

use crate::clock;
use crate::node::Node;
use std::time::Duration;

/// For each worker, in seconds, how long it has been in its present turn; 0 while it waits for sockets.
pub fn turns(node: &Node) -> Vec<(usize, f64)> {
    let now = clock::ticks();
    let age = |since: u64| clock::ticks_to_ns(now.saturating_sub(since)) as f64 / 1e9;
    let workers = crate::process::worker_threads(&node.config.load());
    let turn = |thread: usize| node.observatory.lent(thread).turn_since();
    (0..workers).map(|thread| (thread, turn(thread).map_or(0.0, age))).collect()
}

/// Which worker is stuck, in a line for the monitor.
pub fn stuck(node: &Node) -> Option<String> {
    let (thread, seconds) = turns(node).into_iter().max_by(|a, b| a.1.total_cmp(&b.1))?;
    let client = node.observatory.lent(thread).serving();
    let client = client.map_or_else(|| "no client".to_owned(), |id| format!("client id={id}"));
    (seconds > STUCK.as_secs_f64())
        .then(|| format!("worker {thread} has served {client} for {seconds:.1} s and no other client meanwhile\n"))
}

/// No command of a sane use takes so long, and a monitor asks every few seconds.
const STUCK: Duration = Duration::from_secs(5);
