//! The names of DSCP values: RFC 2474 (class selectors), 2597 (assured forwarding), 3246 (EF), 5865 (voice-admit),
//! 8622 (lower effort).

/// Every name, with its value. Where a value has several names the first is the one that is shown.
pub const NAMES: &[(&str, u8)] = &[
    ("df", 0),
    ("be", 0),
    ("default", 0),
    ("cs0", 0),
    ("le", 1),
    ("cs1", 8),
    ("af11", 10),
    ("af12", 12),
    ("af13", 14),
    ("cs2", 16),
    ("af21", 18),
    ("af22", 20),
    ("af23", 22),
    ("cs3", 24),
    ("af31", 26),
    ("af32", 28),
    ("af33", 30),
    ("cs4", 32),
    ("af41", 34),
    ("af42", 36),
    ("af43", 38),
    ("cs5", 40),
    ("va", 44),
    ("voice-admit", 44),
    ("ef", 46),
    ("cs6", 48),
    ("cs7", 56),
];

/// The value of a name, in either case.
pub fn value(name: &str) -> Option<u8> {
    NAMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|&(_, value)| value)
}

/// The name of a value, where it has one.
pub fn name(value: u8) -> Option<&'static str> {
    NAMES.iter().find(|&&(_, known)| known == value).map(|&(name, _)| name)
}

/// The name of a value, or its number.
pub fn show(value: u8) -> String {
    name(value).map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assured_forwarding_follows_its_formula() {
        // RFC 2597 section 6: class in the upper three bits, drop precedence in the next two.
        for class in 1..=4u8 {
            for drop in 1..=3u8 {
                assert_eq!(value(&format!("af{class}{drop}")), Some(class << 3 | drop << 1));
            }
        }
    }

    #[test]
    fn class_selectors_are_the_old_precedence() {
        for precedence in 0..=7u8 {
            assert_eq!(value(&format!("CS{precedence}")), Some(precedence << 3));
        }
    }

    #[test]
    fn a_value_shows_its_name_or_its_number() {
        assert_eq!(show(46), "ef");
        assert_eq!(show(0), "df");
        assert_eq!(show(63), "63");
    }
}
