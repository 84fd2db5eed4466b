//! What the metrics listener asks of its callers, by a web-config file in the format that Prometheus's exporters share: TLS,
//! client certificates, passwords, headers.
//!
//! `yaml` makes a tree of the text, `file` takes it for what it says or says why not, `load` adds the files that it names,
//! `tls` makes of them what rustls wants, `current` does so again when one of them changes, `users` knows passwords and
//! `checks` bounds what telling right from wrong ones may cost.

mod checks;
mod current;
mod file;
mod load;
mod problem;
mod seal;
mod tls;
mod users;
mod yaml;

use std::sync::Arc;

use hyper::header::{HeaderName, HeaderValue};

use crate::config::Finding;

pub use checks::{Checks, Verdict};
pub use current::Current;
pub use load::{Found, examine, load};
pub use problem::Problem;
pub use tls::{is_about_the_certificate, is_hello};
pub use users::{Credentials, Users};

/// What is wrong with the text of a file that messages call `name`; the files that it names are not looked at.
pub fn inspect(name: &str, text: &str) -> Vec<Finding> {
    file::read(name, text).err().unwrap_or_default()
}

/// What a file says, ready for use. That of a listener without a file asks for nothing.
#[derive(Default)]
pub struct Web {
    /// For new connections; without it they are in clear.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// For every answer.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Who may ask; anybody where there are none.
    pub users: Users,
}

/// What stands between the listener and whoever reaches it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Guards {
    /// It speaks TLS.
    pub tls: bool,
    /// It wants a client's certificate.
    pub certificates: bool,
    /// It wants a password.
    pub passwords: bool,
}
