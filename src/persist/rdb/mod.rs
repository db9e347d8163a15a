//! RDB files: Redis's snapshot format.

pub mod read;
pub mod write;

const END: u8 = 0xff;
const SELECT_DB: u8 = 0xfe;
const EXPIRE_SECONDS: u8 = 0xfd;
const EXPIRE_MILLIS: u8 = 0xfc;
const RESIZE_DB: u8 = 0xfb;
const AUX: u8 = 0xfa;
const FREQUENCY: u8 = 0xf9;
const IDLE: u8 = 0xf8;
const STRING: u8 = 0;
