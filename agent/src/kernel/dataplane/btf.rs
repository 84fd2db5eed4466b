//! Where the running kernel has a field of a structure: its BTF (Documentation/bpf/btf.rst) says so. The loader's own reader of
//! BTF tells nobody else.

use std::fs;
use std::path::Path;

/// The kernel's own, where it was built with CONFIG_DEBUG_INFO_BTF.
pub const FILE: &str = "/sys/kernel/btf/vmlinux";

const MAGIC: u16 = 0xeb9f;
/// Bytes of a type before what its kind adds, and of a member.
const TYPE: usize = 12;
const MEMBER: usize = 12;

// Kinds, as linux/btf.h numbers them.
const INT: u32 = 1;
const ARRAY: u32 = 3;
const STRUCT: u32 = 4;
const UNION: u32 = 5;
const ENUM: u32 = 6;
const FUNC_PROTO: u32 = 13;
const VAR: u32 = 14;
const DATASEC: u32 = 15;
const DECL_TAG: u32 = 17;
const ENUM64: u32 = 19;
/// The last that is known.
const LAST: u32 = 19;

/// Types of a kernel.
#[derive(Debug)]
pub struct Btf {
    bytes: Vec<u8>,
    /// Where each type begins; number 0 is `void`.
    types: Vec<usize>,
    /// Where the names begin.
    names: usize,
}

impl Btf {
    /// Of the running kernel.
    pub fn of_kernel() -> Result<Self, String> {
        let bytes = fs::read(Path::new(FILE)).map_err(|error| format!("{FILE}: {error}"))?;
        Self::parse(bytes).ok_or_else(|| format!("{FILE} is not BTF that this version can read"))
    }

    fn parse(bytes: Vec<u8>) -> Option<Self> {
        if u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?) != MAGIC {
            return None;
        }
        let word = |at: usize| word(&bytes, at).map(|word| word as usize);
        let (head, types_at, types_len, names_at) = (word(4)?, word(8)?, word(12)?, word(16)?);
        let (mut at, end, names) = (head + types_at, head + types_at + types_len, head + names_at);
        bytes.get(at..end)?;
        let mut types = vec![at];
        while at < end {
            types.push(at);
            at += TYPE + more(word(at + 4)? as u32)?;
        }
        Some(Self { bytes, types, names })
    }

    /// Bytes from the structure's beginning to the field, which may be in unions and structures without a name.
    pub fn offset(&self, structure: &str, field: &str) -> Result<u32, String> {
        let wanted = |&at: &usize| self.kind(at) == Some(STRUCT) && self.name(at) == Some(structure.as_bytes());
        let found = self.types.iter().skip(1).copied().find(wanted).and_then(|at| self.bits(at, field.as_bytes()));
        let found = found.filter(|bits| bits % 8 == 0).map(|bits| bits / 8);
        found.ok_or_else(|| format!("this kernel's struct {structure} has no {field}"))
    }

    fn bits(&self, at: usize, field: &[u8]) -> Option<u32> {
        let info = word(&self.bytes, at + 4)?;
        if !matches!(kind(info), STRUCT | UNION) {
            return None;
        }
        // Of structures with bit fields the upper byte is a width.
        let mask = if info >> 31 != 0 { 0x00ff_ffff } else { u32::MAX };
        (0..count(info)).find_map(|number| {
            let member = at + TYPE + number * MEMBER;
            let begin = word(&self.bytes, member + 8)? & mask;
            match self.name(member)? {
                name if name == field => Some(begin),
                b"" => {
                    let inner = *self.types.get(word(&self.bytes, member + 4)? as usize)?;
                    self.bits(inner, field).map(|bits| begin + bits)
                }
                _ => None,
            }
        })
    }

    fn kind(&self, at: usize) -> Option<u32> {
        word(&self.bytes, at + 4).map(kind)
    }

    /// Types and members begin with where theirs is.
    fn name(&self, at: usize) -> Option<&[u8]> {
        let rest = self.bytes.get(self.names + word(&self.bytes, at)? as usize..)?;
        rest.split(|byte| *byte == 0).next()
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn kind(info: u32) -> u32 {
    info >> 24 & 0x1f
}

fn count(info: u32) -> usize {
    (info & 0xffff) as usize
}

/// Bytes that a type has behind its first twelve; `None` for a kind that is not known, behind which nothing can be found.
fn more(info: u32) -> Option<usize> {
    match kind(info) {
        INT | VAR | DECL_TAG => Some(4),
        ARRAY => Some(12),
        STRUCT | UNION | DATASEC | ENUM64 => Some(count(info) * 12),
        ENUM | FUNC_PROTO => Some(count(info) * 8),
        known if known <= LAST => Some(0),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: &[u8] = b"\0sk_buff\0tstamp\0mark\0odd\0int\0";

    fn name(text: &str) -> u32 {
        let text = format!("\0{text}\0");
        NAMES.windows(text.len()).position(|at| at == text.as_bytes()).unwrap() as u32 + 1
    }

    /// An int, a union of it without a name, and a structure that has both, with a bit field.
    fn sample() -> Vec<u8> {
        let mut types: Vec<u32> = vec![name("int"), INT << 24, 4, 0x20];
        types.extend([0, UNION << 24 | 2, 8, name("mark"), 1, 0, name("tstamp"), 1, 0]);
        types.extend([name("sk_buff"), 1 << 31 | STRUCT << 24 | 3, 24]);
        types.extend([name("int"), 1, 0, 0, 2, 64, name("odd"), 1, 3 << 24 | 129]);
        let mut bytes: Vec<u8> = Vec::new();
        bytes.extend(MAGIC.to_ne_bytes());
        bytes.extend([1, 0]);
        let types_len = types.len() as u32 * 4;
        for word in [24, 0, types_len, types_len, NAMES.len() as u32].into_iter().chain(types) {
            bytes.extend(word.to_ne_bytes());
        }
        bytes.extend(NAMES);
        bytes
    }

    #[test]
    fn a_field_is_found_in_what_has_no_name_too() {
        let btf = Btf::parse(sample()).unwrap();
        assert_eq!(btf.offset("sk_buff", "int"), Ok(0));
        assert_eq!(btf.offset("sk_buff", "tstamp"), Ok(8));
        let missing = |structure: &str, field: &str| btf.offset(structure, field).unwrap_err();
        assert_eq!(missing("sk_buff", "odd"), "this kernel's struct sk_buff has no odd");
        assert_eq!(missing("sk_buff", "cb"), "this kernel's struct sk_buff has no cb");
        assert_eq!(missing("net_device", "mark"), "this kernel's struct net_device has no mark");
    }

    #[test]
    fn what_is_no_btf_is_not_read() {
        let sample = sample();
        assert!(Btf::parse(sample[..sample.len() - NAMES.len() - 8].to_vec()).is_none());
        assert!(Btf::parse(vec![0; 64]).is_none());
        let mut unknown = sample;
        unknown[24 + 7] = 31;
        assert!(Btf::parse(unknown).is_none());
    }
}
