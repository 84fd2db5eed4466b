//! What a single value may be: each [`Kind`] turns TOML's text or number into a typed value, or says why not.

mod name;
mod net;
mod packet;
mod setting;

pub use name::{CGROUP, CLASS, DEVICE, INTERFACE, NAME, NAMESPACE, PORT, RULE_NAME};
pub use net::{ADDRESS, ANY, DEVICE_ADDRESS, LISTEN, PREFIX, REMOTE, ROUTE, SELECTORS, VIRTUAL};
pub use packet::{DSCP, ICMP_TYPE, IcmpType, LENGTH, MARK, PORTS, PROTOCOL, TCP_FLAGS, VLAN};
pub use setting::{
    CHILD, CLASS_START, CLASSIFY, CONNECTION, CONSENT, DEVICE_TYPE, DISTINCT, DeviceType, FILE, IDENTITY, IDLE, IF_ID,
    MEMORY, MISSING, OFFLOAD, PATTERN, PROPOSAL, SECONDS, SOCKET, START, TEXT, UNIQUE, WEB_CONFIG,
};

/// One kind of value.
pub struct Kind<T> {
    /// What it takes, as a message says it: `a name or a number`.
    pub wanted: &'static str,
    /// How to write one.
    pub example: &'static str,
    /// From a string.
    pub text: fn(&str) -> Result<T, Reason>,
    /// From an integer, where the kind has numbers.
    pub number: Option<fn(i128) -> Result<T, Reason>>,
}

/// Why a value is refused. The key comes before it: `dscp` + `70 is above 63`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// Of another type.
    #[error("takes {wanted}, not {found}")]
    Type {
        /// What the key takes.
        wanted: &'static str,
        /// What is there.
        found: &'static str,
        /// How to write it.
        example: String,
    },
    /// A key that must be there.
    #[error("is missing")]
    Missing {
        /// How to write it.
        example: String,
    },
    /// A list without elements.
    #[error("is an empty list")]
    EmptyList {
        /// What to do instead.
        cure: &'static str,
    },
    /// A number out of its range.
    #[error("{value} is outside {least} to {most}")]
    Range {
        /// What is there.
        value: i128,
        /// The least it may be.
        least: i128,
        /// The most it may be.
        most: i128,
    },
    /// A string without characters.
    #[error("is empty")]
    Empty,
    /// A word that is none of the known ones.
    #[error("\"{value}\" is not known")]
    Unknown {
        /// What is there.
        value: String,
        /// The nearest, or all.
        cure: String,
    },
    /// In the design, not in this version.
    #[error("\"{value}\" is not supported yet")]
    NotYet {
        /// What is there.
        value: String,
        /// What to use today.
        cure: &'static str,
    },
    /// A name with characters that names do not have.
    #[error("\"{value}\" has {found}, but {what}")]
    Characters {
        /// What is there.
        value: String,
        /// The first offender, as a message says it.
        found: String,
        /// Who has which characters.
        what: &'static str,
        /// A name like it that would do.
        nearest: Option<String>,
    },
    /// Too many bytes.
    #[error("\"{value}\" is {length} bytes long, {most} at most")]
    Long {
        /// What is there.
        value: String,
        /// Its bytes.
        length: usize,
        /// How many it may have.
        most: usize,
    },
    /// A word that already means something.
    #[error("\"{value}\" is reserved: {why}")]
    Reserved {
        /// What is there.
        value: String,
        /// For what.
        why: &'static str,
    },
    /// A network card that does all of IPsec, and so chooses the SA.
    #[error(
        "\"{value}\" may hand SAs to a network card as a whole, which knows neither marks nor if_ids, and so no lanes"
    )]
    OffloadWhole {
        /// What is there.
        value: String,
    },
    /// Not an address.
    #[error("\"{value}\" is not an IP address")]
    NotAddress {
        /// What is there.
        value: String,
        /// What it may have meant.
        cure: String,
    },
    /// Not a prefix.
    #[error("\"{value}\" is not a prefix")]
    NotPrefix {
        /// What is there.
        value: String,
        /// What it may have meant.
        cure: String,
    },
    /// A prefix with bits behind its length.
    #[error("\"{value}\" has host bits set")]
    HostBits {
        /// What is there.
        value: String,
        /// The prefix that it lies in.
        network: String,
        /// The host itself as a prefix.
        host: String,
    },
    /// An IPv4 address in IPv6 clothes.
    #[error("\"{value}\" is an IPv4 address written as IPv6, which no packet carries")]
    Mapped {
        /// What is there.
        value: String,
        /// The same as IPv4.
        plain: String,
    },
    /// Not `ADDRESS:PORT`.
    #[error("\"{value}\" is not an address and a port")]
    NotSocket {
        /// What is there.
        value: String,
    },
    /// Not ports.
    #[error("\"{value}\" is not a port or a range of ports")]
    NotPorts {
        /// What is there.
        value: String,
    },
    /// A port that does not exist.
    #[error("{value} is above 65535")]
    PortAbove {
        /// What is there.
        value: i128,
    },
    /// Not lengths.
    #[error("\"{value}\" is not a length or a range of lengths")]
    NotLengths {
        /// What is there.
        value: String,
    },
    /// A range that ends before it begins.
    #[error("\"{first}-{last}\" is an empty {what} range: {first} is above {last}")]
    RangeEmpty {
        /// Of what: `port`.
        what: &'static str,
        /// As written first.
        first: u16,
        /// As written last.
        last: u16,
    },
    /// Not a mark.
    #[error("\"{value}\" is not a mark, nor a mark and a mask")]
    NotMark {
        /// What is there.
        value: String,
    },
    /// Bits that are wanted but not looked at.
    #[error("\"{value}\" wants {outside}, which its mask leaves out")]
    OutsideMask {
        /// What is there.
        value: String,
        /// What its mask leaves out.
        outside: String,
        /// The same without these bits.
        less: String,
        /// The same with them in the mask.
        more: String,
    },
    /// A mask without bits.
    #[error("\"{value}\" looks at nothing, as its mask is empty")]
    MaskEmpty {
        /// What is there.
        value: String,
        /// What to write instead.
        cure: &'static str,
    },
    /// A DSCP that does not fit its six bits.
    #[error("{value} is above 63")]
    DscpAbove {
        /// What is there.
        value: i128,
    },
    /// Not a duration.
    #[error("\"{value}\" is not a duration")]
    NotDuration {
        /// What is there.
        value: String,
    },
    /// Not an amount of memory.
    #[error("\"{value}\" is not an amount of memory")]
    NotMemory {
        /// What is there.
        value: String,
    },
    /// Not the sentence of consent.
    #[error("does not say what has to be said")]
    Consent,
    /// Not a path of a cgroup.
    #[error("\"{value}\" is not the path of a cgroup")]
    NotCgroup {
        /// What is there.
        value: String,
        /// What it may have meant.
        cure: String,
    },
    /// charon's notation for a socket.
    #[error("\"{value}\" is a URI, but a path is wanted")]
    Uri {
        /// What is there.
        value: String,
        /// The path in it.
        path: String,
    },
}

impl Reason {
    /// What to do about it.
    pub fn cure(&self) -> Option<String> {
        match self {
            Self::Type { example, .. } => Some(format!("for example {example}")),
            Self::Missing { example } => Some(format!("add {example}")),
            Self::EmptyList { cure } | Self::NotYet { cure, .. } | Self::MaskEmpty { cure, .. } => {
                Some((*cure).to_owned())
            }
            Self::Range { .. } | Self::Long { .. } => None,
            Self::Empty => Some("give it a value, or leave the key out".to_owned()),
            Self::Unknown { cure, .. } | Self::NotAddress { cure, .. } | Self::NotPrefix { cure, .. } => {
                Some(cure.clone())
            }
            Self::NotCgroup { cure, .. } => Some(cure.clone()),
            Self::Characters { nearest, .. } => nearest.as_ref().map(|near| format!("did you mean \"{near}\"?")),
            Self::Reserved { .. } => Some("take another name".to_owned()),
            Self::OffloadWhole { .. } => {
                Some("write \"crypto\", with which the card encrypts alone, or \"no\"".to_owned())
            }
            Self::HostBits { network, host, .. } => {
                Some(format!("did you mean \"{network}\", or \"{host}\" for that one host?"))
            }
            Self::Mapped { plain, .. } => Some(format!("did you mean \"{plain}\"?")),
            Self::NotSocket { .. } => Some("write it like \"127.0.0.1:9738\" or \"[::1]:9738\", or \"off\"".to_owned()),
            Self::NotPorts { .. } => Some("write it like 5060, \"5060\" or \"16384-32767\"".to_owned()),
            Self::PortAbove { .. } => Some("ports go from 0 to 65535".to_owned()),
            Self::NotLengths { .. } => Some("write it like 200 or \"0-200\", in bytes".to_owned()),
            Self::RangeEmpty { first, last, .. } => Some(format!("did you mean \"{last}-{first}\"?")),
            Self::NotMark { .. } => {
                Some("write it like \"0x100/0xf00\": the value, then the bits to look at".to_owned())
            }
            Self::OutsideMask { less, more, .. } => Some(format!("did you mean \"{less}\" or \"{more}\"?")),
            Self::DscpAbove { value } => Some(match u8::try_from(*value) {
                // The old TOS byte, of which DSCP is the upper six bits.
                Ok(tos) if tos & 3 == 0 => format!(
                    "DSCP goes from 0 to 63; {tos} as a TOS byte is dscp {} ({})",
                    tos >> 2,
                    crate::policy::dscp::show(tos >> 2)
                ),
                _ => "DSCP goes from 0 to 63, or has a name such as \"ef\"".to_owned(),
            }),
            Self::NotDuration { .. } => Some("write seconds, or \"90s\", \"30m\", \"4h\", \"1d\"".to_owned()),
            Self::NotMemory { .. } => Some("write bytes, or \"512KiB\", \"256MiB\", \"2GiB\"".to_owned()),
            Self::Consent => Some(format!(
                "read this, and if it is true for you write i-know = \"{}\"",
                crate::policy::STATIC_KEY_CONSENT
            )),
            Self::Uri { path, .. } => Some(format!("did you mean \"{path}\"?")),
        }
    }
}
