//! What could not be carried over: where it stood, why, and what that changes.

use serde::{Serialize, Serializer};

/// One rule, chain or table of the origin that is not in our file, or not wholly.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// `FILE:LINE`, or `FILE: TABLE CHAIN handle N`.
    pub place: String,
    /// As it was written.
    pub rule: String,
    /// Why.
    #[serde(serialize_with = "text")]
    pub reason: Reason,
    /// What becomes of its packets.
    #[serde(serialize_with = "text")]
    pub effect: Effect,
}

fn text<T: ToString, S: Serializer>(value: &T, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&value.to_string())
}

impl std::fmt::Display for LeftOut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: left out: {}\n    {}\n    {}", self.place, self.reason, self.rule, self.effect)
    }
}

/// Why a rule has no counterpart.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// What happened to earlier packets decides.
    #[error("{what} depends on earlier packets, and lanekeeper decides on each by itself")]
    Memory {
        /// In the origin's words.
        what: String,
    },
    /// Something of a packet that no rule of ours asks for.
    #[error("a rule cannot ask for {what}")]
    Field {
        /// In the origin's words.
        what: String,
    },
    /// An option, expression or target that the import has never heard of.
    #[error("{what} is not known to this import")]
    Unknown {
        /// In the origin's words.
        what: String,
    },
    /// A value that cannot be read.
    #[error("{what} \"{value}\" cannot be read")]
    Value {
        /// Of what.
        what: String,
        /// The value.
        value: String,
    },
    /// `eth+`, `eth*`.
    #[error("\"{value}\" is a pattern: name each interface by itself, `interface = [\"lan0\", \"lan1\"]`")]
    Pattern {
        /// The pattern.
        value: String,
    },
    /// Later fragments and not first ones.
    #[error("it tells first fragments from later ones, and `fragment` means both")]
    Fragments,
    /// ICMP's second byte.
    #[error("it asks for the code of an ICMP message, and `icmp-type` is about the type alone")]
    IcmpCode,
    /// Two bits that are no DSCP.
    #[error("it asks for ECN bits, and `dscp` is about the upper six bits alone")]
    Ecn,
    /// Ports where a rule cannot ask for them.
    #[error("it asks for ports of {protocol}, and rules know those of tcp, udp and sctp")]
    Ports {
        /// Which protocols.
        protocol: String,
    },
    /// IPv6's first header is not the one that rules ask for.
    #[error(
        "\"ip6 nexthdr\" is the header behind the first, and `protocol` the one behind all extension headers: \"meta \
         l4proto\" is that too"
    )]
    NextHeader,
    /// A set or map that is not in the file.
    #[error("set or map \"{name}\" is not in the file")]
    NoSet {
        /// Its name.
        name: String,
    },
    /// A set or map that packets or time change.
    #[error("set or map \"{name}\" changes by itself: it has a timeout, or packets add to it")]
    Lively {
        /// Its name.
        name: String,
    },
    /// A chain that is not in the file.
    #[error("chain \"{name}\" is not in the file")]
    NoChain {
        /// Its name.
        name: String,
    },
    /// A mark that comes from elsewhere.
    #[error(
        "it asks for a mark that no rule before it sets: if another program does, add `mark = \"VALUE/MASK\"` to a rule \
         of your own"
    )]
    ForeignMark,
    /// A mark that is not written in the rule.
    #[error("the mark that it sets comes from {what}")]
    MarkFrom {
        /// In the origin's words.
        what: String,
    },
    /// The packet is another one behind it.
    #[error("{what} changes the packet, and lanekeeper sees it as it leaves")]
    Rewrites {
        /// In the origin's words.
        what: String,
    },
    /// Chains that other packets go through.
    #[error("these packets do not go through {hook}{}", cure.map(|cure| format!(": {cure}")).unwrap_or_default())]
    OtherWay {
        /// The hook.
        hook: String,
        /// How to have that one.
        cure: Option<&'static str>,
    },
    /// Chains that see first packets only.
    #[error("chains of type nat see the first packet of a connection only")]
    Nat,
    /// Two chains at one place.
    #[error("it is at the same hook and priority as {other}, and the file does not say which comes first")]
    SamePlace {
        /// The other chain.
        other: String,
    },
    /// iptables-nft's.
    #[error("nft does not say what {what} of iptables-nft does: import what `iptables-save` writes")]
    Compat {
        /// Of which extension.
        what: String,
    },
    /// ClassBench's last column on something else than TCP.
    #[error("flags {flags} have a meaning for tcp alone, in their upper byte")]
    Flags {
        /// The column.
        flags: String,
    },
}

/// What it changes that a rule is missing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Effect {
    /// A mark is not set.
    #[error("packets that it marks go by the other rules")]
    Unmarked,
    /// A class is not given.
    #[error("packets of it go by the rules behind it")]
    Unmatched,
    /// A chain is not ended.
    #[error("packets that it kept from the rules behind it meet them now, and may be of another class")]
    Unstopped,
    /// A chain is not entered.
    #[error("packets do not reach chain \"{chain}\" by it, and its rules do not apply to them")]
    Unvisited {
        /// Which.
        chain: String,
    },
    /// Rules of ours see something else.
    #[error("rules that ask for what it changes meet the new value, where the origin's met the old one")]
    Changed,
    /// All rules of a chain.
    #[error("none of its {rules} rules is here")]
    Chain {
        /// How many.
        rules: usize,
    },
}
