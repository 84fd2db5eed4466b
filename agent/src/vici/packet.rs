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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Sent by charon 5.9.8 (Debian 12) to `version`.
    const VERSION: &[u8] = b"\x01\x03\x06daemon\x00\x06charon\x03\x07version\x00\x055.9.8\x03\x07sysname\x00\x05Linux\
        \x03\x07release\x00\x0f6.18.44-fc-v769\x03\x07machine\x00\x06x86_64";
    /// Sent by charon 5.9.8 to a `load-conn` with an unknown key.
    const REFUSAL: &[u8] = b"\x01\x03\x07success\x00\x02no\x03\x06errmsg\x00'unknown option: bogus, config discarded";
    /// The front of a `list-conn` event of charon 5.9.8, closed after its first authentication round.
    const LIST_CONN: &[u8] =
        b"\x07\tlist-conn\x01\x04lk-a\x04\x0blocal_addrs\x05\x00\t192.0.2.1\x06\x04\x0cremote_addrs\
        \x05\x00\t192.0.2.2\x06\x03\x07version\x00\x05IKEv2\x01\x07local-1\x03\x06aaa_id\x00\x13lanekeeper-00112233\
        \x04\x06groups\x06\x02\x02";

    fn framed(bytes: &[u8]) -> Vec<u8> {
        [&(bytes.len() as u32).to_be_bytes(), bytes].concat()
    }

    #[test]
    fn charons_packets_decode() {
        let Ok(Packet::Response(version)) = Packet::decode(VERSION) else { panic!("no response") };
        assert_eq!((version.text("daemon"), version.text("version")), (Some("charon"), Some("5.9.8")));
        let Ok(Packet::Response(refusal)) = Packet::decode(REFUSAL) else { panic!("no response") };
        assert_eq!(refusal.text("errmsg"), Some("unknown option: bogus, config discarded"));
        let Ok(Packet::Event { name, message }) = Packet::decode(LIST_CONN) else { panic!("no event") };
        let connection = message.section("lk-a").unwrap();
        assert_eq!(name, "list-conn");
        assert_eq!(connection.list("local_addrs").collect::<Vec<_>>(), ["192.0.2.1"]);
        assert_eq!(connection.section("local-1").unwrap().text("aaa_id"), Some("lanekeeper-00112233"));
        assert_eq!(Packet::decode(&[2]), Ok(Packet::CommandUnknown));
        assert_eq!(Packet::decode(&[5]), Ok(Packet::Confirm));
        assert_eq!(Packet::decode(&[6]), Ok(Packet::EventUnknown));
    }

    #[test]
    fn requests_encode_to_what_charon_takes() {
        let version = Packet::Request { name: "version".to_owned(), message: Message::new() };
        assert_eq!(version.encode().unwrap().as_slice(), b"\x00\x00\x00\x09\x00\x07version");
        let register = Packet::Register("list-sa".to_owned());
        assert_eq!(register.encode().unwrap().as_slice(), b"\x00\x00\x00\x09\x03\x07list-sa");
    }

    #[test]
    fn charons_packets_encode_to_the_same_bytes() {
        for bytes in [VERSION, REFUSAL, LIST_CONN] {
            assert_eq!(Packet::decode(bytes).unwrap().encode().unwrap().as_slice(), framed(bytes));
        }
    }

    #[test]
    fn a_stream_in_single_bytes_gives_the_same_packets() {
        let mut frames = Frames::default();
        let mut packets = Vec::new();
        for byte in [framed(VERSION), framed(&[5]), framed(LIST_CONN)].concat() {
            frames.push(&[byte]);
            packets.extend(frames.next_packet().unwrap());
        }
        assert_eq!(packets, [VERSION, &[5], LIST_CONN].map(|bytes| Packet::decode(bytes).unwrap()));
    }

    #[test]
    fn a_length_above_the_limit_is_refused_before_its_bytes_come() {
        let mut frames = Frames::default();
        frames.push(&(MAX_PACKET as u32 + 1).to_be_bytes());
        assert_eq!(frames.next_packet(), Err(DecodeError::TooLong(MAX_PACKET + 1)));
    }

    #[test]
    fn odd_packets_are_errors() {
        assert!(matches!(Packet::decode(&[]), Err(DecodeError::Truncated { .. })));
        assert_eq!(Packet::decode(&[8]), Err(DecodeError::UnknownPacket(8)));
        assert_eq!(Packet::decode(&[5, 0]), Err(DecodeError::TrailingBytes { kind: 5, extra: 1 }));
        assert!(matches!(Packet::decode(&[7, 9, b'a']), Err(DecodeError::Truncated { .. })));
        let long = Packet::Register("e".repeat(256));
        assert_eq!(long.encode(), Err(EncodeError::LongName(256)));
    }

    proptest! {
        #[test]
        fn arbitrary_streams_never_panic(chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..30), 0..9)) {
            let mut frames = Frames::default();
            for chunk in chunks {
                frames.push(&chunk);
                while let Ok(Some(packet)) = frames.next_packet() {
                    prop_assert_eq!(Packet::decode(&packet.encode().unwrap()[4..]), Ok(packet));
                }
            }
        }
    }
}
