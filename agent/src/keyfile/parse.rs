//! Text -> keys. Borrows from the text throughout, so that the key is copied once: into [`Key`].

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::path::PathBuf;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Algorithm, Direction, Key, Keys, Sa};
use crate::plan::CHARON_SPIS;

const FIELDS: [&str; 5] = ["lane", "direction", "spi", "algorithm", "key"];

/// All errors of one file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Errors(pub Vec<Error>);

/// One error and its place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}:{column}: {finding}", file = file.display())]
pub struct Error {
    /// As it was named.
    pub file: PathBuf,
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// What is wrong.
    pub finding: Finding,
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Finding {
    /// Not TOML.
    #[error("this is not TOML")]
    Syntax,
    /// A table or key that the format does not have.
    #[error("unknown key; the file holds [[sa]] tables of lane, direction, spi, algorithm and key")]
    UnknownKey,
    /// A key that each `[[sa]]` needs.
    #[error("this sa has no {0}")]
    Missing(&'static str),
    /// Not a string.
    #[error("{0} must be a string")]
    NotAString(&'static str),
    /// Neither `in` nor `out`.
    #[error("direction must be \"in\" or \"out\"")]
    Direction,
    /// None of ours.
    #[error("unknown algorithm; known are {}", Algorithm::ALL.map(Algorithm::name).join(", "))]
    Algorithm,
    /// Not an SPI that we may use.
    #[error("spi must be an integer from 0x100 to 0xffffffff, outside charon's own 0xc0000000 to 0xcfffffff")]
    Spi,
    /// Not hex.
    #[error("key must be an even number of hex digits")]
    Hex,
    /// Too short or too long.
    #[error("{algorithm} takes {want} bytes of key ({digits} hex digits), this has {have}", digits = want * 2)]
    KeyLength {
        /// The SA's.
        algorithm: Algorithm,
        /// Bytes.
        want: usize,
        /// Bytes.
        have: usize,
    },
    /// Lane and direction twice.
    #[error("a second sa of this lane and direction")]
    SecondSa,
    /// The same SPI twice in a direction.
    #[error("a second sa of this spi and direction")]
    SecondSpi,
    /// Two SAs with one key.
    #[error("this key is another sa's too; each lane and direction needs its own")]
    SecondKey,
}

/// Reads the text of a key file named `file`.
pub fn parse(file: impl Into<PathBuf>, text: &str) -> Result<Keys, Errors> {
    let mut reader = Reader { file: file.into(), text, errors: Vec::new() };
    let mut keys = Keys::default();
    match DeTable::parse(text) {
        Ok(root) => reader.root(root.get_ref(), &mut keys),
        Err(error) => reader.err(error.span().unwrap_or_default(), Finding::Syntax),
    }
    if reader.errors.is_empty() { Ok(keys) } else { Err(Errors(reader.errors)) }
}

struct Reader<'a> {
    file: PathBuf,
    text: &'a str,
    errors: Vec<Error>,
}

impl Reader<'_> {
    fn err(&mut self, span: Range<usize>, finding: Finding) {
        let before = self.text.get(..span.start).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        self.errors.push(Error { file: self.file.clone(), line, column, finding });
    }

    fn root(&mut self, root: &DeTable<'_>, keys: &mut Keys) {
        let mut lanes = BTreeSet::new();
        let mut spis = BTreeSet::new();
        for (name, value) in root {
            let Some(sas) = value.get_ref().as_array().filter(|_| name.get_ref() == "sa") else {
                self.err(name.span(), Finding::UnknownKey);
                continue;
            };
            for item in sas {
                let Some(table) = item.get_ref().as_table() else {
                    self.err(item.span(), Finding::UnknownKey);
                    continue;
                };
                let Some(sa) = self.sa(table, item.span()) else { continue };
                if !lanes.insert((sa.lane.clone(), sa.direction)) {
                    self.err(span_of(table, "lane"), Finding::SecondSa);
                }
                if !spis.insert((sa.spi, sa.direction)) {
                    self.err(span_of(table, "spi"), Finding::SecondSpi);
                }
                if keys.sas.iter().any(|other| other.key == sa.key) {
                    self.err(span_of(table, "key"), Finding::SecondKey);
                }
                keys.sas.push(sa);
            }
        }
    }

    fn sa(&mut self, table: &DeTable<'_>, head: Range<usize>) -> Option<Sa> {
        for (name, _) in table {
            if !FIELDS.contains(&name.get_ref().as_ref()) {
                self.err(name.span(), Finding::UnknownKey);
            }
        }
        let lane = self.string(table, "lane", &head).map(|(lane, _)| lane.to_owned());
        let direction = self.string(table, "direction", &head).and_then(|(word, span)| match word {
            "in" => Some(Direction::In),
            "out" => Some(Direction::Out),
            _ => {
                self.err(span, Finding::Direction);
                None
            }
        });
        let spi = self.spi(table, &head);
        let algorithm = self.string(table, "algorithm", &head).and_then(|(word, span)| {
            let known = Algorithm::ALL.into_iter().find(|algorithm| algorithm.name() == word);
            if known.is_none() {
                self.err(span, Finding::Algorithm);
            }
            known
        });
        let key = self.key(table, &head, algorithm);
        Some(Sa { lane: lane?, direction: direction?, spi: spi?, algorithm: algorithm?, key: key? })
    }

    fn field<'t, 'i>(
        &mut self,
        table: &'t DeTable<'i>,
        name: &'static str,
        head: &Range<usize>,
    ) -> Option<&'t Spanned<DeValue<'i>>> {
        let value = table.get(name);
        if value.is_none() {
            self.err(head.clone(), Finding::Missing(name));
        }
        value
    }

    fn string<'t>(
        &mut self,
        table: &'t DeTable<'_>,
        name: &'static str,
        head: &Range<usize>,
    ) -> Option<(&'t str, Range<usize>)> {
        let value = self.field(table, name, head)?;
        let text = value.get_ref().as_str();
        if text.is_none() {
            self.err(value.span(), Finding::NotAString(name));
        }
        Some((text?, value.span()))
    }

    fn spi(&mut self, table: &DeTable<'_>, head: &Range<usize>) -> Option<u32> {
        let value = self.field(table, "spi", head)?;
        let spi = value
            .get_ref()
            .as_integer()
            .and_then(|integer| u32::from_str_radix(integer.as_str(), integer.radix()).ok())
            // RFC 4303 section 2.1 reserves 1 to 255.
            .filter(|spi| *spi >= 0x100 && !CHARON_SPIS.contains(spi));
        if spi.is_none() {
            self.err(value.span(), Finding::Spi);
        }
        spi
    }

    fn key(&mut self, table: &DeTable<'_>, head: &Range<usize>, algorithm: Option<Algorithm>) -> Option<Key> {
        let (digits, span) = self.string(table, "key", head)?;
        let Some(key) = unhex(digits) else {
            self.err(span, Finding::Hex);
            return None;
        };
        let algorithm = algorithm?;
        let (want, have) = (algorithm.key_len(), key.expose().len());
        if want != have {
            self.err(span, Finding::KeyLength { algorithm, want, have });
            return None;
        }
        Some(key)
    }
}

fn span_of(table: &DeTable<'_>, name: &str) -> Range<usize> {
    table.get(name).map(Spanned::span).unwrap_or_default()
}

fn unhex(digits: &str) -> Option<Key> {
    let nibble = |byte: u8| (byte as char).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (pairs, []) = digits.as_bytes().as_chunks::<2>() else { return None };
    // Of its final size from the start: a vector that grows leaves copies behind. And a key from the start: what is no
    // hex halfway is wiped as well.
    let mut key = Key(Vec::with_capacity(pairs.len()));
    for [high, low] in pairs {
        key.0.push(nibble(*high)? << 4 | nibble(*low)?);
    }
    Some(key)
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.0.iter().enumerate() {
            let separator = if i == 0 { "" } else { "\n" };
            write!(f, "{separator}{error}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "000102030405060708090a0b0c0d0e0f10111213";

    fn sa(key: &str) -> String {
        format!(
            "[[sa]]\nlane = \"voice.0\"\ndirection = \"out\"\nspi = 0x1001\nalgorithm = \"aes128gcm16\"\nkey = {key}\n"
        )
    }

    fn said(text: &str) -> String {
        parse("a.keys", text).unwrap_err().to_string()
    }

    #[test]
    fn reads_one_sa_whole() {
        let keys = parse("a.keys", &sa(&format!("\"{KEY}\""))).unwrap();
        let sa = keys.find("voice.0", Direction::Out).unwrap();
        assert_eq!((sa.spi, sa.algorithm), (0x1001, Algorithm::Aes128Gcm16));
        assert_eq!(sa.key.expose()[..3], [0, 1, 2]);
        assert_eq!(sa.key.expose().len(), 20);
        assert_eq!(keys.find("voice.0", Direction::In), None);
    }

    #[test]
    fn every_error_has_its_place_and_all_come_at_once() {
        let text = "colour = 1\n[[sa]]\ndirection = \"up\"\nspi = 0xff\nalgorithm = \"rot13\"\nkey = \"0\"\nkeys = 2\n";
        assert_eq!(
            said(text),
            "a.keys:1:1: unknown key; the file holds [[sa]] tables of lane, direction, spi, algorithm and key\n\
             a.keys:7:1: unknown key; the file holds [[sa]] tables of lane, direction, spi, algorithm and key\n\
             a.keys:2:1: this sa has no lane\n\
             a.keys:3:13: direction must be \"in\" or \"out\"\n\
             a.keys:4:7: spi must be an integer from 0x100 to 0xffffffff, outside charon's own 0xc0000000 to 0xcfffffff\n\
             a.keys:5:13: unknown algorithm; known are aes128gcm16, aes256gcm16, chacha20poly1305, aes128-sha256, \
             aes256-sha256\n\
             a.keys:6:7: key must be an even number of hex digits"
        );
    }

    #[test]
    fn the_lane_must_be_a_string() {
        assert!(said("[[sa]]\nlane = 1\n").starts_with("a.keys:2:8: lane must be a string\n"));
    }

    #[test]
    fn a_key_of_the_wrong_length_is_refused() {
        assert_eq!(
            said(&sa(&format!("\"{KEY}00\""))),
            "a.keys:6:7: aes128gcm16 takes 20 bytes of key (40 hex digits), this has 21"
        );
    }

    #[test]
    fn charons_spis_are_refused() {
        for spi in ["0xc0000000", "0xcfffffff", "0x100000000", "0", "-1", "\"0x1001\""] {
            let text = sa(&format!("\"{KEY}\"")).replace("0x1001", spi);
            assert!(said(&text).starts_with("a.keys:4:7: spi must"), "{spi}");
        }
    }

    #[test]
    fn nothing_may_stand_twice() {
        let twice = sa(&format!("\"{KEY}\"")).repeat(2);
        assert_eq!(
            said(&twice),
            "a.keys:8:8: a second sa of this lane and direction\n\
             a.keys:10:7: a second sa of this spi and direction\n\
             a.keys:12:7: this key is another sa's too; each lane and direction needs its own"
        );
    }

    #[test]
    fn no_error_shows_what_may_be_a_key() {
        let wrong_places = [
            sa(KEY),
            sa(&format!("\"{KEY}")),
            sa(&format!("\"{KEY}x\"")),
            sa(&format!("'{KEY}ff'")),
            sa(&format!("[\"{KEY}\"]")),
            sa("1").replace("voice.0", KEY),
            sa("1").replace("aes128gcm16", KEY),
            sa("1").replace("out", KEY),
            format!("{KEY} = \"sa\"\n"),
            format!("[[sa]]\n{KEY} = \"key\"\n"),
            format!("[{KEY}]\n"),
        ];
        for text in wrong_places {
            let errors = parse("a.keys", &text).unwrap_err();
            let shown = format!("{errors} {errors:?}");
            assert!(!shown.contains(&KEY[..8]) && !shown.contains("20304050"), "{shown}");
        }
    }

    #[test]
    fn debug_of_keys_is_redacted() {
        let keys = parse("a.keys", &sa(&format!("\"{KEY}\""))).unwrap();
        let shown = format!("{keys:?}");
        assert!(shown.contains("Key(redacted)") && !shown.contains("1, 2, 3"), "{shown}");
    }
}
