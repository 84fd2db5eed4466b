//! A pair of mirrored key files, one for each end.

use std::collections::BTreeSet;
use std::fmt::Write;

use zeroize::Zeroizing;

use super::{Algorithm, Direction};

/// What one end sends with, the other receives with.
pub struct Mirrored {
    /// For this end.
    pub here: Zeroizing<String>,
    /// For the peer.
    pub there: Zeroizing<String>,
}

/// Keys for these lanes (`CLASS.INDEX`); `random` fills its argument with random bytes.
pub fn generate<'a>(
    lanes: impl IntoIterator<Item = &'a str>,
    algorithm: Algorithm,
    mut random: impl FnMut(&mut [u8]),
) -> Mirrored {
    let mut files = Mirrored { here: Zeroizing::default(), there: Zeroizing::default() };
    let mut spis = BTreeSet::new();
    for lane in lanes {
        for direction in [Direction::Out, Direction::In] {
            let spi = loop {
                let mut bytes = [0; 4];
                random(&mut bytes);
                // The top two bits off: below charon's; the next one on: above what is reserved.
                let spi = u32::from_be_bytes(bytes) & 0x3fff_ffff | 0x2000_0000;
                if spis.insert(spi) {
                    break spi;
                }
            };
            let mut key = Zeroizing::new(vec![0; algorithm.key_len()]);
            random(&mut key);
            let opposite = match direction {
                Direction::In => Direction::Out,
                Direction::Out => Direction::In,
            };
            write_sa(&mut files.here, lane, direction, spi, algorithm, &key);
            write_sa(&mut files.there, lane, opposite, spi, algorithm, &key);
        }
    }
    files
}

fn write_sa(
    text: &mut Zeroizing<String>,
    lane: &str,
    direction: Direction,
    spi: u32,
    algorithm: Algorithm,
    key: &[u8],
) {
    // The old buffer is wiped, not left behind by growth.
    let mut grown = Zeroizing::new(String::with_capacity(text.len() + 256 + lane.len() + key.len() * 2));
    grown.push_str(text);
    let _ = write!(
        grown,
        "[[sa]]\nlane = \"{lane}\"\ndirection = \"{direction}\"\nspi = {spi:#010x}\nalgorithm = \"{algorithm}\"\nkey = \""
    );
    for byte in key {
        let _ = write!(grown, "{byte:02x}");
    }
    grown.push_str("\"\n\n");
    *text = grown;
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;

    fn counter() -> impl FnMut(&mut [u8]) {
        let mut next = 0u32;
        move |bytes| {
            for byte in bytes {
                next = next.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                *byte = (next >> 24) as u8;
            }
        }
    }

    #[test]
    fn both_files_are_read_and_mirror_each_other() {
        for algorithm in Algorithm::ALL {
            let files = generate(["voice.0", "bulk.0", "bulk.1"], algorithm, counter());
            let here = parse("here", &files.here).unwrap();
            let there = parse("there", &files.there).unwrap();
            assert_eq!(here.sas.len(), 6);
            for (sa, mirrored) in here.sas.iter().zip(&there.sas) {
                assert_ne!(sa.direction, mirrored.direction);
                assert_eq!((&sa.lane, sa.spi, &sa.key), (&mirrored.lane, mirrored.spi, &mirrored.key));
            }
        }
    }
}
