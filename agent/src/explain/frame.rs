//! A packet to be explained: its bytes, and how it came.

use lanekeeper_common::packet::{ETHERTYPE_IPV4, ETHERTYPE_IPV6};

use super::words::Words;
use crate::model::Probe;

/// One packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// From 1, in the order of the file.
    pub number: u64,
    /// From the Ethernet header on.
    pub bytes: Vec<u8>,
    /// The interface that it came in by, where that is known.
    pub interface: Option<String>,
    /// The mark that it came with, where that is known.
    pub mark: u32,
    /// The cgroup of its socket, where that is known.
    pub cgroup: Option<String>,
}

impl Frame {
    /// Bytes that begin with an Ethernet header.
    pub fn ethernet(number: u64, bytes: Vec<u8>) -> Self {
        Self { number, bytes, interface: None, mark: 0, cgroup: None }
    }

    /// Bytes that begin with an IP header, behind an Ethernet header without addresses; other bytes are kept, as no IP.
    pub fn ip(number: u64, packet: &[u8]) -> Self {
        let ethertype = match packet.first().map(|byte| byte >> 4) {
            Some(4) => ETHERTYPE_IPV4,
            Some(6) => ETHERTYPE_IPV6,
            Some(_) | None => 0,
        };
        Self::of_type(number, ethertype, packet)
    }

    /// What stands behind an EtherType.
    pub fn of_type(number: u64, ethertype: u16, rest: &[u8]) -> Self {
        let mut bytes = vec![0; 12];
        bytes.extend_from_slice(&ethertype.to_be_bytes());
        bytes.extend_from_slice(rest);
        Self::ethernet(number, bytes)
    }

    /// The packet that these words describe.
    pub fn of(words: &Words) -> Self {
        let Words { interface, mark, cgroup, .. } = words.clone();
        Self { interface, mark, cgroup, ..Self::ethernet(1, words.frame()) }
    }

    /// The same packet as it would have come in by that interface.
    pub fn by(self, interface: impl Into<String>) -> Self {
        Self { interface: Some(interface.into()), ..self }
    }

    /// As an engine takes it.
    pub fn probe(&self) -> Probe<'_> {
        let (ingress, cgroup) = (self.interface.as_deref(), self.cgroup.as_deref());
        Probe { frame: &self.bytes, mark: self.mark, ingress, stripped: None, cgroup }
    }
}
