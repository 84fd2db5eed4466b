//! What a rule does.

use super::test::number;
use crate::import::decision::Rewrite;
use crate::import::left_out::Reason;
use crate::import::program::Verdict;

/// The words from `-j` or `-g` on.
#[derive(Debug, Default)]
pub struct Words {
    /// Its name; empty without one.
    pub name: String,
    /// `-g`.
    pub goes: bool,
    /// Its options.
    pub options: Vec<String>,
}

/// What it means for the mark.
#[derive(Debug, PartialEq, Eq)]
pub enum Target {
    /// The rule has none: it counts.
    None,
    /// MARK.
    Mark(Rewrite),
    /// ACCEPT, DROP, RETURN.
    End(Verdict),
    /// A chain of the user's.
    Chain {
        /// Its name.
        name: String,
        /// Without coming back.
        goes: bool,
    },
    /// It goes on and changes nothing that rules ask for.
    Harmless,
    /// It goes on, and the packet is another one.
    Rewrites {
        /// What it does.
        what: String,
    },
    /// It has no counterpart.
    Missing {
        /// Why.
        reason: Reason,
        /// It sets a mark.
        marks: bool,
        /// Packets go no further.
        ends: bool,
    },
}

/// Targets that go on and leave packet and mark as they are, as far as a rule can ask.
const HARMLESS: [&str; 19] = [
    "LOG",
    "NFLOG",
    "ULOG",
    "TRACE",
    "AUDIT",
    "CLASSIFY",
    "TCPMSS",
    "TCPOPTSTRIP",
    "TTL",
    "HL",
    "CT",
    "NOTRACK",
    "SECMARK",
    "CONNSECMARK",
    "SET",
    "IDLETIMER",
    "CHECKSUM",
    "RATEEST",
    "TEE",
];

/// Reads a target.
pub fn read(words: &Words) -> Target {
    let options: Vec<&str> = words.options.iter().map(String::as_str).collect();
    let rewrites = |what: String| Target::Rewrites { what };
    match words.name.as_str() {
        "" => Target::None,
        "SET" if options.contains(&"--map-mark") => Target::Missing {
            reason: Reason::Memory { what: "the mark of -j SET --map-set".to_owned() },
            marks: true,
            ends: false,
        },
        "MARK" => mark(&options),
        "ACCEPT" => Target::End(Verdict::Accept),
        "DROP" | "REJECT" => Target::End(Verdict::Drop),
        "RETURN" => Target::End(Verdict::Return),
        // Saving changes no packet; what it is saved for is said where it is restored.
        "CONNMARK" if !options.contains(&"--restore-mark") => Target::Harmless,
        "CONNMARK" => {
            let what = "the mark that CONNMARK restores".to_owned();
            Target::Missing { reason: Reason::Memory { what }, marks: true, ends: false }
        }
        name @ ("DSCP" | "TOS" | "ECN") => rewrites(format!("-j {name}")),
        name @ ("SNAT" | "DNAT" | "MASQUERADE" | "REDIRECT" | "NETMAP") => rewrites(format!("-j {name}")),
        name @ ("TPROXY" | "QUEUE" | "NFQUEUE" | "HMARK") => {
            let reason = Reason::Unknown { what: format!("-j {name}") };
            Target::Missing { reason, marks: matches!(name, "TPROXY" | "HMARK"), ends: name != "HMARK" }
        }
        name if HARMLESS.contains(&name) => Target::Harmless,
        name => Target::Chain { name: name.to_owned(), goes: words.goes },
    }
}

/// MARK's options (xt_mark: `mark & ~mask ^ value`).
fn mark(options: &[&str]) -> Target {
    let rewrite = match options {
        [option, value] => rewrite(option, value),
        _ => None,
    };
    match rewrite {
        Some(rewrite) => Target::Mark(rewrite),
        None => {
            let (what, value) = ("options of -j MARK".to_owned(), options.join(" "));
            Target::Missing { reason: Reason::Value { what, value }, marks: true, ends: false }
        }
    }
}

fn rewrite(option: &str, value: &str) -> Option<Rewrite> {
    let (bits, mask) = match value.split_once('/') {
        Some((bits, mask)) => (number(bits)?, number(mask)?),
        None => (number(value)?, u32::MAX),
    };
    match option {
        "--set-xmark" => Some(Rewrite { keep: !mask, flip: bits }),
        "--set-mark" => Some(Rewrite { keep: !(mask | bits), flip: bits }),
        "--and-mark" if mask == u32::MAX => Some(Rewrite { keep: bits, flip: 0 }),
        "--or-mark" if mask == u32::MAX => Some(Rewrite { keep: !bits, flip: bits }),
        "--xor-mark" if mask == u32::MAX => Some(Rewrite { keep: u32::MAX, flip: bits }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_option_of_mark_changes_the_bits_that_the_kernel_changes() {
        let of = |option, value, mark| rewrite(option, value).map(|rewrite| rewrite.of(mark));
        assert_eq!(of("--set-xmark", "0x7/0xffffffff", 0xf0), Some(0x7));
        assert_eq!(of("--set-xmark", "0x4/0x4", 0xf4), Some(0xf4));
        assert_eq!(of("--set-xmark", "0x4/0x0", 0xf4), Some(0xf0));
        assert_eq!(of("--set-mark", "7", 0xf0), Some(7));
        assert_eq!(of("--set-mark", "0x4/0x3", 0xff), Some(0xfc));
        assert_eq!(of("--and-mark", "0xf0", 0xff), Some(0xf0));
        assert_eq!(of("--or-mark", "0x3", 0xf0), Some(0xf3));
        assert_eq!(of("--xor-mark", "0x3", 0xf1), Some(0xf2));
        assert_eq!(of("--set-mark", "seven", 0), None);
        assert_eq!(of("--restore-mark", "7", 0), None);
    }
}
