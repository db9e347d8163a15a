//! The sessions that clients may resume: bounded in number, and forgotten after a while.
//!
//! Each set of [`Settings`](super::Settings) has its own, so that a client that was let in by an authority that is trusted no
//! more begins anew.

use parking_lot::Mutex;
use rustls::server::StoresServerSessions;
use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

#[derive(Debug)]
pub struct Sessions {
    len_max: usize,
    lifetime: Duration,
    kept: Mutex<Kept>,
}

/// Invariant: every session has its place in the order; places whose session was taken stay until their turn.
#[derive(Debug, Default)]
struct Kept {
    by_id: HashMap<Vec<u8>, Session>,
    order: VecDeque<(Instant, Vec<u8>)>,
}

#[derive(Debug)]
struct Session {
    since: Instant,
    state: Vec<u8>,
}

impl Sessions {
    /// 0 for as many as [`LEN_MAX`].
    pub fn new(len_max: usize, lifetime: Duration) -> Self {
        let len_max = if len_max == 0 { LEN_MAX } else { len_max.min(LEN_MAX) };
        Self { len_max, lifetime, kept: Mutex::default() }
    }

    fn put_at(&self, now: Instant, id: Vec<u8>, state: Vec<u8>) {
        let mut kept = self.kept.lock();
        while kept.order.len() >= self.len_max || kept.order.front().is_some_and(|(since, _)| self.is_over(*since, now))
        {
            let Some((since, oldest)) = kept.order.pop_front() else { break };
            if kept.by_id.get(&oldest).is_some_and(|session| session.since == since) {
                kept.by_id.remove(&oldest);
            }
        }
        kept.order.push_back((now, id.clone()));
        kept.by_id.insert(id, Session { since: now, state });
    }

    fn is_over(&self, since: Instant, now: Instant) -> bool {
        now.saturating_duration_since(since) >= self.lifetime
    }

    fn get_at(&self, now: Instant, id: &[u8], take: bool) -> Option<Vec<u8>> {
        let mut kept = self.kept.lock();
        if kept.by_id.get(id).is_some_and(|session| self.is_over(session.since, now)) || take {
            return kept.by_id.remove(id).filter(|session| !self.is_over(session.since, now)).map(|s| s.state);
        }
        kept.by_id.get(id).map(|session| session.state.clone())
    }
}

impl StoresServerSessions for Sessions {
    fn put(&self, id: Vec<u8>, state: Vec<u8>) -> bool {
        self.put_at(Instant::now(), id, state);
        true
    }

    fn get(&self, id: &[u8]) -> Option<Vec<u8>> {
        self.get_at(Instant::now(), id, false)
    }

    fn take(&self, id: &[u8]) -> Option<Vec<u8>> {
        self.get_at(Instant::now(), id, true)
    }

    fn can_cache(&self) -> bool {
        true
    }
}

/// A session takes one or two kilobytes, with the client's certificates in it.
const LEN_MAX: usize = 1 << 17;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_are_bounded_in_number_and_time() {
        let sessions = Sessions::new(3, Duration::from_secs(10));
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let id = |n: u8| vec![n];
        for n in 0..4 {
            sessions.put_at(at(u64::from(n)), id(n), vec![n; 2]);
        }
        assert_eq!(sessions.get_at(at(4), &id(0), false), None, "the oldest made room");
        assert_eq!(sessions.get_at(at(4), &id(1), false), Some(vec![1; 2]));
        assert_eq!(sessions.get_at(at(11), &id(1), false), None, "its time is over");
        assert_eq!(sessions.get_at(at(11), &id(2), true), Some(vec![2; 2]));
        assert_eq!(sessions.get_at(at(11), &id(2), true), None, "taken once");
        // One that is put again under its old name is as young as its last put.
        sessions.put_at(at(12), id(3), vec![9]);
        sessions.put_at(at(12), id(4), vec![4]);
        sessions.put_at(at(12), id(5), vec![5]);
        assert_eq!(sessions.get_at(at(12), &id(3), false), Some(vec![9]));
        let kept = sessions.kept.lock();
        assert!(kept.order.len() <= 3 && kept.by_id.len() <= 3);
    }
}
