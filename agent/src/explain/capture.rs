//! Packets from a capture file, pcap or pcapng: Ethernet, raw IP and Linux cooked.

use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::path::{Path, PathBuf};

use pcap_file::pcap::PcapReader;
use pcap_file::pcapng::{Block, PcapNgReader};
use pcap_file::{DataLink, PcapError};
use thiserror::Error;

use super::frame::Frame;

/// First bytes of a pcapng file, the same in either byte order.
const PCAPNG: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];

/// Why a capture cannot be read.
#[derive(Debug, Error)]
pub enum Error {
    /// The file system says no.
    #[error("{}: cannot read it: {source}", path.display())]
    Io {
        /// The capture.
        path: PathBuf,
        /// What came back.
        source: std::io::Error,
    },
    /// Neither pcap nor pcapng, or broken.
    #[error("{}: packet {number}: not a capture that can be read ({source}); write it with `tcpdump -w`", path.display())]
    Format {
        /// The capture.
        path: PathBuf,
        /// The packet that could not be read, from 1.
        number: u64,
        /// What the reader says.
        source: PcapError,
    },
    /// A link type whose header we do not know.
    #[error(
        "{}: packet {number}: link type {link} is not known here; Ethernet, raw IP and Linux cooked are: capture with \
         `tcpdump -i any` or on the interface itself",
        path.display()
    )]
    Link {
        /// The capture.
        path: PathBuf,
        /// The first packet of that type, from 1.
        number: u64,
        /// LINKTYPE number.
        link: u32,
    },
}

/// Hands each packet of the file to `each`, in order.
pub fn read(path: &Path, each: impl FnMut(Frame)) -> Result<(), Error> {
    let file = File::open(path).map_err(|source| Error::Io { path: path.into(), source })?;
    read_from(path, file, each)
}

/// The same of bytes that messages call `path`.
pub fn read_from(path: &Path, mut file: impl Read + Seek, mut each: impl FnMut(Frame)) -> Result<(), Error> {
    let io = |source| Error::Io { path: path.into(), source };
    let mut magic = [0; 4];
    let is_ng = file.read_exact(&mut magic).is_ok() && magic == PCAPNG;
    file.rewind().map_err(io)?;
    let mut reader = Reader { path, number: 1, each: &mut each };
    if is_ng { reader.pcapng(BufReader::new(file)) } else { reader.pcap(BufReader::new(file)) }
}

struct Reader<'a> {
    path: &'a Path,
    /// Of the packet that is read next.
    number: u64,
    each: &'a mut dyn FnMut(Frame),
}

impl Reader<'_> {
    fn pcap(&mut self, file: impl Read) -> Result<(), Error> {
        let mut reader = PcapReader::new(file).map_err(|source| self.format(source))?;
        let link = reader.header().datalink;
        // Raw: the checked form refuses packets that are longer than the header's snap length, which tcpdump writes.
        while let Some(packet) = reader.next_raw_packet() {
            let packet = packet.map_err(|source| self.format(source))?;
            self.hand_over(link, &packet.data)?;
        }
        Ok(())
    }

    fn pcapng(&mut self, file: impl Read) -> Result<(), Error> {
        let mut reader = PcapNgReader::new(file).map_err(|source| self.format(source))?;
        let mut links: Vec<DataLink> = Vec::new();
        while let Some(block) = reader.next_block() {
            let (interface, data) = match block.map_err(|source| self.format(source))? {
                Block::SectionHeader(_) => {
                    links.clear();
                    continue;
                }
                Block::InterfaceDescription(interface) => {
                    links.push(interface.linktype);
                    continue;
                }
                Block::EnhancedPacket(packet) => (packet.interface_id as usize, packet.data),
                Block::SimplePacket(packet) => (0, packet.data),
                Block::Packet(packet) => (usize::from(packet.interface_id), packet.data),
                Block::NameResolution(_)
                | Block::InterfaceStatistics(_)
                | Block::SystemdJournalExport(_)
                | Block::Unknown(_) => continue,
            };
            match links.get(interface) {
                Some(&link) => self.hand_over(link, &data)?,
                None => {
                    let source = PcapError::InvalidInterfaceId(interface as u32);
                    return Err(self.format(source));
                }
            }
        }
        Ok(())
    }

    fn hand_over(&mut self, link: DataLink, data: &[u8]) -> Result<(), Error> {
        let unknown = || Error::Link { path: self.path.into(), number: self.number, link: link.into() };
        let frame = decode(link, self.number, data).ok_or_else(unknown)?;
        self.number += 1;
        (self.each)(frame);
        Ok(())
    }

    fn format(&self, source: PcapError) -> Error {
        Error::Format { path: self.path.into(), number: self.number, source }
    }
}

/// `None` for a link type that is not known.
fn decode(link: DataLink, number: u64, data: &[u8]) -> Option<Frame> {
    let frame = match link {
        DataLink::ETHERNET => Frame::ethernet(number, data.to_vec()),
        // 12 is what BSDs call raw IP; some writers keep that number.
        DataLink::RAW | DataLink::IPV4 | DataLink::IPV6 | DataLink::Unknown(12) => Frame::ip(number, data),
        DataLink::NULL => Frame::ip(number, data.get(4..).unwrap_or_default()),
        DataLink::LINUX_SLL => cooked(number, data, 14, 16),
        DataLink::LINUX_SLL2 => cooked(number, data, 0, 20),
        _ => return None,
    };
    Some(frame)
}

/// A cooked header holds an EtherType and no addresses: with empty ones it is Ethernet, VLAN tags behind it included.
fn cooked(number: u64, data: &[u8], ethertype: usize, header: usize) -> Frame {
    match data.get(header..) {
        Some(rest) => Frame::of_type(number, u16::from_be_bytes([data[ethertype], data[ethertype + 1]]), rest),
        None => Frame::ethernet(number, Vec::new()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use pcap_file::pcap::{PcapHeader, PcapPacket, PcapWriter};

    use super::*;

    const IP: [u8; 20] = [0x45, 0, 0, 20, 0, 0, 0, 0, 64, 17, 0, 0, 10, 1, 0, 5, 10, 2, 0, 9];

    fn captured(link: DataLink, packets: &[&[u8]]) -> Result<Vec<Frame>, Error> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.pcap");
        let header = PcapHeader { datalink: link, ..PcapHeader::default() };
        let mut writer = PcapWriter::with_header(File::create(&path).unwrap(), header).unwrap();
        for packet in packets {
            writer.write_packet(&PcapPacket::new(Duration::ZERO, packet.len() as u32, packet)).unwrap();
        }
        drop(writer);
        let mut frames = Vec::new();
        read(&path, |frame| frames.push(frame)).map(|()| frames)
    }

    #[test]
    fn packets_are_numbered_from_one() {
        let frames = captured(DataLink::RAW, &[&IP, &[]]).unwrap();
        assert_eq!(frames, [Frame::ip(1, &IP), Frame::ip(2, &[])]);
        assert_eq!(&frames[0].bytes[12..], &[&[0x08, 0x00], &IP[..]].concat());
    }

    #[test]
    fn cooked_captures_keep_their_ethertype() {
        let mut sll = vec![0; 14];
        sll.extend_from_slice(&[0x08, 0x00]);
        sll.extend_from_slice(&IP);
        let frame = &captured(DataLink::LINUX_SLL, &[&sll]).unwrap()[0];
        assert_eq!(&frame.bytes[12..], &[&[0x08, 0x00], &IP[..]].concat());
        let mut sll2 = vec![0x86, 0xdd];
        sll2.extend_from_slice(&[0; 18]);
        sll2.push(0x60);
        assert_eq!(captured(DataLink::LINUX_SLL2, &[&sll2]).unwrap()[0].bytes[12..], [0x86, 0xdd, 0x60]);
        assert!(captured(DataLink::LINUX_SLL, &[&[1, 2]]).unwrap()[0].bytes.is_empty());
    }

    #[test]
    fn a_link_type_that_is_not_known_is_an_error_with_a_cure() {
        let error = captured(DataLink::USB_LINUX, &[&[0]]).unwrap_err().to_string();
        assert!(error.contains("packet 1: link type 189 is not known here"), "{error}");
    }

    #[test]
    fn what_is_no_capture_is_said_to_be_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.pcap");
        std::fs::write(&path, "hello, this is text and not a capture").unwrap();
        let error = read(&path, |_| ()).unwrap_err().to_string();
        assert!(error.contains("not a capture that can be read"), "{error}");
        assert!(
            read(Path::new("/nonexistent"), |_| ())
                .unwrap_err()
                .to_string()
                .starts_with("/nonexistent: cannot read it")
        );
    }
}
