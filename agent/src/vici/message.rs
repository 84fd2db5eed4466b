//! Messages: trees of sections, key/values and lists.

use std::fmt;

use zeroize::Zeroizing;

/// Bytes of one packet without its length header; charon refuses more.
pub const MAX_PACKET: usize = 512 * 1024;
/// Sections within sections; charon nests four deep, a hostile peer as deep as the bytes reach.
const MAX_DEPTH: usize = 16;

const SECTION_START: u8 = 1;
const SECTION_END: u8 = 2;
const KEY_VALUE: u8 = 3;
const LIST_START: u8 = 4;
const LIST_ITEM: u8 = 5;
const LIST_END: u8 = 6;

/// Why bytes are not a message or packet.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes end within an element.
    #[error("vici message: {what} at byte {at} wants {wanted} more bytes than there are")]
    Truncated {
        /// What was being read.
        what: &'static str,
        /// Offset in the message.
        at: usize,
        /// Bytes missing.
        wanted: usize,
    },
    /// An element of no known type.
    #[error("vici message: element type {kind} at byte {at} is not one of 1 to 6")]
    UnknownElement {
        /// The type.
        kind: u8,
        /// Offset in the message.
        at: usize,
    },
    /// A known element where it may not be.
    #[error("vici message: element type {kind} at byte {at} may not stand here")]
    Misplaced {
        /// The type.
        kind: u8,
        /// Offset in the message.
        at: usize,
    },
    /// A section or list without its end.
    #[error("vici message: a section or list is not closed")]
    Unclosed,
    /// Sections too deep.
    #[error("vici message: sections nest deeper than {MAX_DEPTH} at byte {at}")]
    TooDeep {
        /// Offset in the message.
        at: usize,
    },
    /// A packet of no known type.
    #[error("vici packet: type {0} is not one of 0 to 7")]
    UnknownPacket(u8),
    /// A packet with bytes behind its end.
    #[error("vici packet: type {kind} carries {extra} bytes too many")]
    TrailingBytes {
        /// The packet's type.
        kind: u8,
        /// Bytes behind its end.
        extra: usize,
    },
    /// A length above the protocol's limit.
    #[error("vici packet: length {0} is above the limit of {MAX_PACKET}")]
    TooLong(usize),
}

/// Why a message or packet cannot be sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// A name above 255 bytes.
    #[error("vici name of {0} bytes is above the limit of 255")]
    LongName(usize),
    /// A value above 65535 bytes.
    #[error("vici value of {name:?} has {len} bytes, the limit is 65535")]
    LongValue {
        /// Its key or list.
        name: String,
        /// Its length.
        len: usize,
    },
    /// All of it above 512 KiB.
    #[error("vici packet of {0} bytes is above the limit of {MAX_PACKET}")]
    LongPacket(usize),
    /// Sections too deep.
    #[error("vici sections nest deeper than {MAX_DEPTH}")]
    TooDeep,
}

/// A value's bytes; zeroed when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Blob {
    bytes: Zeroizing<Vec<u8>>,
    secret: Secret,
}

/// Whether `Debug` shows the bytes; not part of the value.
#[derive(Clone, Copy)]
struct Secret(bool);

impl PartialEq for Secret {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Secret {}

impl Blob {
    fn public(bytes: impl Into<Vec<u8>>) -> Self {
        Self { bytes: Zeroizing::new(bytes.into()), secret: Secret(false) }
    }

    fn secret(bytes: &[u8]) -> Self {
        Self { bytes: Zeroizing::new(bytes.to_vec()), secret: Secret(true) }
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl fmt::Debug for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.secret.0 {
            write!(f, "<{} secret bytes>", self.bytes.len())
        } else {
            write!(f, "{:?}", String::from_utf8_lossy(&self.bytes))
        }
    }
}

/// What stands under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// One value.
    Leaf(Blob),
    /// A list of them.
    List(Vec<Blob>),
    /// A tree of its own.
    Section(Message),
}

/// A section's contents (or the unnamed root's) in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Message {
    elements: Vec<(String, Value)>,
}

impl Message {
    /// Without elements.
    pub fn new() -> Self {
        Self::default()
    }

    /// With `key = value` at its end.
    pub fn with(mut self, key: &str, value: impl AsRef<[u8]>) -> Self {
        self.elements.push((key.to_owned(), Value::Leaf(Blob::public(value.as_ref()))));
        self
    }

    /// With `key = value` at its end, where `Debug` does not show the value.
    pub fn with_secret(mut self, key: &str, value: &[u8]) -> Self {
        self.elements.push((key.to_owned(), Value::Leaf(Blob::secret(value))));
        self
    }

    /// With a list at its end.
    pub fn with_list<T: AsRef<[u8]>>(mut self, key: &str, items: impl IntoIterator<Item = T>) -> Self {
        let items = items.into_iter().map(|item| Blob::public(item.as_ref())).collect();
        self.elements.push((key.to_owned(), Value::List(items)));
        self
    }

    /// With a section at its end.
    pub fn with_section(mut self, name: &str, section: Message) -> Self {
        self.elements.push((name.to_owned(), Value::Section(section)));
        self
    }

    /// With any value at its end.
    pub fn with_value(mut self, name: &str, value: Value) -> Self {
        self.elements.push((name.to_owned(), value));
        self
    }

    /// All of it in order.
    pub fn elements(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.elements.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// The first value of that key, where it is text.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.elements.iter().find_map(|(name, value)| match value {
            Value::Leaf(blob) if name == key => std::str::from_utf8(blob.bytes()).ok(),
            Value::Leaf(_) | Value::List(_) | Value::Section(_) => None,
        })
    }

    /// The items of the first list of that name, those that are text.
    pub fn list<'a>(&'a self, key: &str) -> impl Iterator<Item = &'a str> {
        let items = self.elements.iter().find_map(|(name, value)| match value {
            Value::List(items) if name == key => Some(items.as_slice()),
            Value::Leaf(_) | Value::List(_) | Value::Section(_) => None,
        });
        items.unwrap_or_default().iter().filter_map(|blob| std::str::from_utf8(blob.bytes()).ok())
    }

    /// The first section of that name.
    pub fn section(&self, key: &str) -> Option<&Message> {
        self.sections().find_map(|(name, section)| (name == key).then_some(section))
    }

    /// The sections in order.
    pub fn sections(&self) -> impl Iterator<Item = (&str, &Message)> {
        self.elements.iter().filter_map(|(name, value)| match value {
            Value::Section(section) => Some((name.as_str(), section)),
            Value::Leaf(_) | Value::List(_) => None,
        })
    }

    /// Its bytes, in one allocation of the right size so that no copy of a secret stays behind.
    pub fn encode(&self) -> Result<Zeroizing<Vec<u8>>, EncodeError> {
        let mut out = Zeroizing::new(Vec::with_capacity(self.encoded_len(0)?));
        self.append_to(&mut out);
        Ok(out)
    }

    /// The size of its bytes, when it can be encoded.
    pub(super) fn encoded_len(&self, depth: usize) -> Result<usize, EncodeError> {
        if depth > MAX_DEPTH {
            return Err(EncodeError::TooDeep);
        }
        let blob_len = |name: &str, blob: &Blob| match blob.bytes.len() {
            len if len > usize::from(u16::MAX) => Err(EncodeError::LongValue { name: name.to_owned(), len }),
            len => Ok(2 + len),
        };
        let mut total = 0usize;
        for (name, value) in &self.elements {
            if name.len() > usize::from(u8::MAX) {
                return Err(EncodeError::LongName(name.len()));
            }
            total += 2 + name.len();
            total += match value {
                Value::Leaf(blob) => blob_len(name, blob)?,
                Value::List(items) => {
                    let mut len = 1;
                    for item in items {
                        len += 1 + blob_len(name, item)?;
                    }
                    len
                }
                Value::Section(section) => section.encoded_len(depth + 1)? + 1,
            };
        }
        if total > MAX_PACKET {
            return Err(EncodeError::LongPacket(total));
        }
        Ok(total)
    }

    /// Appends its bytes; `encoded_len` has checked every length.
    pub(super) fn append_to(&self, out: &mut Vec<u8>) {
        let append_blob = |out: &mut Vec<u8>, blob: &Blob| {
            out.extend_from_slice(&(blob.bytes.len() as u16).to_be_bytes());
            out.extend_from_slice(&blob.bytes);
        };
        for (name, value) in &self.elements {
            out.push(match value {
                Value::Leaf(_) => KEY_VALUE,
                Value::List(_) => LIST_START,
                Value::Section(_) => SECTION_START,
            });
            out.push(name.len() as u8);
            out.extend_from_slice(name.as_bytes());
            match value {
                Value::Leaf(blob) => append_blob(out, blob),
                Value::List(items) => {
                    for item in items {
                        out.push(LIST_ITEM);
                        append_blob(out, item);
                    }
                    out.push(LIST_END);
                }
                Value::Section(section) => {
                    section.append_to(out);
                    out.push(SECTION_END);
                }
            }
        }
    }

    /// Reads a message that fills `bytes`. Names that are not UTF-8 get replacement characters: a connection that is
    /// not ours must not hide those that are.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader { bytes, at: 0 };
        let mut open: Vec<(String, Message)> = Vec::new();
        let mut current = Message::new();
        while reader.at < bytes.len() {
            let at = reader.at;
            match reader.byte("element")? {
                SECTION_START => {
                    if open.len() == MAX_DEPTH {
                        return Err(DecodeError::TooDeep { at });
                    }
                    open.push((reader.name()?, std::mem::take(&mut current)));
                }
                SECTION_END => {
                    let (name, parent) = open.pop().ok_or(DecodeError::Misplaced { kind: SECTION_END, at })?;
                    let section = std::mem::replace(&mut current, parent);
                    current.elements.push((name, Value::Section(section)));
                }
                KEY_VALUE => {
                    let name = reader.name()?;
                    let value = Value::Leaf(reader.blob()?);
                    current.elements.push((name, value));
                }
                LIST_START => {
                    let name = reader.name()?;
                    let items = reader.list()?;
                    current.elements.push((name, Value::List(items)));
                }
                kind @ (LIST_ITEM | LIST_END) => return Err(DecodeError::Misplaced { kind, at }),
                kind => return Err(DecodeError::UnknownElement { kind, at }),
            }
        }
        if open.is_empty() { Ok(current) } else { Err(DecodeError::Unclosed) }
    }
}

/// Where reading stands.
pub(super) struct Reader<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize, what: &'static str) -> Result<&'a [u8], DecodeError> {
        let rest = &self.bytes[self.at..];
        let taken =
            rest.get(..len).ok_or_else(|| DecodeError::Truncated { what, at: self.at, wanted: len - rest.len() })?;
        self.at += len;
        Ok(taken)
    }

    pub(super) fn byte(&mut self, what: &'static str) -> Result<u8, DecodeError> {
        Ok(self.take(1, what)?[0])
    }

    pub(super) fn name(&mut self) -> Result<String, DecodeError> {
        let len = self.byte("name length")?;
        Ok(String::from_utf8_lossy(self.take(usize::from(len), "name")?).into_owned())
    }

    fn blob(&mut self) -> Result<Blob, DecodeError> {
        let len = self.take(2, "value length")?;
        let len = u16::from_be_bytes([len[0], len[1]]);
        Ok(Blob::public(self.take(usize::from(len), "value")?))
    }

    fn list(&mut self) -> Result<Vec<Blob>, DecodeError> {
        let mut items = Vec::new();
        loop {
            if self.at == self.bytes.len() {
                return Err(DecodeError::Unclosed);
            }
            let at = self.at;
            match self.byte("list element")? {
                LIST_ITEM => items.push(self.blob()?),
                LIST_END => return Ok(items),
                kind @ (SECTION_START | SECTION_END | KEY_VALUE | LIST_START) => {
                    return Err(DecodeError::Misplaced { kind, at });
                }
                kind => return Err(DecodeError::UnknownElement { kind, at }),
            }
        }
    }
}

#[cfg(test)]
mod tests;
