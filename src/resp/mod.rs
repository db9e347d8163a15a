//! The wire: RESP2 and RESP3, requests in, replies out.
//!
//! [`parse`] turns a connection's bytes into argument spans without copying them; [`argv`] is what the rest of the
//! server sees of a request, borrowed or owned; [`out`] writes replies straight into a connection's buffer; [`block`] keeps
//! long strings where they are in both.
//! Not here: sockets, commands, and any decision about what a request means.

pub mod argv;
pub mod block;
mod bulk;
pub mod out;
pub mod parse;

pub use argv::{Argv, ArgvView, Span, encode_request, encode_select};
pub use block::{Block, LONG_BYTES};
pub use bulk::{limit_output, push_bulk, take_overflow, unlimited};
pub use out::{Hole, Out, Proto};
pub use parse::{HalfRead, Limits, Parser, ProtocolError, Step};
