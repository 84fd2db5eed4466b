//! The static key file: TOML, one `[[sa]]` per lane and direction, readable by its owner alone.
//!
//! ```toml
//! [[sa]]
//! lane = "voice.0"              # CLASS.INDEX
//! direction = "out"             # out: from here to the peer; the peer's file says in
//! spi = 0x1001                  # 0x100 to 0xffffffff but for 0xc0000000 to 0xcfffffff, which are charon's
//! algorithm = "aes256gcm16"
//! key = "00112233..."           # hex
//! ```
//!
//! | algorithm | bytes of key |
//! |---|---|
//! | `aes128gcm16` | 16 and 4 of salt |
//! | `aes256gcm16` | 32 and 4 of salt |
//! | `chacha20poly1305` | 32 and 4 of salt |
//! | `aes128-sha256` | 16 of AES-CBC, then 32 of HMAC-SHA-256 |
//! | `aes256-sha256` | 32 of AES-CBC, then 32 of HMAC-SHA-256 |
//!
//! Errors name file, line and column and never quote the file: what stands in the wrong place may be a key.

mod generate;
mod load;
mod parse;

use std::fmt;

use serde::{Serialize, Serializer};
use zeroize::{Zeroize, ZeroizeOnDrop};

pub use generate::{Mirrored, generate};
pub use load::{Error as LoadError, load};
pub use parse::{Error, Errors, Finding, parse};

/// All SAs of one tunnel.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Keys {
    /// In the file's order; no lane and direction twice.
    pub sas: Vec<Sa>,
}

/// One SA.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sa {
    /// `CLASS.INDEX`.
    pub lane: String,
    /// Seen from here.
    pub direction: Direction,
    /// Host byte order.
    pub spi: u32,
    /// The transform.
    pub algorithm: Algorithm,
    /// As long as `algorithm` wants it.
    pub key: Key,
}

/// Seen from here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// From the peer.
    In,
    /// To the peer.
    Out,
}

/// An ESP transform, in strongSwan's notation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// RFC 4106, 128 bits, 16 bytes of ICV.
    Aes128Gcm16,
    /// RFC 4106, 256 bits, 16 bytes of ICV.
    Aes256Gcm16,
    /// RFC 7634.
    Chacha20Poly1305,
    /// RFC 3602 with 128 bits and RFC 4868.
    Aes128Sha256,
    /// RFC 3602 with 256 bits and RFC 4868.
    Aes256Sha256,
}

/// Key material: wiped when dropped, never shown.
#[derive(Clone, Default, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Key(Vec<u8>);

impl Keys {
    /// The SA of one lane and direction.
    pub fn find(&self, lane: &str, direction: Direction) -> Option<&Sa> {
        self.sas.iter().find(|sa| sa.lane == lane && sa.direction == direction)
    }
}

impl Algorithm {
    /// Every one.
    pub const ALL: [Self; 5] =
        [Self::Aes128Gcm16, Self::Aes256Gcm16, Self::Chacha20Poly1305, Self::Aes128Sha256, Self::Aes256Sha256];

    /// As the key file names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Aes128Gcm16 => "aes128gcm16",
            Self::Aes256Gcm16 => "aes256gcm16",
            Self::Chacha20Poly1305 => "chacha20poly1305",
            Self::Aes128Sha256 => "aes128-sha256",
            Self::Aes256Sha256 => "aes256-sha256",
        }
    }

    /// Bytes of the cipher's key, salt included.
    pub fn cipher_key_len(self) -> usize {
        match self {
            Self::Aes128Gcm16 => 16 + 4,
            Self::Aes256Gcm16 | Self::Chacha20Poly1305 => 32 + 4,
            Self::Aes128Sha256 => 16,
            Self::Aes256Sha256 => 32,
        }
    }

    /// Bytes of the whole key.
    pub fn key_len(self) -> usize {
        match self {
            Self::Aes128Gcm16 | Self::Aes256Gcm16 | Self::Chacha20Poly1305 => self.cipher_key_len(),
            Self::Aes128Sha256 | Self::Aes256Sha256 => self.cipher_key_len() + 32,
        }
    }

    /// Whether a nonce used twice gives plaintext away, as it does when the sequence numbers begin anew with the same key.
    pub fn is_counter_mode(self) -> bool {
        match self {
            Self::Aes128Gcm16 | Self::Aes256Gcm16 | Self::Chacha20Poly1305 => true,
            Self::Aes128Sha256 | Self::Aes256Sha256 => false,
        }
    }
}

impl Key {
    /// Takes the bytes over.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// Only zeros: what a kernel under lockdown shows.
    pub fn is_blank(&self) -> bool {
        !self.0.is_empty() && self.0.iter().all(|&byte| byte == 0)
    }

    /// For the kernel alone.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(redacted)")
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::In => "in",
            Self::Out => "out",
        })
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for Algorithm {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}
