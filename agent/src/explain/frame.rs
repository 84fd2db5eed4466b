//! A packet to be explained: its bytes, and how it came.

use lanekeeper_common::packet::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, Layer};

use super::words::Words;

/// One packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// From 1, in the order of the file.
    pub number: u64,
    /// What its first byte belongs to.
    pub layer: Layer,
    /// From that layer on.
    pub bytes: Vec<u8>,
    /// The interface that it came in by, where that is known.
    pub interface: Option<String>,
}

impl Frame {
    /// Bytes that begin with an IP header; other bytes are kept, as no IP.
    pub fn ip(number: u64, bytes: Vec<u8>) -> Self {
        let ethertype = match bytes.first().map(|byte| byte >> 4) {
            Some(4) => ETHERTYPE_IPV4,
            Some(6) => ETHERTYPE_IPV6,
            Some(_) | None => 0,
        };
        Self { number, layer: Layer::Network(ethertype), bytes, interface: None }
    }

    /// The packet that these words describe.
    pub fn of(words: &Words) -> Self {
        Self { interface: words.interface.clone(), ..Self::ethernet(1, words.frame()) }
    }

    /// Bytes that begin with an Ethernet header.
    pub fn ethernet(number: u64, bytes: Vec<u8>) -> Self {
        Self { number, layer: Layer::Ethernet, bytes, interface: None }
    }

    /// The same packet as it would have come in by that interface.
    pub fn by(self, interface: impl Into<String>) -> Self {
        Self { interface: Some(interface.into()), ..self }
    }
}
