//! VICI, charon's control protocol: a codec that does no I/O ([`message`], [`packet`]) and a client over a Unix socket
//! ([`client`]).
//!
//! Written from strongSwan's description of the protocol (`src/libcharon/plugins/vici/README.md`).

pub mod client;
pub mod message;
pub mod packet;

pub use client::{Client, Error, Listener, Timeouts};
pub use message::{DecodeError, EncodeError, Message, Value};
pub use packet::{Frames, Packet};
