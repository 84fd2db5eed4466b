//! Spans of time as an operator types them: `30s`, `5m`, `1h`, `1h30m`.

use std::time::Duration;

/// Units, largest first.
const UNITS: [(char, u64); 4] = [('d', 86_400), ('h', 3_600), ('m', 60), ('s', 1)];

/// Seconds of the longest that is taken: a year, which every clock holds.
const LONGEST: u64 = 365 * 86_400;

/// From numbers with their units; never none at all, never more than a year.
pub fn parse(text: &str) -> Result<Duration, String> {
    let refuse = || format!("{text:?} is no span of time; write for instance 30s, 5m or 1h30m");
    let mut seconds: u64 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(refuse)?;
        let number: u64 = rest[..digits].parse().map_err(|_| refuse())?;
        let unit = rest[digits..].chars().next().ok_or_else(refuse)?;
        let (_, worth) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(refuse)?;
        seconds = number.checked_mul(*worth).and_then(|more| seconds.checked_add(more)).ok_or_else(refuse)?;
        rest = &rest[digits + unit.len_utf8()..];
    }
    match seconds {
        0 => Err(refuse()),
        1..=LONGEST => Ok(Duration::from_secs(seconds)),
        _ => Err(format!("{text:?} is too long; {} is the longest", show(Duration::from_secs(LONGEST)))),
    }
}

/// As [`parse`] takes it, in the fewest units.
pub fn show(span: Duration) -> String {
    let mut rest = span.as_secs();
    let mut text = String::new();
    for (unit, worth) in UNITS {
        if rest >= worth {
            text += &format!("{}{unit}", rest / worth);
            rest %= worth;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_carry_units() {
        for (text, seconds) in [("30s", 30), ("5m", 300), ("1h30m", 5_400), ("2d", 172_800)] {
            assert_eq!(parse(text), Ok(Duration::from_secs(seconds)));
            assert_eq!(show(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn more_than_a_year_is_refused() {
        assert_eq!(parse("365d"), Ok(Duration::from_secs(31_536_000)));
        for text in ["366d", "365d1s", "200000000000000d"] {
            assert_eq!(parse(text), Err(format!("{text:?} is too long; 365d is the longest")));
        }
    }

    #[test]
    fn nothing_and_nonsense_are_refused() {
        for text in ["", "5", "m", "0s", "5x", "5ä", "-5m", "1.5h", "99999999999999999999s", "999999999999999999d"] {
            assert!(
                parse(text).unwrap_err().ends_with("is no span of time; write for instance 30s, 5m or 1h30m"),
                "{text}"
            );
        }
    }
}
