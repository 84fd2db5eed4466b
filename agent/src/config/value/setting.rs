//! Files, identities, proposals, durations and the consent of static keys.

use std::path::PathBuf;

use schemars::JsonSchema;

use super::{Kind, Reason};
use crate::config::nearest::cure;
use crate::policy::{Classify, Distinct, MIN_MEMORY, Missing, STATIC_KEY_CONSENT, Start};

/// A file; relative ones start at the config's folder.
pub const FILE: Kind<PathBuf> =
    Kind { wanted: "a path", example: "\"/etc/lanekeeper/branch-7.psk\"", text: file, number: None };

/// A file of its own format.
pub const WEB_CONFIG: Kind<PathBuf> =
    Kind { wanted: "a path", example: "\"/etc/lanekeeper/web.yml\"", text: file, number: None };

/// A Unix socket.
pub const SOCKET: Kind<PathBuf> =
    Kind { wanted: "a path", example: "\"/var/run/charon.vici\"", text: socket, number: None };

/// An IKE identity, as charon takes it.
pub const IDENTITY: Kind<String> =
    Kind { wanted: "an identity", example: "\"moon.example\"", text: identity, number: None };

/// A connection of swanctl.conf.
pub const CONNECTION: Kind<String> =
    Kind { wanted: "a connection's name", example: "\"branch-7\"", text: not_empty, number: None };

/// A child of a connection of swanctl.conf, or some of them.
pub const CHILD: Kind<String> =
    Kind { wanted: "a name or a pattern", example: "\"voice*\"", text: not_empty, number: None };

/// One proposal in strongSwan's notation.
pub const PROPOSAL: Kind<String> =
    Kind { wanted: "a proposal", example: "\"aes256gcm16-prfsha256-x25519\"", text: proposal, number: None };

/// A duration in seconds.
pub const SECONDS: Kind<u32> = Kind {
    wanted: "seconds or a duration",
    example: "3600 or \"1h\"",
    text: seconds,
    number: Some(|number| {
        u32::try_from(number).map_err(|_| Reason::Range { value: number, least: 0, most: u32::MAX.into() })
    }),
};

/// The least time without packets after which a lane is let go: a lane that falls sooner after it rose has failed.
const MIN_IDLE: u32 = 10;

/// A time without packets.
pub const IDLE: Kind<u32> = Kind {
    wanted: "seconds or a duration",
    example: "600 or \"10m\"",
    text: |text| seconds(text).and_then(|seconds| idle(seconds.into())),
    number: Some(idle),
};

/// An amount of memory in bytes.
pub const MEMORY: Kind<u64> =
    Kind { wanted: "an amount of memory", example: "\"256MiB\"", text: memory, number: Some(bytes) };

/// The sentence that allows static keys for counter-mode ciphers.
pub const CONSENT: Kind<()> =
    Kind { wanted: "a sentence", example: "\"static keys repeat nonces after a reboot\"", text: consent, number: None };

/// The if_id of a device; `%unique`, which is `None`, for that of each IKE_SA.
pub const IF_ID: Kind<Option<u32>> = Kind {
    wanted: "a number, or \"%unique\"",
    example: "42 or 0x2a",
    text: |text| match text {
        UNIQUE => Ok(None),
        _ => Err(Reason::Unknown { value: text.to_owned(), cure: cure(text, "words here", [UNIQUE]) }),
    },
    number: Some(|number| {
        let within = u32::try_from(number).ok().filter(|if_id| *if_id > 0);
        within.map(Some).ok_or(Reason::Range { value: number, least: 1, most: u32::MAX.into() })
    }),
};

/// In the place of an if_id: as charon gives each IKE_SA one.
pub const UNIQUE: &str = "%unique";

/// Kinds of device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema)]
#[schemars(rename_all = "lowercase")]
pub enum DeviceType {
    /// An XFRM interface.
    Xfrm,
    /// A VTI, or VTI6 between IPv6 addresses.
    Vti,
    /// A GRE device, over IPv4 or IPv6.
    Gre,
    /// The TUN device of charon's kernel-libipsec.
    Tun,
    /// No device: policies alone.
    #[schemars(rename = "none")]
    Bare,
}

impl DeviceType {
    /// As the file says it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Xfrm => "xfrm",
            Self::Vti => "vti",
            Self::Gre => "gre",
            Self::Tun => "tun",
            Self::Bare => "none",
        }
    }

    /// What it is, after "its device is".
    pub fn title(self) -> &'static str {
        match self {
            Self::Xfrm => "an XFRM interface",
            Self::Vti => "a VTI",
            Self::Gre => "a GRE device",
            Self::Tun => "kernel-libipsec's TUN device",
            Self::Bare => "none at all",
        }
    }
}

/// The kind of a tunnel's device.
pub const DEVICE_TYPE: Kind<DeviceType> =
    Kind { wanted: "a kind of device", example: "\"xfrm\"", text: device_type, number: None };

/// Who initiates.
pub const START: Kind<Start> =
    Kind { wanted: "\"start\", \"trap\" or \"none\"", example: "\"start\"", text: start, number: None };

/// Whether a network card encrypts.
pub const OFFLOAD: Kind<bool> =
    Kind { wanted: "\"no\" or \"crypto\"", example: "\"crypto\"", text: offload, number: None };

/// What tells lanes apart.
pub const DISTINCT: Kind<Distinct> =
    Kind { wanted: "\"label\" or \"identity\"", example: "\"identity\"", text: distinct, number: None };

/// Whether the lanes of a class come on demand.
pub const CLASS_START: Kind<bool> =
    Kind { wanted: "\"start\" or \"trap\"", example: "\"trap\"", text: class_start, number: None };

/// Where a port's packets are classified.
pub const CLASSIFY: Kind<Classify> =
    Kind { wanted: "\"tc\", \"xdp\" or \"xdp-generic\"", example: "\"xdp\"", text: classify, number: None };

/// What becomes of a file whose rules name what is not there.
pub const MISSING: Kind<Missing> =
    Kind { wanted: "\"refuse\" or \"wait\"", example: "\"wait\"", text: missing, number: None };

/// Files to include.
pub const PATTERN: Kind<String> =
    Kind { wanted: "a path or a pattern", example: "\"rules.d/*.toml\"", text: not_empty, number: None };

/// Any string, judged elsewhere.
pub const TEXT: Kind<String> =
    Kind { wanted: "a string", example: "\"default\"", text: |text| Ok(text.to_owned()), number: None };

fn not_empty(text: &str) -> Result<String, Reason> {
    if text.is_empty() { Err(Reason::Empty) } else { Ok(text.to_owned()) }
}

fn file(text: &str) -> Result<PathBuf, Reason> {
    match text {
        "" => Err(Reason::Empty),
        _ if text.contains('\0') => Err(Reason::Characters {
            value: text.escape_debug().to_string(),
            found: "a zero byte".to_owned(),
            what: "paths have none",
            nearest: None,
        }),
        _ => Ok(PathBuf::from(text)),
    }
}

fn socket(text: &str) -> Result<PathBuf, Reason> {
    match text.split_once("://") {
        Some(("unix", path)) => Err(Reason::Uri { value: text.to_owned(), path: path.to_owned() }),
        Some(_) => Err(Reason::NotYet {
            value: text.to_owned(),
            cure: "only charon's Unix socket is reached: \"/var/run/charon.vici\"",
        }),
        None => file(text),
    }
}

fn identity(text: &str) -> Result<String, Reason> {
    match text {
        "" => Err(Reason::Empty),
        _ if text.chars().any(char::is_control) => Err(Reason::Characters {
            value: text.escape_debug().to_string(),
            found: "a control character".to_owned(),
            what: "identities have none",
            nearest: None,
        }),
        _ => Ok(text.to_owned()),
    }
}

fn proposal(text: &str) -> Result<String, Reason> {
    if text.is_empty() {
        return Err(Reason::Empty);
    }
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    let Some(bad) = text.chars().find(|&c| !good(c)) else { return Ok(text.to_owned()) };
    let near = text.to_lowercase().replace([' ', '/', ','], "-").replace('!', "");
    Err(Reason::Characters {
        value: text.escape_debug().to_string(),
        found: if bad == ' ' { "a space".to_owned() } else { format!("'{}'", bad.escape_debug()) },
        what: "proposals have lower-case letters, digits and \"-\"",
        nearest: near.chars().all(good).then_some(near),
    })
}

fn seconds(text: &str) -> Result<u32, Reason> {
    let wrong = || Reason::NotDuration { value: text.to_owned() };
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" | "s" => 1,
        "m" | "min" => 60,
        "h" => 3600,
        "d" => 86400,
        _ => return Err(wrong()),
    };
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(wrong());
    }
    digits.parse::<u32>().ok().and_then(|count| count.checked_mul(unit)).ok_or_else(wrong)
}

fn idle(number: i128) -> Result<u32, Reason> {
    let (least, most) = (MIN_IDLE.into(), u32::MAX.into());
    u32::try_from(number).ok().filter(|seconds| *seconds >= MIN_IDLE).ok_or(Reason::Range {
        value: number,
        least,
        most,
    })
}

fn memory(text: &str) -> Result<u64, Reason> {
    let wrong = || Reason::NotMemory { value: text.escape_debug().to_string() };
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(wrong()),
    };
    let digits = digits.trim_end();
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(wrong());
    }
    let count: i128 = digits.parse().map_err(|_| wrong())?;
    bytes(count.checked_mul(unit).ok_or_else(wrong)?)
}

fn bytes(number: i128) -> Result<u64, Reason> {
    let (least, most) = (MIN_MEMORY.into(), u64::MAX.into());
    u64::try_from(number).ok().filter(|bytes| *bytes >= MIN_MEMORY).ok_or(Reason::Range { value: number, least, most })
}

fn device_type(text: &str) -> Result<DeviceType, Reason> {
    match text {
        "xfrm" => Ok(DeviceType::Xfrm),
        "vti" => Ok(DeviceType::Vti),
        "gre" => Ok(DeviceType::Gre),
        "none" => Ok(DeviceType::Bare),
        "tun" => Ok(DeviceType::Tun),
        _ => Err(Reason::Unknown {
            value: text.to_owned(),
            cure: cure(text, "kinds of device", ["xfrm", "vti", "gre", "tun", "none"]),
        }),
    }
}

fn start(text: &str) -> Result<Start, Reason> {
    match text {
        "start" => Ok(Start::Start),
        "trap" => Ok(Start::Trap),
        "none" => Ok(Start::None),
        _ => Err(Reason::Unknown { value: text.to_owned(), cure: cure(text, "values", ["start", "trap", "none"]) }),
    }
}

fn offload(text: &str) -> Result<bool, Reason> {
    match text {
        "no" => Ok(false),
        "crypto" => Ok(true),
        // strongSwan's word for as much as there is.
        "packet" | "auto" | "yes" => Err(Reason::OffloadWhole { value: text.to_owned() }),
        _ => Err(Reason::Unknown { value: text.to_owned(), cure: cure(text, "values", ["no", "crypto"]) }),
    }
}

fn distinct(text: &str) -> Result<Distinct, Reason> {
    match text {
        "label" => Ok(Distinct::Label),
        "identity" => Ok(Distinct::Identity),
        _ => Err(Reason::Unknown { value: text.to_owned(), cure: cure(text, "values", ["label", "identity"]) }),
    }
}

fn class_start(text: &str) -> Result<bool, Reason> {
    match text {
        "start" => Ok(false),
        "trap" => Ok(true),
        _ => Err(Reason::Unknown { value: text.to_owned(), cure: cure(text, "values", ["start", "trap"]) }),
    }
}

fn classify(text: &str) -> Result<Classify, Reason> {
    let all = [Classify::Tc, Classify::Xdp, Classify::XdpGeneric];
    let known = all.into_iter().find(|known| known.name() == text);
    known.ok_or_else(|| Reason::Unknown { value: text.to_owned(), cure: cure(text, "values", all.map(Classify::name)) })
}

fn missing(text: &str) -> Result<Missing, Reason> {
    let all = [Missing::Refuse, Missing::Wait];
    let known = all.into_iter().find(|known| known.name() == text);
    known.ok_or_else(|| Reason::Unknown { value: text.to_owned(), cure: cure(text, "values", all.map(Missing::name)) })
}

fn consent(text: &str) -> Result<(), Reason> {
    if text.trim().trim_end_matches('.') == STATIC_KEY_CONSENT { Ok(()) } else { Err(Reason::Consent) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        assert_eq!(seconds("90"), Ok(90));
        assert_eq!(seconds("30m"), Ok(1800));
        assert_eq!(seconds("4h"), Ok(14400));
        assert_eq!(seconds("1d"), Ok(86400));
        for text in ["", "h", "4 h", "-1s", "1w", "99999999d", "1ä"] {
            assert_eq!(seconds(text), Err(Reason::NotDuration { value: text.to_owned() }), "{text}");
        }
    }

    #[test]
    fn a_lane_is_idle_for_ten_seconds_at_least() {
        assert_eq!(idle(10), Ok(10));
        assert_eq!((IDLE.text)("10m"), Ok(600));
        assert_eq!((IDLE.text)("9"), Err(Reason::Range { value: 9, least: 10, most: u32::MAX.into() }));
        assert_eq!(idle(0), Err(Reason::Range { value: 0, least: 10, most: u32::MAX.into() }));
    }

    #[test]
    fn memory_has_units_and_a_least_amount() {
        assert_eq!(memory("256MiB"), Ok(256 << 20));
        assert_eq!(memory("2 GiB"), Ok(2 << 30));
        assert_eq!(memory("33554432"), Ok(MIN_MEMORY));
        assert!(matches!(memory("32767KiB"), Err(Reason::Range { value: 33_553_408, .. })));
        assert!(matches!(memory("99999999999GiB"), Err(Reason::Range { .. })));
        for text in ["", "MiB", "256MB", "256M", "-1GiB", "1.5GiB", "9999999999999999999999999999999999999999GiB"] {
            assert_eq!(memory(text), Err(Reason::NotMemory { value: text.to_owned() }), "{text}");
        }
    }

    #[test]
    fn proposals_are_in_strongswans_letters() {
        assert!(proposal("aes128gcm16-x25519").is_ok());
        let reason = proposal("AES256 SHA256").expect_err("not its notation");
        assert_eq!(reason.cure().as_deref(), Some("did you mean \"aes256-sha256\"?"));
    }

    #[test]
    fn consent_is_the_sentence_and_nothing_else() {
        assert_eq!(consent("static keys repeat nonces after a reboot"), Ok(()));
        assert_eq!(consent("yes"), Err(Reason::Consent));
    }

    #[test]
    fn charons_uri_is_told_apart_from_a_path() {
        let reason = socket("unix:///var/run/charon.vici").expect_err("a URI");
        assert_eq!(reason.cure().as_deref(), Some("did you mean \"/var/run/charon.vici\"?"));
    }
}
