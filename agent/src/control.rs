//! What `lanekeeper status`, `top`, `reload`, `rules`, `confirm` and `observe` say to the running agent: one JSON object a line,
//! each answered by one, `observe` by as many as there are.
//!
//! Here the words; [`server`] and [`client`] are the two ends of the socket, [`access`] says who may ask what.

pub mod access;
pub mod client;
pub mod group;
pub mod server;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::observe::{MOST, Sighting, Unseen, Wish};
use crate::status::Status;
use crate::top::Sample;

/// Bytes of one request line: a verb and little else, or a thousand rules.
pub const REQUEST_LIMIT: usize = 256 * 1024;

/// Bytes of one reply line: a status of a thousand tunnels or a list of 100,000 rules with room to spare.
pub const REPLY_LIMIT: usize = 64 * 1024 * 1024;

/// Seconds that may be asked for to confirm something: a year.
pub const CONFIRM_LIMIT: u64 = 365 * 86_400;

/// What can be asked of the agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// Tunnels, lanes, classes and what falls back.
    Status {},
    /// The same, and all counters.
    Sample {},
    /// Read the file again and apply it whole, or refuse it whole.
    Reload {},
    /// Apply another file whole, or refuse it whole.
    Apply {
        /// Absolute: the agent stands elsewhere.
        file: PathBuf,
        /// Seconds until it is taken back unless it is confirmed; [`CONFIRM_LIMIT`] at most.
        confirm_within: Option<u64>,
    },
    /// Keep what `apply --confirm` put in place.
    Confirm {},
    /// Put rules into the list, all of them or none.
    AddRules {
        /// What messages call the text.
        name: String,
        /// Nothing but `[[rule]]`, as in a file.
        text: String,
        /// Where to.
        at: Anchor,
        /// Over a restart of the agent too.
        keep: bool,
    },
    /// Take rules out of the list that were added so, all of them or none.
    DeleteRules {
        /// Whose rules; `None` for those of no tenant.
        tenant: Option<String>,
        /// Their names.
        names: Vec<String>,
    },
    /// The list.
    ListRules {},
    /// Packets, as they pass, for as long as the connection lasts.
    Observe {
        /// Which.
        wish: Wish,
    },
}

/// Where in the list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Anchor {
    /// In front of all others.
    First,
    /// Behind all others.
    Last,
    /// In front of the rule of that name, of the same tenant.
    Before(String),
    /// Behind it.
    After(String),
}

/// A rule in the list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// Its name, if it has one.
    pub name: Option<String>,
    /// Whose it is.
    pub tenant: Option<String>,
    /// Its class.
    pub class: String,
    /// Where it is written.
    pub place: String,
    /// Added while the agent runs, and so to be deleted.
    pub added: bool,
    /// Added to stay over a restart.
    pub kept: bool,
}

/// What it answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "kebab-case")]
pub enum Reply {
    /// It was done; what, for a human.
    Done {
        /// One sentence.
        message: String,
    },
    /// The answer to [`Request::Status`].
    Status {
        /// All of it.
        status: Box<Status>,
    },
    /// The answer to [`Request::Sample`].
    Sample {
        /// All of it.
        sample: Box<Sample>,
    },
    /// The answer to [`Request::ListRules`].
    Rules {
        /// In their order, which is their precedence.
        rules: Vec<Listed>,
    },
    /// The answer to [`Request::Observe`]; then come [`Reply::Seen`] and [`Reply::Unseen`].
    Observing {},
    /// A packet.
    Seen {
        /// It.
        seen: Box<Sighting>,
    },
    /// Packets that were not shown, since the beginning.
    Unseen {
        /// How many.
        unseen: Unseen,
    },
    /// It was not done, and what ran before still runs.
    Refused {
        /// Why, over as many lines as there are reasons.
        error: String,
    },
}

/// Why a conversation failed.
#[derive(Debug, Error)]
pub enum Error {
    /// Nobody listens.
    #[error(
        "{socket}: no lanekeeper answers there ({source}); start `lanekeeper run` or name its socket with --socket"
    )]
    Absent {
        /// The socket.
        socket: PathBuf,
        /// What connect said.
        source: std::io::Error,
    },
    /// Not ours to talk to.
    #[error("{socket}: may not connect ({source}); become root, or for what only reads a member of the group {group}", group = group::GROUP)]
    Denied {
        /// The socket.
        socket: PathBuf,
        /// What connect said.
        source: std::io::Error,
    },
    /// Another agent holds the socket.
    #[error("{socket}: another lanekeeper answers there; stop it, or give this one its own --socket")]
    InUse {
        /// The socket.
        socket: PathBuf,
    },
    /// Reading or writing failed, a timeout included.
    #[error("{socket}: could not {what}: {source}")]
    Io {
        /// The socket.
        socket: PathBuf,
        /// What was tried.
        what: &'static str,
        /// What came back.
        source: std::io::Error,
    },
    /// Connected, but not to ask that.
    #[error("{verb}: uid {uid} may only read; ask as root, or as the agent's own user (uid {own})")]
    Forbidden {
        /// As the command line calls it.
        verb: &'static str,
        /// Who asked.
        uid: u32,
        /// The agent's.
        own: u32,
    },
    /// Connected, but not to see what others send.
    #[error(
        "{verb}: it shows what others send, which uid {uid} may not see; ask as root, or as the agent's own user (uid {own})"
    )]
    Private {
        /// As the command line calls it.
        verb: &'static str,
        /// Who asked.
        uid: u32,
        /// The agent's.
        own: u32,
    },
    /// One user has all the connections that one may have.
    #[error("uid {uid} has {limit} connections already; end one of them, or try again")]
    TooMany {
        /// Whose.
        uid: u32,
        /// The limit.
        limit: usize,
    },
    /// Users who may only read have all connections that they may have together.
    #[error("{limit} readers are connected already; end one of them, or try again")]
    Full {
        /// The limit.
        limit: usize,
    },
    /// A line longer than its limit.
    #[error("line of more than {limit} bytes")]
    TooLong {
        /// The limit.
        limit: usize,
    },
    /// A line that is not one of ours.
    #[error("not a request that this agent knows: {0}")]
    Request(serde_json::Error),
    /// More than the clock is good for.
    #[error("{seconds} s to confirm are too long: {CONFIRM_LIMIT} s at most")]
    Span {
        /// What was asked for.
        seconds: u64,
    },
    /// More than may be observed, or nothing.
    #[error("{rate} packets a second are not to be observed: 1 to {MOST} are")]
    Rate {
        /// What was asked for.
        rate: u32,
    },
    /// An answer that is not one of ours.
    #[error("not an answer that this command knows ({0}); agent and command may be of different versions")]
    Reply(serde_json::Error),
}

impl Request {
    /// One line, its newline included.
    pub fn encode(&self) -> Vec<u8> {
        line(self)
    }

    /// From one line, with or without its newline.
    pub fn decode(line: &[u8]) -> Result<Self, Error> {
        within(line, REQUEST_LIMIT)?;
        match serde_json::from_slice(line).map_err(Error::Request)? {
            Self::Apply { confirm_within: Some(seconds), .. } if seconds > CONFIRM_LIMIT => {
                Err(Error::Span { seconds })
            }
            Self::Observe { wish: Wish { rate, .. } } if !(1..=MOST).contains(&rate) => Err(Error::Rate { rate }),
            request => Ok(request),
        }
    }
}

impl Reply {
    /// One line, its newline included.
    pub fn encode(&self) -> Vec<u8> {
        line(self)
    }

    /// From one line, with or without its newline.
    pub fn decode(line: &[u8]) -> Result<Self, Error> {
        within(line, REPLY_LIMIT)?;
        serde_json::from_slice(line).map_err(Error::Reply)
    }
}

/// JSON strings escape their newlines, so one object is one line.
fn line(value: &impl Serialize) -> Vec<u8> {
    let mut bytes = serde_json::to_vec(value).expect("our own types serialise");
    bytes.push(b'\n');
    bytes
}

fn within(line: &[u8], limit: usize) -> Result<(), Error> {
    if line.len() > limit { Err(Error::TooLong { limit }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_one_json_line() {
        assert_eq!(Request::Status {}.encode(), b"{\"verb\":\"status\"}\n");
        let apply = Request::Apply { file: "/etc/a.toml".into(), confirm_within: Some(300) };
        let at = Anchor::Before("all".into());
        let add = Request::AddRules { name: "-".into(), text: "[[rule]]\n".into(), at, keep: true };
        for request in [Request::Status {}, Request::Sample {}, Request::Reload {}, apply, Request::Confirm {}, add] {
            assert_eq!(Request::decode(&request.encode()).unwrap(), request);
        }
    }

    #[test]
    fn a_reply_of_many_lines_is_one_line() {
        let reply = Reply::Refused { error: "a.toml:1:2: no\nb.toml:3:4: no\n".into() };
        let bytes = reply.encode();
        assert_eq!(bytes.iter().filter(|b| **b == b'\n').count(), 1);
        assert_eq!(Reply::decode(&bytes).unwrap(), reply);
    }

    #[test]
    fn unknown_verbs_and_fields_are_refused() {
        for bad in
            ["{\"verb\":\"fly\"}", "{}", "[]", "", "{\"verb\":\"reload\",\"file\":\"x\"}", "{\"verb\":\"status\"} x"]
        {
            let error = Request::decode(bad.as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with("not a request that this agent knows: "), "{bad}: {error}");
        }
    }

    #[test]
    fn a_span_that_no_clock_holds_is_refused() {
        let apply = |seconds| Request::Apply { file: "/etc/a.toml".into(), confirm_within: Some(seconds) };
        let longest = apply(CONFIRM_LIMIT);
        assert_eq!(Request::decode(&longest.encode()).unwrap(), longest);
        let error = Request::decode(&apply(u64::MAX).encode()).unwrap_err().to_string();
        assert_eq!(error, "18446744073709551615 s to confirm are too long: 31536000 s at most");
    }

    #[test]
    fn a_rate_of_nothing_or_of_too_much_is_refused() {
        let observe = |rate| Request::Observe { wish: Wish { rate, ..Wish::default() } };
        for rate in [1, MOST] {
            assert_eq!(Request::decode(&observe(rate).encode()).unwrap(), observe(rate));
        }
        let error = Request::decode(&observe(0).encode()).unwrap_err().to_string();
        assert_eq!(error, "0 packets a second are not to be observed: 1 to 1000 are");
        assert!(Request::decode(&observe(MOST + 1).encode()).unwrap_err().to_string().starts_with("1001 packets"));
    }

    #[test]
    fn a_long_line_is_refused_unread() {
        let long = vec![b' '; REQUEST_LIMIT + 1];
        assert_eq!(Request::decode(&long).unwrap_err().to_string(), "line of more than 262144 bytes");
    }
}
