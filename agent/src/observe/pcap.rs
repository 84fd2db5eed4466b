//! What was seen as a capture: IP packets, cut after their first bytes.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use lanekeeper_common::sight::SNAP;
use pcap_file::pcap::{PcapHeader, PcapPacket, PcapWriter};
use pcap_file::{DataLink, PcapError};
use thiserror::Error;

use super::Sighting;

/// Why there is no capture.
#[derive(Debug, Error)]
pub enum Error {
    /// The file system says no.
    #[error("{}: cannot write it: {source}", path.display())]
    Open {
        /// The capture.
        path: PathBuf,
        /// What came back.
        source: std::io::Error,
    },
    /// The same, later.
    #[error("{}: cannot write packet {number}: {source}", path.display())]
    Write {
        /// The capture.
        path: PathBuf,
        /// From 1.
        number: u64,
        /// What the writer says.
        source: PcapError,
    },
}

/// A capture that is being written.
#[derive(Debug)]
pub struct Writer {
    path: PathBuf,
    file: PcapWriter<File>,
    /// Packets in it.
    number: u64,
}

impl Writer {
    /// A new one, in the place of an older one, for its owner alone: it has what others send.
    pub fn create(path: &Path) -> Result<Self, Error> {
        let open = |source| Error::Open { path: path.to_owned(), source };
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(0o600).open(path).map_err(open)?;
        let header = PcapHeader { datalink: DataLink::RAW, snaplen: SNAP as u32, ..PcapHeader::default() };
        let write = |source| Error::Write { path: path.to_owned(), number: 0, source };
        Ok(Self { path: path.to_owned(), file: PcapWriter::with_header(file, header).map_err(write)?, number: 0 })
    }

    /// Adds one; what is no IP packet has no place in it.
    pub fn add(&mut self, seen: &Sighting) -> Result<(), Error> {
        let bytes = seen.bytes.as_deref().map(bytes).unwrap_or_default();
        if !matches!(bytes.first(), Some(0x40..=0x6f)) {
            return Ok(());
        }
        self.number += 1;
        let length = seen.length.max(bytes.len() as u32);
        let failed = |source| Error::Write { path: self.path.clone(), number: self.number, source };
        self.file.write_packet(&PcapPacket::new(seen.time(), length, &bytes)).map(drop).map_err(failed)
    }
}

/// From hexadecimal; up to what is none.
fn bytes(text: &str) -> Vec<u8> {
    let pairs = text.as_bytes().chunks_exact(2);
    pairs.map_while(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::sighting::tests::sighting;
    use super::*;
    use crate::explain::capture;

    #[test]
    fn a_capture_reads_back_and_is_its_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.pcap");
        let mut writer = Writer::create(&path).unwrap();
        let packet = "450000140000000040110000".to_owned() + "0a0100050a020009";
        writer.add(&Sighting { bytes: Some(packet.clone()), length: 1400, ..sighting() }).unwrap();
        writer.add(&Sighting { bytes: Some("0800".into()), ..sighting() }).unwrap();
        writer.add(&Sighting { bytes: None, ..sighting() }).unwrap();
        let mut frames = Vec::new();
        capture::read(&path, |frame| frames.push(frame)).unwrap();
        assert_eq!(frames.len(), 1);
        assert_eq!(frames[0].bytes[14..], bytes(&packet));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_file_that_cannot_be_written_is_said() {
        let error = Writer::create(Path::new("/nonexistent/x.pcap")).unwrap_err().to_string();
        assert!(error.starts_with("/nonexistent/x.pcap: cannot write it: No such file"), "{error}");
        let source = PcapError::InvalidField("x");
        let error = Error::Write { path: "x.pcap".into(), number: 3, source }.to_string();
        assert!(error.starts_with("x.pcap: cannot write packet 3: "), "{error}");
    }
}
