//! What other threads send to a client: a queue that its own connection renders, in its own protocol, when it may.
//!
//! A sender does not know RESP2 from RESP3. A message is encoded once, however many clients receive it: a [`Push`] shares
//! its bytes. Per sender and receiver the order is kept. The queue is bounded by the receiver's hard output limit: a client
//! whose unread output would pass it is closed in place of getting the message.

use crate::resp::{Proto, push_bulk};
use bytes::Bytes;
use std::collections::VecDeque;

/// Something sent to a client that is no reply to one of its commands.
#[derive(Clone, Debug)]
pub enum Push {
    /// Bytes that are the same in both protocols: a line of MONITOR.
    Line(Bytes),
    /// Encoded elements, in two pieces of which the second is shared by all receivers: an array in RESP2, a push in RESP3.
    Elements { len: u8, head: Bytes, tail: Bytes },
    /// CLIENT TRACKING: an encoded array of keys that are no longer valid; `None` stands for all keys.
    Invalid(Option<Bytes>),
}

impl Push {
    /// `message`, with its channel and payload encoded as [`Push::two_bulks`].
    pub fn message(kind: &'static [u8], tail: Bytes) -> Self {
        Self::Elements { len: 3, head: Bytes::from_static(kind), tail }
    }

    /// Two bulk strings, as the tail of several pushes.
    pub fn two_bulks(first: &[u8], second: &[u8]) -> Bytes {
        let mut bytes = Vec::with_capacity(first.len() + second.len() + 2 * BULK_AROUND_BYTES);
        push_bulk(&mut bytes, first);
        push_bulk(&mut bytes, second);
        bytes.into()
    }

    /// Keys that are no longer valid.
    pub fn invalid(keys: &[&[u8]]) -> Self {
        let mut array = Vec::new();
        crate::resp::Out::new(&mut array, Proto::Resp2).bulks(keys.iter());
        Self::Invalid(Some(array.into()))
    }

    /// How much it counts against the receiver's limit.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Line(line) => line.len(),
            Self::Elements { head, tail, .. } => head.len() + tail.len() + HEADER_BYTES,
            Self::Invalid(keys) => keys.as_ref().map_or(0, Bytes::len) + INVALIDATION_BYTES,
        }
    }

    /// Writes it as a client of this protocol reads it.
    pub fn render(&self, out: &mut Vec<u8>, proto: Proto) {
        match (self, proto) {
            (Self::Line(line), _) => out.extend_from_slice(line),
            (Self::Elements { len, head, tail }, _) => {
                out.push(if proto == Proto::Resp3 { b'>' } else { b'*' });
                crate::num::push_u64(out, u64::from(*len));
                for piece in [b"\r\n", &head[..], tail] {
                    out.extend_from_slice(piece);
                }
            }
            (Self::Invalid(keys), Proto::Resp3) => {
                out.extend_from_slice(b">2\r\n$10\r\ninvalidate\r\n");
                out.extend_from_slice(keys.as_deref().unwrap_or(b"_\r\n"));
            }
            (Self::Invalid(keys), Proto::Resp2) => {
                out.extend_from_slice(b"*3\r\n$7\r\nmessage\r\n$20\r\n__redis__:invalidate\r\n");
                out.extend_from_slice(keys.as_deref().unwrap_or(b"*-1\r\n"));
            }
        }
    }
}

/// Pushes in their order, not yet rendered.
#[derive(Default)]
pub(super) struct Outbox {
    pushes: VecDeque<Push>,
    bytes: usize,
}

impl Outbox {
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes a push unless it would make more than `room` bytes wait; then false.
    pub fn put(&mut self, push: &Push, room: usize) -> bool {
        let bytes = self.bytes + push.bytes();
        if bytes > room {
            return false;
        }
        self.bytes = bytes;
        self.pushes.push_back(push.clone());
        true
    }

    pub fn len(&self) -> usize {
        self.pushes.len()
    }

    /// Puts back what was taken and may not leave yet, into an empty outbox.
    pub fn put_back(&mut self, pushes: VecDeque<Push>) {
        self.bytes = pushes.iter().map(Push::bytes).sum();
        self.pushes = pushes;
    }

    pub fn take(&mut self) -> VecDeque<Push> {
        self.bytes = 0;
        std::mem::take(&mut self.pushes)
    }
}

/// `>3\r\n`.
const HEADER_BYTES: usize = 4;
/// What stands around the keys in RESP2, which is the longer form.
const INVALIDATION_BYTES: usize = 48;
/// A bulk string's length, and the line ends.
const BULK_AROUND_BYTES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(push: &Push, proto: Proto) -> String {
        let mut out = Vec::new();
        push.render(&mut out, proto);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn each_protocol_gets_its_own_form() {
        let message = Push::message(b"$7\r\nmessage\r\n", Push::two_bulks(b"news", b"hello"));
        let elements = "3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$5\r\nhello\r\n";
        assert_eq!(rendered(&message, Proto::Resp2), format!("*{elements}"));
        assert_eq!(rendered(&message, Proto::Resp3), format!(">{elements}"));
        let all = Push::Invalid(None);
        assert_eq!(rendered(&all, Proto::Resp3), ">2\r\n$10\r\ninvalidate\r\n_\r\n");
        assert_eq!(rendered(&all, Proto::Resp2), "*3\r\n$7\r\nmessage\r\n$20\r\n__redis__:invalidate\r\n*-1\r\n");
    }

    #[test]
    fn what_counts_is_what_is_written_and_never_more_than_the_room() {
        let push = Push::message(b"$7\r\nmessage\r\n", Push::two_bulks(b"news", b"hello"));
        assert_eq!(push.bytes(), rendered(&push, Proto::Resp2).len());
        let mut outbox = Outbox::default();
        assert!(outbox.put(&push, 2 * push.bytes()) && outbox.put(&push, 2 * push.bytes()));
        assert!(!outbox.put(&push, 3 * push.bytes() - 1));
        assert_eq!((outbox.bytes(), outbox.take().len()), (2 * push.bytes(), 2));
        assert!(outbox.put(&push, push.bytes()));
    }
}
