//! Numbers in five characters at most.

/// `0`, `0.25`, `12.3`, `999`, `1.00k`, `12.3M`: three figures, and a thousand's letter.
pub fn short(value: f64) -> String {
    if value < 0.005 {
        return "0".to_owned();
    }
    let (mut value, mut letters) = (value, ["", "k", "M", "G", "T", "P", "E"].into_iter());
    let mut letter = letters.next().unwrap_or_default();
    // What rounds to four figures has the next letter.
    while value >= 999.5
        && let Some(next) = letters.next()
    {
        value /= 1000.0;
        letter = next;
    }
    match value {
        ..9.995 => format!("{value:.2}{letter}"),
        ..99.95 => format!("{value:.1}{letter}"),
        _ => format!("{value:.0}{letter}"),
    }
}

/// As [`short`], or `-` for what is not known.
pub fn known(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), short)
}

/// A time of less than 1,000 s in five characters: `200us`, `5ms`, `1s`. In letters that every terminal has.
pub fn duration(seconds: f64) -> String {
    match seconds {
        ..0.000_999_5 => format!("{:.0}us", seconds * 1e6),
        ..0.999_5 => format!("{:.0}ms", seconds * 1e3),
        _ => format!("{seconds:.0}s"),
    }
}

/// A share of 1: `0%`, `0.1%`, `12.3%`, `100%`.
pub fn percent(share: f64) -> String {
    match share * 100.0 {
        ..0.05 => "0%".to_owned(),
        ..99.95 => format!("{:.1}%", share * 100.0),
        _ => "100%".to_owned(),
    }
}

/// A count in full, its thousands apart: `1,234,567`.
pub fn full(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use lanekeeper_common::latency::BOUNDS;

    use super::*;

    #[test]
    fn see_numbers_have_three_figures_and_five_characters_at_most() {
        for (value, text) in [
            (0.0, "0"),
            (0.004, "0"),
            (0.25, "0.25"),
            (9.99, "9.99"),
            (9.996, "10.0"),
            (99.96, "100"),
            (999.4, "999"),
            (999.6, "1.00k"),
            (12_345.0, "12.3k"),
            (999_600.0, "1.00M"),
            (1.5e9, "1.50G"),
            (f64::from(u32::MAX) * 1e9, "4.29E"),
        ] {
            assert_eq!(short(value), text, "{value}");
            assert!(text.len() <= 5);
        }
        assert_eq!((known(None), known(Some(2.0))), ("-".into(), "2.00".into()));
    }

    #[test]
    fn see_bounds_of_latencies_are_whole_numbers_of_five_characters_at_most() {
        let bounds = BOUNDS.map(|nanoseconds| duration(nanoseconds as f64 / 1e9));
        assert_eq!(
            bounds.join(" "),
            "10us 20us 50us 100us 200us 500us 1ms 2ms 5ms 10ms 20ms 50ms 100ms 200ms 500ms 1s"
        );
    }

    #[test]
    fn see_shares_are_of_a_hundred() {
        assert_eq!(
            [0.0, 0.0004, 0.001, 0.123, 0.9994, 0.9996, 1.0].map(percent),
            ["0%", "0%", "0.1%", "12.3%", "99.9%", "100%", "100%"]
        );
    }

    #[test]
    fn see_counts_are_grouped_by_thousands() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(full), ["0", "999", "1,000", "1,234,567"]);
    }
}
