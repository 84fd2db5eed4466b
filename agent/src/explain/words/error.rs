//! Why words are no packet.

use std::net::IpAddr;

use crate::config::value::Reason;

/// Why words are no packet.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WordsError {
    /// No words.
    #[error("no packet: it begins with a protocol, {EXAMPLE}")]
    Nothing,
    /// It ends too early.
    #[error("the packet ends where {wanted} is wanted, {EXAMPLE}")]
    Ends {
        /// What comes next.
        wanted: &'static str,
    },
    /// Not `>`.
    #[error(
        "\"{found}\" stands where \">\" is wanted between source and destination; in a shell quote it, or write \"to\""
    )]
    Arrow {
        /// What is there.
        found: String,
    },
    /// Something that is no end of a packet.
    #[error(
        "{end} \"{found}\" is not an address or ADDRESS:PORT; an IPv6 address with a port is written [2001:db8::1]:5060"
    )]
    End {
        /// `source` or `destination`.
        end: &'static str,
        /// What is there.
        found: String,
    },
    /// One end with a port where the protocol has none.
    #[error("{protocol} has no ports, but {end} {found} has one")]
    NoPorts {
        /// The protocol.
        protocol: String,
        /// `source` or `destination`.
        end: &'static str,
        /// What is there.
        found: String,
    },
    /// One end without a port where the protocol has ports.
    #[error("{protocol} has ports: write {end} {cure}")]
    Ports {
        /// The protocol.
        protocol: String,
        /// `source` or `destination`.
        end: &'static str,
        /// The end with a port.
        cure: String,
    },
    /// Ends of two families.
    #[error("source {source_address} and destination {destination} are of different families")]
    Families {
        /// The source.
        source_address: IpAddr,
        /// The destination.
        destination: IpAddr,
    },
    /// ICMP of the other family.
    #[error("{protocol} does not go over {family}: did you mean {cure}?")]
    Icmp {
        /// The protocol.
        protocol: &'static str,
        /// The family of the addresses.
        family: &'static str,
        /// The protocol of that family.
        cure: &'static str,
    },
    /// A value that its word does not take.
    #[error("{word} {reason}{}", hint(reason))]
    Value {
        /// The word before it.
        word: &'static str,
        /// Why not.
        reason: Reason,
    },
    /// A word about a header that the packet does not have.
    #[error("\"{word}\" is for {of}, but the protocol is {protocol}")]
    Foreign {
        /// Which.
        word: &'static str,
        /// The protocols that have it.
        of: &'static str,
        /// That of the packet.
        protocol: String,
    },
    /// What only the first fragment carries.
    #[error("a later fragment has no {what}: what is behind IP's header is in its first one")]
    Later {
        /// `ports`, `flags` or `type`.
        what: &'static str,
    },
    /// A length that it cannot have.
    #[error("length \"{found}\" is none for this packet: it has {least} to 65535 bytes from its IP header on")]
    Length {
        /// What is there.
        found: String,
        /// Bytes of its headers.
        least: u16,
    },
    /// The same word again.
    #[error("\"{word}\" is there twice")]
    Twice {
        /// Which.
        word: &'static str,
    },
    /// Sent here and come in.
    #[error(
        "a packet with a cgroup is sent by this host, and one \"in\" by an interface is not: take one of the two out"
    )]
    Cgroup,
    /// A word that follows from others.
    #[error("a packet does not say its tenant: that follows from \"in INTERFACE\", from its VLAN and from its source")]
    Tenant,
    /// Another word.
    #[error("\"{found}\" is not known here: {cure}")]
    Unknown {
        /// What is there.
        found: String,
        /// The nearest, or all.
        cure: String,
    },
}

const EXAMPLE: &str = "like \"udp 10.1.0.5:4000 > 10.2.0.9:5060 dscp ef in lan0\"";

fn hint(reason: &Reason) -> String {
    reason.cure().map(|cure| format!("; {cure}")).unwrap_or_default()
}
