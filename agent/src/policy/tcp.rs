//! The names of TCP's flags, which are the bits of the header's 14th byte (RFC 9293 section 3.1).

/// Every flag, from the lowest bit up.
pub const FLAGS: [(&str, u8); 8] =
    [("fin", 1), ("syn", 2), ("rst", 4), ("psh", 8), ("ack", 16), ("urg", 32), ("ece", 64), ("cwr", 128)];

/// The bit of a flag's name, in either case.
pub fn flag(name: &str) -> Option<u8> {
    FLAGS.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|&(_, bit)| bit)
}

/// The flags as rules write them: `syn,ack`, or `none`.
pub fn show(flags: u8) -> String {
    let set: Vec<&str> = FLAGS.iter().filter(|&&(_, bit)| flags & bit != 0).map(|&(name, _)| name).collect();
    if set.is_empty() { "none".to_owned() } else { set.join(",") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_flag_is_a_bit_of_its_own() {
        assert_eq!(FLAGS.map(|(_, bit)| bit), [0, 1, 2, 3, 4, 5, 6, 7].map(|place| 1 << place));
        assert_eq!((flag("SYN"), flag("push")), (Some(2), None));
    }

    #[test]
    fn flags_are_shown_as_they_are_written() {
        assert_eq!(show(0x12), "syn,ack");
        assert_eq!(show(0), "none");
    }
}
