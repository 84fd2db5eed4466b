//! What becomes of a packet, and why.

pub mod words;
