//! Other programs' rules -> a file of ours, and a list of what has no place in it. Text in, text out; touches nothing.
//!
//! `classbench`, `iptables` and `nft` read. The latter two have chains, jumps and marks that later rules may change
//! ([`program`]); [`decision`] turns that into a list whose first match has the last word. [`file`](mod@file) writes it.
//!
//! What is written decides as its origin does, for packets that come without a mark. What cannot be said so is left out
//! and listed ([`left_out`]), never approximated. One thing is better than in the origin: later fragments of a datagram,
//! which have no ports, go the way of its first one.

pub mod classbench;
pub mod condition;
pub mod decision;
pub mod file;
pub mod iptables;
pub mod left_out;
pub mod nft;
pub mod program;

pub use left_out::{Effect, LeftOut, Reason};

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// A file of ours, but for its tunnels.
    pub file: String,
    /// What is not in it.
    pub left_out: Vec<LeftOut>,
}

/// Whose way through the kernel is imported: a rule of ours cannot tell the host's own packets from forwarded ones.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Traffic {
    /// Packets that come in by one interface and go out by another: prerouting, forward, postrouting
    #[default]
    Forwarded,
    /// The host's own packets: output, postrouting
    Host,
}

/// Where a rule stood.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Origin {
    /// `FILE:LINE`, or `FILE: TABLE CHAIN handle N`.
    pub place: String,
    /// The rule, as it was written.
    pub text: String,
    /// Its comment.
    pub name: Option<String>,
}

/// Why nothing came of it. `file` is what was read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A line of no known form.
    #[error("{file}:{line}: {found}: {wanted}")]
    Line {
        /// Which.
        file: String,
        /// From 1.
        line: usize,
        /// What is there.
        found: String,
        /// What would be right.
        wanted: &'static str,
    },
    /// Not JSON.
    #[error("{file}: not JSON ({reason}): write it with `nft -j list ruleset`")]
    Json {
        /// Which.
        file: String,
        /// The parser's.
        reason: String,
    },
    /// JSON of something else.
    #[error("{file}: {place}: {wanted} is missing: write it with `nft -j list ruleset`")]
    Shape {
        /// Which.
        file: String,
        /// Which object.
        place: String,
        /// What is not there.
        wanted: &'static str,
    },
    /// No rule at all.
    #[error("{file} has no {what}: {cure}")]
    Nothing {
        /// Which.
        file: String,
        /// What was looked for.
        what: &'static str,
        /// What to give.
        cure: &'static str,
    },
    /// Rules that change parts of a mark, whose combinations are too many.
    #[error(
        "{place}: from here on the combinations of marks take more than {most} rules: set whole marks, or end the chain \
         with a verdict behind each"
    )]
    Long {
        /// The rule.
        place: String,
        /// The bound.
        most: usize,
    },
    /// Chains that lead round, or deeper than nft takes them; iptables has no bound of its own.
    #[error(
        "{place}: chain \"{chain}\" is reached by more than {most} jumps, and neither nft nor this import follows more: jump \
         to it from a chain nearer to the first"
    )]
    Deep {
        /// The rule.
        place: String,
        /// Where it leads.
        chain: String,
        /// The bound.
        most: usize,
    },
    /// Jumps that would take too long: each puts the rules behind it in order anew.
    #[error(
        "{place}: the jump to chain \"{chain}\" is one too many: each jump puts the rules behind it in order anew, with this \
         one more than {most} of them: jump to it from fewer rules, of wider conditions"
    )]
    Again {
        /// The rule.
        place: String,
        /// Where it leads.
        chain: String,
        /// The bound.
        most: usize,
    },
}

#[cfg(test)]
mod tests;
