//! What is odd about a config that works: the operator should know, and may have meant it.

use std::net::SocketAddr;
use std::path::PathBuf;

/// One warning. `object` is the thing as a message calls it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Caution {
    /// Another program writes some of our bits.
    #[error("[mark]: mask {mask:#010x} overlaps the bits {bits:#x} of {neighbour}")]
    Neighbour {
        /// Ours.
        mask: u32,
        /// Both have these.
        bits: u32,
        /// Who else.
        neighbour: &'static str,
    },
    /// Addresses of two families.
    #[error("{object} matches no packet: source is {source_family} only and destination is {destination_family} only")]
    RuleFamilies {
        /// Which rule.
        object: String,
        /// `IPv4` or `IPv6`.
        source_family: &'static str,
        /// The other.
        destination_family: &'static str,
    },
    /// Behind a rule that takes everything.
    #[error("{object} is never reached: {before} takes everything before it")]
    RuleShadowed {
        /// Which rule.
        object: String,
        /// The rule before it.
        before: String,
    },
    /// Behind rules that take all of it.
    #[error("{object} is never reached: {} all its packets first", taken(before))]
    RuleCovered {
        /// Which rule.
        object: String,
        /// The rules before it, with their places; never none.
        before: Vec<String>,
    },
    /// Fields that are not known of a socket.
    #[error("{object} marks no socket: its {fields} are known of packets alone")]
    SocketUnseen {
        /// Which rule.
        object: String,
        /// `dscp, length`.
        fields: String,
    },
    /// Something before it that is not known of a socket.
    #[error("{object} marks no socket: of packets alone is known whether {before} has them first")]
    SocketOpen {
        /// Which rule.
        object: String,
        /// A rule with its place, or a tenant.
        before: String,
    },
    /// Behind too many rules.
    #[error(
        "{object} marks no socket: {most} rules or members of their lists are looked at for one, and there are more before it"
    )]
    SocketRoom {
        /// Which rule.
        object: String,
        /// How many.
        most: usize,
    },
    /// An earlier tenant has it.
    #[error("{object} gets nothing of {what}: {before} has it first")]
    TenantShadowed {
        /// Which tenant.
        object: String,
        /// `interface lan0`, `source 10.1.0.0/16`.
        what: String,
        /// The tenant before it.
        before: String,
    },
    /// A tunnel drops what rules give it.
    #[error("{object} carries neither class \"{class}\" nor its fallbacks: such packets are dropped there")]
    ClassBlocked {
        /// Which tunnel.
        object: String,
        /// A class that rules lead to.
        class: String,
    },
    /// What carries it has another maker.
    #[error(
        "{object}: the outer-dscp of class \"{class}\" is not written: charon sends the ESP of its TUN device, with DSCP 0"
    )]
    OuterOfTun {
        /// Which tunnel.
        object: String,
        /// Which of its classes.
        class: String,
    },
    /// Some of the inner traffic has no policy.
    #[error("{object}: route {route} is outside remote-ts, so its packets are dropped")]
    RouteOutside {
        /// Which tunnel.
        object: String,
        /// The prefix.
        route: String,
    },
    /// The addresses of clients are not known before they come, and routes are not around them.
    #[error("{object}: IKE and ESP to clients of {clients}, which are anywhere, would enter it by route {route}")]
    ClientsRouted {
        /// Which tunnel.
        object: String,
        /// Whose clients.
        clients: String,
        /// The prefix.
        route: String,
    },
    /// Others reach the listener, and it asks them for nothing.
    #[error(
        "[metrics]: whoever reaches {address} reads all metrics: it asks for neither a password nor a client's certificate"
    )]
    MetricsOpen {
        /// Where it listens.
        address: SocketAddr,
    },
    /// Others reach the listener, and passwords come in clear.
    #[error(
        "[metrics]: passwords for {address} cross the network in clear, as the web-config file has no tls_server_config"
    )]
    MetricsClear {
        /// Where it listens.
        address: SocketAddr,
    },
    /// No such file here; this may be another machine than the one it is for.
    #[error("{object}: {key} {path} does not exist on this machine")]
    FileMissing {
        /// Which tunnel.
        object: String,
        /// Which key.
        key: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// We may not look.
    #[error("{object}: {key} {path} was not checked: permission denied")]
    FileHidden {
        /// Which tunnel.
        object: String,
        /// Which key.
        key: &'static str,
        /// The file.
        path: PathBuf,
    },
}

impl Caution {
    /// What to do about it.
    pub fn cure(&self) -> Option<String> {
        Some(match self {
            Self::Neighbour { neighbour, .. } => {
                format!(
                    "if {neighbour} runs on this machine, take other bits: 0-7 (0x000000ff) and 12-13 (0x00003000) are free"
                )
            }
            Self::RuleFamilies { .. } => {
                "a packet has both addresses of one family: take a prefix out or add one".to_owned()
            }
            Self::RuleShadowed { .. } | Self::RuleCovered { .. } => {
                "first match wins: move it up, or take it out".to_owned()
            }
            Self::SocketUnseen { .. } => {
                "for a mark before the route lookup leave them out; at the tunnel's device they match in any case"
                    .to_owned()
            }
            Self::SocketOpen { .. } => {
                "move it before that, or give both one class; what is a tenant's by its source is known only then"
                    .to_owned()
            }
            Self::SocketRoom { .. } => "move it up".to_owned(),
            Self::TenantShadowed { .. } => {
                "the first tenant that matches has the packet: move it up, or take it out".to_owned()
            }
            Self::ClassBlocked { class, .. } => {
                format!("add \"{class}\" to its classes, or give the class a fallback that it carries")
            }
            Self::OuterOfTun { .. } => "take it out of the class, or take type = \"xfrm\"".to_owned(),
            Self::RouteOutside { .. } => {
                "add the prefix to remote-ts on this end and to local-ts on the other".to_owned()
            }
            Self::ClientsRouted { .. } => {
                "give its device a vrf, take narrower routes, or have IKE and ESP marked and name the mark: outer = 0x00002000 in [mark]"
                    .to_owned()
            }
            Self::MetricsOpen { .. } => {
                "add web-config = \"/etc/lanekeeper/web.yml\" with TLS and passwords or client certificates, or listen on 127.0.0.1"
                    .to_owned()
            }
            Self::MetricsClear { .. } => "add tls_server_config, with cert_file and key_file".to_owned(),
            Self::FileMissing { .. } => "apply and run will refuse this config without it".to_owned(),
            Self::FileHidden { .. } => "apply and run look at it as root".to_owned(),
        })
    }
}

/// Rules that are named where many take a rule together.
const NAMED: usize = 4;

/// The rules, and the verb that goes with them.
fn taken(rules: &[String]) -> String {
    let (named, others) = rules.split_at(rules.len().min(NAMED));
    match (named, others.len()) {
        ([one], _) => format!("{one} takes"),
        ([most @ .., last], 0) => format!("{} and {last} together take", most.join(", ")),
        (_, 1) => format!("{} and 1 other together take", named.join(", ")),
        (_, others) => format!("{} and {others} others together take", named.join(", ")),
    }
}
