//! Other words for addresses, identities and what may be a key: the same for the same one, and no way back.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What is replaced, and has been so far.
#[derive(Debug, Default)]
pub struct Mask {
    /// By how they are written.
    names: HashMap<String, String>,
    /// Their lengths, in bytes.
    lengths: BTreeSet<usize>,
    /// Nothing where addresses stay.
    addresses: Option<Addresses>,
}

#[derive(Debug, Default)]
struct Addresses {
    words: HashMap<IpAddr, String>,
    four: usize,
    six: usize,
}

impl Mask {
    /// One that puts `...` in the place of each of these, which may be a key, and lets all else stay.
    pub fn of_keys<'a>(keys: impl IntoIterator<Item = &'a str>) -> Self {
        let mut mask = Self::default();
        for name in keys.into_iter().flat_map(written) {
            mask.lengths.insert(name.len());
            mask.names.insert(name, "...".to_owned());
        }
        mask
    }

    /// The same, and one that replaces addresses and these identities, which may be anything that a file has for `local-id` or
    /// `remote-id`.
    pub fn and_addresses<'a>(mut self, identities: impl IntoIterator<Item = &'a str>) -> Self {
        self.addresses = Some(Addresses::default());
        let mut next = 1;
        for identity in identities {
            // An address is one wherever it stands.
            if identity.parse::<IpAddr>().is_ok() {
                continue;
            }
            for name in names(identity) {
                self.lengths.insert(name.len());
                self.names.entry(name).or_insert_with(|| format!("identity-{next}"));
                next += 1;
            }
        }
        self
    }

    /// The text with `ipv4-N`, `ipv6-N` and `identity-N` for what it has of them. Lengths of prefixes, ports and zones stay,
    /// and so do addresses that are the same everywhere: unspecified ones and those of loopback.
    pub fn apply(&mut self, text: &str) -> String {
        let mut masked = String::with_capacity(text.len());
        let mut at = 0;
        while let Some(first) = text[at..].chars().next() {
            let (word, taken) = match self.find(&text[..at], &text[at..]) {
                Some(found) => found,
                None => (first.to_string(), first.len_utf8()),
            };
            masked += &word;
            at += taken;
        }
        masked
    }

    /// What begins here and is to be replaced: by what, and how many bytes of it.
    fn find(&mut self, before: &str, rest: &str) -> Option<(String, usize)> {
        if !joins(before) {
            let ends = |length: &usize| rest.get(..*length).is_some() && !continues(&rest[*length..]);
            let named = self.lengths.iter().rev().filter(|length| ends(length));
            for length in named {
                if let Some(word) = self.names.get(&rest[..*length]) {
                    return Some((word.clone(), *length));
                }
            }
        }
        let addresses = self.addresses.as_mut()?;
        if let Some(taken) = numbers(before, rest) {
            return Some(("x.x.x.x.x".to_owned(), taken));
        }
        let (address, taken) = address(before, rest)?;
        if address.is_unspecified() || address.is_loopback() {
            return Some((rest[..taken].to_owned(), taken));
        }
        Some((addresses.word(address), taken))
    }
}

impl Addresses {
    fn word(&mut self, address: IpAddr) -> String {
        let Self { words, four, six } = self;
        let next = || {
            let (family, n) = if address.is_ipv4() { ("ipv4", four) } else { ("ipv6", six) };
            *n += 1;
            format!("{family}-{n}")
        };
        words.entry(address).or_insert_with(next).clone()
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
    all.flat_map(written).collect()
}

/// As it is, and as JSON and TOML write it.
fn written(name: &str) -> [String; 2] {
    let escaped = serde_json::to_string(name).expect("text serialises");
    [name.to_owned(), escaped[1..escaped.len() - 1].to_owned()]
}

/// Whether what follows is the rest of a word. A letter that JSON or TOML escapes (`\n`) is none of it.
fn joins(before: &str) -> bool {
    let mut back = before.chars().rev();
    match back.next() {
        Some('n' | 'r' | 't') if back.next() == Some('\\') => false,
        last => last.is_some_and(char::is_alphanumeric),
    }
}

fn continues(rest: &str) -> bool {
    rest.chars().next().is_some_and(char::is_alphanumeric)
}

/// The address that begins here, and how many bytes of text it is.
fn address(before: &str, rest: &str) -> Option<(IpAddr, usize)> {
    sixth(before, rest).or_else(|| fourth(before, rest))
}

/// Five numbers or more that begin here, of which any four may be an address: how many bytes.
fn numbers(before: &str, rest: &str) -> Option<usize> {
    let (_, first) = fourth(before, rest)?;
    let bytes = rest.as_bytes();
    let mark = *bytes.iter().find(|byte| !byte.is_ascii_digit())?;
    let mut at = first;
    while bytes.get(at) == Some(&mark) && bytes.get(at + 1).is_some_and(u8::is_ascii_digit) {
        at += 1 + bytes[at + 1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    }
    // A range of two addresses has no other mark than one between two numbers of them.
    (at > first).then_some(at)
}

/// Also with other marks between its numbers, as names of hosts and tunnels have it.
fn fourth(before: &str, rest: &str) -> Option<(IpAddr, usize)> {
    if before.ends_with(|c: char| c.is_ascii_digit()) {
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

fn sixth(before: &str, rest: &str) -> Option<(IpAddr, usize)> {
    // `std::fs` is none; of a word that ends in one only what is hexadecimal is known to be of it.
    if joins(before) && rest.starts_with(':') {
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
        Mask::default().and_addresses([]).apply(text)
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
            ("b7.0.192.0.2.77", "bx.x.x.x.x"),
            ("0.192.0.2.77 192.0.2.77", "x.x.x.x.x ipv4-1"),
            ("300.192.0.2.77", "300.ipv4-1"),
            ("n2001:db8::5", "nipv6-1"),
            ("\\n2001:db8::5\\t::5", "\\nipv6-1\\tipv6-2"),
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
        let mut mask = Mask::default().and_addresses(ids);
        assert_eq!(mask.apply("\\nmoon.example"), format!("\\n{}", mask.apply("moon.example")));
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

    #[test]
    fn what_may_be_a_key_goes_and_addresses_stay() {
        let mut mask = Mask::of_keys(["hunter2", "a/\"b\""]);
        let said = mask.apply("psk-file hunter2 of 192.0.2.1, /etc/hunter2: \"a/\\\"b\\\"\" and a/\"b\" hunter22");
        assert_eq!(said, "psk-file ... of 192.0.2.1, /etc/...: \"...\" and ... hunter22");
    }

    proptest::proptest! {
        #[test]
        fn no_address_gets_through(v4: u32, v6: u128, left in "[ =\\[\"(,;:@g-z-]{0,2}", right in "[ \\])\",;/]") {
            let (v4, v6) = (Ipv4Addr::from(v4), Ipv6Addr::from(v6));
            proptest::prop_assume!(!v4.is_loopback() && !v4.is_unspecified());
            let said = masked(&format!("{left}{v4}{right} {left}{v6}{right}"));
            proptest::prop_assert!(!said.contains(&v4.to_string()) && !said.contains(&v6.to_string()), "{}", said);
        }
    }
}
