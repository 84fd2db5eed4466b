//! Packets, and the frames that carry them over a stream.

use zeroize::{Zeroize, Zeroizing};

use super::message::{DecodeError, EncodeError, MAX_PACKET, Message, Reader};

const REQUEST: u8 = 0;
const RESPONSE: u8 = 1;
const COMMAND_UNKNOWN: u8 = 2;
const REGISTER: u8 = 3;
const UNREGISTER: u8 = 4;
const CONFIRM: u8 = 5;
const EVENT_UNKNOWN: u8 = 6;
const EVENT: u8 = 7;

/// What the two ends exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet {
    /// A command.
    Request {
        /// Its name.
        name: String,
        /// Its arguments.
        message: Message,
    },
    /// A command's answer.
    Response(Message),
    /// charon knows no such command.
    CommandUnknown,
    /// The wish to get events of that name.
    Register(String),
    /// The wish to get them no more.
    Unregister(String),
    /// The answer to both.
    Confirm,
    /// charon knows no such event.
    EventUnknown,
    /// An event.
    Event {
        /// Its name.
        name: String,
        /// What it tells.
        message: Message,
    },
}

impl Packet {
    /// Its frame: length header and bytes.
    pub fn encode(&self) -> Result<Zeroizing<Vec<u8>>, EncodeError> {
        let (kind, name, message) = match self {
            Self::Request { name, message } => (REQUEST, Some(name), Some(message)),
            Self::Response(message) => (RESPONSE, None, Some(message)),
            Self::CommandUnknown => (COMMAND_UNKNOWN, None, None),
            Self::Register(name) => (REGISTER, Some(name), None),
            Self::Unregister(name) => (UNREGISTER, Some(name), None),
            Self::Confirm => (CONFIRM, None, None),
            Self::EventUnknown => (EVENT_UNKNOWN, None, None),
            Self::Event { name, message } => (EVENT, Some(name), Some(message)),
        };
        if let Some(name) = name.filter(|name| name.len() > usize::from(u8::MAX)) {
            return Err(EncodeError::LongName(name.len()));
        }
        let len = 1 + name.map_or(0, |name| 1 + name.len()) + message.map_or(Ok(0), |m| m.encoded_len(0))?;
        if len > MAX_PACKET {
            return Err(EncodeError::LongPacket(len));
        }
        let mut out = Zeroizing::new(Vec::with_capacity(4 + len));
        out.extend_from_slice(&(len as u32).to_be_bytes());
        out.push(kind);
        if let Some(name) = name {
            out.push(name.len() as u8);
            out.extend_from_slice(name.as_bytes());
        }
        if let Some(message) = message {
            message.append_to(&mut out);
        }
        Ok(out)
    }

    /// Reads a frame's bytes (without the length header).
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader { bytes, at: 0 };
        let kind = reader.byte("packet type")?;
        let packet = match kind {
            REQUEST => {
                let name = reader.name()?;
                return Ok(Self::Request { name, message: Message::decode(&bytes[reader.at..])? });
            }
            RESPONSE => return Ok(Self::Response(Message::decode(&bytes[reader.at..])?)),
            EVENT => {
                let name = reader.name()?;
                return Ok(Self::Event { name, message: Message::decode(&bytes[reader.at..])? });
            }
            COMMAND_UNKNOWN => Self::CommandUnknown,
            REGISTER => Self::Register(reader.name()?),
            UNREGISTER => Self::Unregister(reader.name()?),
            CONFIRM => Self::Confirm,
            EVENT_UNKNOWN => Self::EventUnknown,
            kind => return Err(DecodeError::UnknownPacket(kind)),
        };
        match bytes.len() - reader.at {
            0 => Ok(packet),
            extra => Err(DecodeError::TrailingBytes { kind, extra }),
        }
    }
}

/// Cuts a stream into packets. Holds at most one whole frame and what was pushed behind it.
#[derive(Default)]
pub struct Frames {
    buffer: Vec<u8>,
}

impl Frames {
    /// Takes the next bytes of the stream.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole packet; `None` until more bytes are pushed. After an error the stream is of no use.
    pub fn next_packet(&mut self) -> Result<Option<Packet>, DecodeError> {
        let Some((header, rest)) = self.buffer.split_first_chunk::<4>() else {
            return Ok(None);
        };
        let len = u32::from_be_bytes(*header) as usize;
        if len > MAX_PACKET {
            return Err(DecodeError::TooLong(len));
        }
        let Some(frame) = rest.get(..len) else {
            return Ok(None);
        };
        let packet = Packet::decode(frame)?;
        self.buffer.drain(..4 + len);
        Ok(Some(packet))
    }
}

impl Drop for Frames {
    fn drop(&mut self) {
        self.buffer.zeroize();
    }
}
