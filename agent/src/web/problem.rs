//! Everything that can be wrong with a web-config file and the files that it names. No message quotes a value that may be a secret.

use std::path::PathBuf;

/// One error, and its way out by [`Problem::cure`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// YAML's own rules.
    #[error("not valid YAML: {reason}")]
    Syntax {
        /// The parser's words.
        reason: String,
    },
    /// Something of YAML that this file does not need.
    #[error("{what} is not taken here")]
    Feature {
        /// With its article.
        what: &'static str,
    },
    /// A value of another type.
    #[error("{key} takes {wanted}, not {found}")]
    Type {
        /// Which key.
        key: String,
        /// What it takes.
        wanted: &'static str,
        /// What is there.
        found: &'static str,
    },
    /// A key that nobody reads.
    #[error("{object}: unknown key \"{key}\"")]
    UnknownKey {
        /// Where.
        object: &'static str,
        /// As written.
        key: String,
        /// The nearest, or all.
        cure: String,
    },
    /// A key twice.
    #[error("{object}: \"{key}\" twice")]
    Twice {
        /// Where.
        object: &'static str,
        /// As written.
        key: String,
    },
    /// A key that must be there.
    #[error("{object}: {key} is missing")]
    Missing {
        /// Where.
        object: &'static str,
        /// Which key.
        key: &'static str,
    },
    /// A word that is none of the known ones.
    #[error("{key}: \"{value}\" is not known")]
    Unknown {
        /// Which key.
        key: &'static str,
        /// As written.
        value: String,
        /// The nearest, or all.
        cure: String,
    },
    /// Part of the format, and not of this listener.
    #[error("{what} is not supported")]
    NotTaken {
        /// Which key, or which value of it.
        what: String,
        /// What to write instead.
        cure: &'static str,
    },
    /// Versions the wrong way round.
    #[error("min_version is above max_version, so there is no version to speak")]
    Versions,
    /// TLS 1.2 without a cipher suite.
    #[error("cipher_suites has none of TLS 1.2, which min_version and max_version allow")]
    NoSuite,
    /// A CA that nobody asks for.
    #[error("client_ca_file, but client_auth_type asks for no certificate")]
    CaUnused,
    /// A certificate of nobody's CA.
    #[error("client_auth_type asks for certificates, but there is no client_ca_file that they could be of")]
    NoCa,
    /// A header's value that its name does not take.
    #[error("headers: {header} takes {wanted}")]
    Header {
        /// Which one.
        header: &'static str,
        /// What it takes.
        wanted: &'static str,
    },
    /// A name that cannot be sent.
    #[error("basic_auth_users: \"{user}\" cannot be a user's name")]
    User {
        /// As written.
        user: String,
    },
    /// No hash.
    #[error("basic_auth_users: what stands for \"{user}\" is no bcrypt hash")]
    Hash {
        /// Whose.
        user: String,
    },
    /// A hash that takes too long.
    #[error("basic_auth_users: the hash of \"{user}\" has cost {cost}, {most} at most")]
    Cost {
        /// Whose.
        user: String,
        /// As written.
        cost: u32,
        /// The most.
        most: u32,
    },
    /// A file cannot be read.
    #[error("cannot read {what} {path}: {reason}")]
    Unreadable {
        /// Which key names it, or what it is.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's word.
        reason: String,
    },
    /// Others can read a key.
    #[error("key_file {path} has mode {mode:04o}: others than its owner can get at it")]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Somebody else's key, who can change it.
    #[error("key_file {path} is owned by uid {owner}, not by uid {us} or root")]
    Owner {
        /// The file.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// Whom we run as.
        us: u32,
    },
    /// Not what it should be.
    #[error("{what} {path} has no {wanted} in PEM")]
    Pem {
        /// Which key names it.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// `certificate`, `private key`.
        wanted: &'static str,
    },
    /// The key of another certificate.
    #[error("key_file {path} is not the key of the first certificate of cert_file")]
    OtherKey {
        /// The key.
        path: PathBuf,
    },
    /// The TLS library takes it not.
    #[error("{what} {path} is of no use: {reason}")]
    Unfit {
        /// Which key names it.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The library's words.
        reason: String,
    },
}

impl Problem {
    /// What to do about it.
    pub fn cure(&self) -> String {
        match self {
            Self::Syntax { .. } => "indent with spaces, put values with :, #, { or [ into quotes".to_owned(),
            Self::Feature { .. } => "write plain keys and values".to_owned(),
            Self::Type { key, wanted, .. } => match *wanted {
                "true or false" => format!("write {key}: true"),
                "a list" => format!("write {key}: [\"...\", \"...\"]"),
                "a mapping" => format!("write \"{key}:\", and its keys below it with two spaces before them"),
                _ => format!("write {key}: \"...\""),
            },
            Self::UnknownKey { cure, .. } | Self::Unknown { cure, .. } => cure.clone(),
            Self::Twice { .. } => "keep one of them".to_owned(),
            Self::Missing { object, key } => format!("add {key}: \"...\", or take {object} out"),
            Self::NotTaken { cure, .. } => (*cure).to_owned(),
            Self::Versions => "write min_version: TLS12 and max_version: TLS13, or leave both out".to_owned(),
            Self::NoSuite => {
                "add TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 or TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, or write min_version: TLS13"
                    .to_owned()
            }
            Self::CaUnused => "add client_auth_type: RequireAndVerifyClientCert, or take it out".to_owned(),
            Self::NoCa => "add client_ca_file: \"...\", the CA of those who may connect".to_owned(),
            Self::Header { .. } => "write it so, or take it out".to_owned(),
            Self::User { .. } => "take one letter at least, and no colon".to_owned(),
            Self::Hash { .. } => "make one with `htpasswd -nBC 10 NAME`, which asks for the password; put it into quotes".to_owned(),
            Self::Cost { .. } => "make one with `htpasswd -nBC 10 NAME`: what is right is remembered, and costs nothing".to_owned(),
            Self::Unreadable { .. } => "see that it is there and that the daemon may read it".to_owned(),
            Self::Mode { path, .. } => {
                format!("chmod 600 {}, and make a new key if others may have read it", path.display())
            }
            Self::Owner { path, us, .. } => format!("chown {us} {}", path.display()),
            Self::Pem { wanted, .. } => format!("a {wanted} in PEM begins with a line -----BEGIN"),
            Self::OtherKey { .. } => "put the certificate that was made of this key first".to_owned(),
            Self::Unfit { .. } => "make it anew, of an ECDSA P-256 or an RSA key of 2048 bits or more".to_owned(),
        }
    }
}
