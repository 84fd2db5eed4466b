//! Other words for addresses and identities: the same for the same one, and no way back.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What has been replaced so far.
#[derive(Debug, Default)]
pub struct Mask {
    /// By how they are written.
    identities: HashMap<String, String>,
    /// Their lengths, in bytes.
    lengths: BTreeSet<usize>,
    addresses: HashMap<IpAddr, String>,
}

impl Mask {
    /// One that also replaces these identities, which may be anything that a file has for `local-id` or `remote-id`.
    pub fn of<'a>(identities: impl IntoIterator<Item = &'a str>) -> Self {
        let mut mask = Self::default();
        for identity in identities {
            // An address is one wherever it stands.
            if identity.parse::<IpAddr>().is_ok() {
                continue;
            }
            for name in names(identity) {
                let next = format!("identity-{}", mask.identities.len() + 1);
                mask.lengths.insert(name.len());
                mask.identities.entry(name).or_insert(next);
            }
        }
        mask
    }

    /// The text with `ipv4-N`, `ipv6-N` and `identity-N` for what it has of them. Lengths of prefixes, ports and zones stay,
    /// and so do addresses that are the same everywhere: unspecified ones and those of loopback.
    pub fn apply(&mut self, text: &str) -> String {
        let mut masked = String::with_capacity(text.len());
        let mut rest = text;
        let mut before = None;
        while let Some(first) = rest.chars().next() {
            let (word, taken) = match self.find(before, rest) {
                Some(found) => found,
                None => (first.to_string(), first.len_utf8()),
            };
            masked += &word;
            before = rest[..taken].chars().next_back();
            rest = &rest[taken..];
        }
        masked
    }

    /// What begins here and is to be replaced: by what, and how many bytes of it.
    fn find(&mut self, before: Option<char>, rest: &str) -> Option<(String, usize)> {
        if !before.is_some_and(char::is_alphanumeric) {
            let ends = |length: &usize| rest.get(..*length).is_some() && !continues(&rest[*length..]);
            let named = self.lengths.iter().rev().filter(|length| ends(length));
            for length in named {
                if let Some(word) = self.identities.get(&rest[..*length]) {
                    return Some((word.clone(), *length));
                }
            }
        }
        let (address, taken) = address(before, rest)?;
        if address.is_unspecified() || address.is_loopback() {
            return Some((rest[..taken].to_owned(), taken));
        }
        let family = if address.is_ipv4() { "ipv4" } else { "ipv6" };
        let next = self.addresses.keys().filter(|known| known.is_ipv4() == address.is_ipv4()).count() + 1;
        let word = self.addresses.entry(address).or_insert_with(|| format!("{family}-{next}"));
        Some((word.clone(), taken))
    }
}

/// The ways in which an identity may be written elsewhere: whole, without its type, and what a distinguished name says. Each
/// also as JSON and TOML write it.
fn names(identity: &str) -> BTreeSet<String> {
    let bare = identity.trim_start_matches('@');
    let untyped = identity.split_once(':').map_or(bare, |(_, name)| name);
    // Two letters are a country's, and in many words.
    let parts = identity.split([',', '/']).filter_map(|part| Some(part.split_once('=')?.1.trim()));
    let parts = parts.filter(|value| value.len() > 2);
    let all = [identity, bare, untyped].into_iter().chain(parts).filter(|name| !name.is_empty());
    all.flat_map(|name| {
        let escaped = serde_json::to_string(name).expect("text serialises");
        [name.to_owned(), escaped[1..escaped.len() - 1].to_owned()]
    })
    .collect()
}

fn continues(rest: &str) -> bool {
    rest.chars().next().is_some_and(char::is_alphanumeric)
}

/// The address that begins here, and how many bytes of text it is.
fn address(before: Option<char>, rest: &str) -> Option<(IpAddr, usize)> {
    sixth(before, rest).or_else(|| fourth(before, rest))
}

/// Also with other marks between its numbers, as names of hosts and tunnels have it.
fn fourth(before: Option<char>, rest: &str) -> Option<(IpAddr, usize)> {
    if before.is_some_and(|c| c.is_ascii_digit()) {
        return None;
    }
    let bytes = rest.as_bytes();
    let (mut octets, mut at, mut between) = ([0; 4], 0, None);
    for (n, octet) in octets.iter_mut().enumerate() {
        if n > 0 {
            let mark = *bytes.get(at).filter(|byte| b".-_".contains(byte))?;
            if *between.get_or_insert(mark) != mark {
                return None;
            }
            at += 1;
        }
        let digits = bytes[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        *octet = rest.get(at..at + digits).filter(|digits| digits.len() <= 3)?.parse().ok()?;
        at += digits;
    }
    Some((Ipv4Addr::from(octets).into(), at))
}

fn sixth(before: Option<char>, rest: &str) -> Option<(IpAddr, usize)> {
    if before.is_some_and(char::is_alphanumeric) {
        return None;
    }
    // The longest, IPv4's tail included, has 45; a colon is among the first five.
    let is_part = |byte: &u8| byte.is_ascii_hexdigit() || b":.".contains(byte);
    let length = rest.bytes().take(45).take_while(is_part).count();
    rest.as_bytes()[..length.min(5)].contains(&b':').then_some(())?;
    (2..=length).rev().find_map(|end| {
        let address: Ipv6Addr = rest[..end].parse().ok()?;
        (!continues(&rest[end..])).then_some((address.into(), end))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(text: &str) -> String {
        Mask::default().apply(text)
    }

    #[test]
    fn the_same_address_is_the_same_word_however_it_is_written() {
        let text = "192.0.2.1 192.0.2.10 192.0.2.1 2001:db8::1 2001:0DB8:0:0:0:0:0:1 2001:db8::2 gw-192-0-2-1.example";
        assert_eq!(masked(text), "ipv4-1 ipv4-2 ipv4-1 ipv6-1 ipv6-1 ipv6-2 gw-ipv4-1.example");
    }

    #[test]
    fn prefixes_ports_zones_and_ranges_stay() {
        for (text, expected) in [
            ("\"10.1.0.0/16\"", "\"ipv4-1/16\""),
            ("2001:db8::/32,", "ipv6-1/32,"),
            ("192.0.2.1:4500", "ipv4-1:4500"),
            ("[2001:db8::1]:4500", "[ipv6-1]:4500"),
            ("fe80::1%eth0", "ipv6-1%eth0"),
            ("10.0.0.1-10.0.0.9", "ipv4-1-ipv4-2"),
            ("::ffff:192.0.2.1", "ipv6-1"),
            ("from 192.0.2.1.", "from ipv4-1."),
            ("from 2001:db8::1: no", "from ipv6-1: no"),
            ("src=2001:db8::1;", "src=ipv6-1;"),
            ("v192.0.2.1x", "vipv4-1x"),
            ("local:2001:db8::1", "local:ipv6-1"),
            ("010.001.002.003", "ipv4-1"),
        ] {
            assert_eq!(masked(text), expected);
        }
    }

    #[test]
    fn what_is_no_address_stays() {
        for text in [
            "gw.toml:9:1: error",
            "6.12.48+deb13 14.2.0-19",
            "12:34:56",
            "0.0.0.0/0 ::/0 127.0.0.1:9738 [::1]:9738",
            "lanekeeper::sysdump",
            "1.2.3 256.1.1.1 1.2.3.999",
            "2026-11-26 0x2a 5060-5062",
            "",
            "größe :: ü",
        ] {
            assert_eq!(masked(text), text);
        }
    }

    #[test]
    fn identities_go_in_every_form() {
        let ids =
            ["moon.example", "@sun.example", "fqdn:mars.example", "C=CH, O=Planets, CN=Pluto \"X\"", "192.0.2.7", "m"];
        let mut mask = Mask::of(ids);
        let text = "moon.example voice.0.moon.example sun.example @sun.example mars.example O=Planets CN=Pluto \\\"X\\\" \
                    192.0.2.7 m moon.examples";
        let said = mask.apply(text);
        for id in ["moon.example ", "sun", "mars", "Planets", "Pluto", "192.0.2.7", " m "] {
            assert!(!said.contains(id), "{id}: {said}");
        }
        assert!(said.contains("ipv4-1") && said.ends_with(" moon.examples"), "{said}");
        let words: Vec<&str> = said.split(' ').collect();
        assert_eq!(words[1], format!("voice.0.{}", words[0]));
        assert_ne!(words[0], words[2]);
    }

    proptest::proptest! {
        #[test]
        fn no_address_gets_through(v4: u32, v6: u128, left in "[ =\\[\"(,;:@-]{0,2}", right in "[ \\])\",;/]") {
            let (v4, v6) = (Ipv4Addr::from(v4), Ipv6Addr::from(v6));
            proptest::prop_assume!(!v4.is_loopback() && !v4.is_unspecified());
            let said = masked(&format!("{left}{v4}{right} {left}{v6}{right}"));
            proptest::prop_assert!(!said.contains(&v4.to_string()) && !said.contains(&v6.to_string()), "{}", said);
        }
    }
}
