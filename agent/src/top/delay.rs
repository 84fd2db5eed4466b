//! The time between two samples, as an operator types it.

use std::time::Duration;

/// The shortest: each sample reads every counter.
const SHORTEST: f64 = 0.2;
/// The longest.
const LONGEST: f64 = 3600.0;

/// Seconds, as top takes them.
pub fn parse(text: &str) -> Result<Duration, String> {
    let number = text.strip_suffix('s').unwrap_or(text);
    match number.parse::<f64>() {
        Ok(seconds) if (SHORTEST..=LONGEST).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        Ok(_) | Err(_) => Err(format!("{text:?} is no delay; write {SHORTEST} to {LONGEST} seconds, for instance 2")),
    }
}

/// As [`parse`] takes it.
pub fn show(delay: Duration) -> String {
    format!("{}s", delay.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn see_a_delay_is_seconds() {
        for (text, seconds, shown) in
            [("1", 1.0, "1s"), ("0.5", 0.5, "0.5s"), ("2s", 2.0, "2s"), ("3600", 3600.0, "3600s")]
        {
            let delay = parse(text).unwrap();
            assert_eq!((delay.as_secs_f64(), show(delay).as_str()), (seconds, shown));
        }
    }

    #[test]
    fn see_no_delay_is_none_too_short_or_too_long() {
        for text in ["", "0", "0.1", "-1", "3601", "NaN", "inf", "1m", "1e9"] {
            assert_eq!(
                parse(text).unwrap_err(),
                format!("{text:?} is no delay; write 0.2 to 3600 seconds, for instance 2")
            );
        }
    }
}
