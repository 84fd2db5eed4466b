//! The six bits of DSCP within the byte that IPv4 calls TOS and IPv6 traffic class (RFC 2474); the other two are ECN.

/// DSCP of that byte.
#[inline(always)]
pub const fn of(byte: u8) -> u8 {
    byte >> 2
}

/// The byte with another DSCP and the same ECN.
#[inline(always)]
pub const fn put(byte: u8, dscp: u8) -> u8 {
    (dscp << 2) | (byte & 3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ecn_survives() {
        assert_eq!(put(0b1010_1011, 46), 0b1011_1011);
        assert_eq!(of(0xb8), 46);
        assert_eq!(of(put(0x03, 63)), 63);
    }
}
