//! What a web-config file says, each value typed, nothing read from the disk yet. What is part of the format and not of this
//! listener is refused; nothing is passed over.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;

use bcrypt::HashParts;
use hyper::header::{
    CONTENT_SECURITY_POLICY, HeaderName, HeaderValue, STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS, X_XSS_PROTECTION,
};
use rustls::{CipherSuite, NamedGroup};

use super::problem::Problem;
use super::yaml::{At, Node, Plain, Value, parse};
use crate::config::nearest::nearest;
use crate::config::{Finding, Place};

/// bcrypt's cost at most: about 2 s, at which a wrong password keeps others waiting for 10.
const MOST_COST: u32 = 14;

/// All of it.
#[derive(Debug, Default)]
pub struct File {
    pub tls: Option<Tls>,
    pub headers: Vec<(HeaderName, HeaderValue)>,
    pub users: BTreeMap<String, String>,
}

/// A path and where it is written.
#[derive(Debug, Clone)]
pub struct Named {
    pub path: PathBuf,
    pub at: At,
}

#[derive(Debug)]
pub struct Tls {
    pub certificate: Named,
    pub key: Named,
    pub clients: Clients,
    pub versions: Versions,
    /// Of TLS 1.2; those of TLS 1.3 are all spoken.
    pub suites: Option<Vec<CipherSuite>>,
    pub groups: Option<Vec<NamedGroup>>,
    /// Whether our order of suites goes before the client's.
    pub our_order: bool,
}

/// What is asked of clients.
#[derive(Debug)]
pub enum Clients {
    Nothing,
    /// A certificate of this CA, if they have one.
    Verified(Named),
    /// A certificate of this CA.
    Required(Named),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Versions {
    Both,
    Tls12,
    Tls13,
}

/// Reads the text of the file that messages call `name`.
pub fn read(name: &str, text: &str) -> Result<File, Vec<Finding>> {
    let mut reader = Reader { name, findings: Vec::new() };
    let file = match parse(text) {
        Ok(root) => reader.file(&root),
        Err((at, problem)) => {
            reader.refuse(at, problem);
            File::default()
        }
    };
    if reader.findings.is_empty() { Ok(file) } else { Err(reader.findings) }
}

/// As messages say it.
pub fn finding(name: &str, (line, column): At, problem: &Problem) -> Finding {
    let place = Place { file: name.to_owned(), line, column };
    Finding { place, message: problem.to_string(), help: Some(problem.cure()) }
}

/// A word's meaning, or what to write instead.
type Meaning<T> = Result<T, &'static str>;

const CURE_INLINE: &str = "write it into a file and name that: cert_file, key_file, client_ca_file";
const CURE_UNVERIFIED: &str = "write RequireAndVerifyClientCert: a certificate that nobody verifies can be anybody's";
const CURE_VERSION: &str = "write TLS12 or TLS13: older ones are broken (RFC 8996)";
const CURE_CBC: &str = "take it out: suites without ECDHE and AEAD are not spoken";

const CLIENT_AUTH: &[(&str, Meaning<Ask>)] = &[
    ("NoClientCert", Ok(Ask::Nothing)),
    ("RequestClientCert", Err(CURE_UNVERIFIED)),
    ("RequireAnyClientCert", Err(CURE_UNVERIFIED)),
    ("RequireClientCert", Err(CURE_UNVERIFIED)),
    ("VerifyClientCertIfGiven", Ok(Ask::IfGiven)),
    ("RequireAndVerifyClientCert", Ok(Ask::Always)),
];

const VERSIONS: &[(&str, Meaning<u8>)] =
    &[("TLS13", Ok(13)), ("TLS12", Ok(12)), ("TLS11", Err(CURE_VERSION)), ("TLS10", Err(CURE_VERSION))];

/// By Go's names; those of TLS 1.3 are on in any case, as they are there.
const SUITES: &[(&str, Meaning<Option<CipherSuite>>)] = &[
    ("TLS_AES_128_GCM_SHA256", Ok(None)),
    ("TLS_AES_256_GCM_SHA384", Ok(None)),
    ("TLS_CHACHA20_POLY1305_SHA256", Ok(None)),
    ("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", Ok(Some(CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256))),
    ("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", Ok(Some(CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384))),
    (
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        Ok(Some(CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256)),
    ),
    ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", Ok(Some(CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256))),
    ("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", Ok(Some(CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384))),
    ("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", Ok(Some(CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256))),
    ("TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA", Err(CURE_CBC)),
    ("TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA", Err(CURE_CBC)),
    ("TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA", Err(CURE_CBC)),
    ("TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA", Err(CURE_CBC)),
    ("TLS_RSA_WITH_AES_128_CBC_SHA", Err(CURE_CBC)),
    ("TLS_RSA_WITH_AES_256_CBC_SHA", Err(CURE_CBC)),
    ("TLS_RSA_WITH_AES_128_GCM_SHA256", Err(CURE_CBC)),
    ("TLS_RSA_WITH_AES_256_GCM_SHA384", Err(CURE_CBC)),
];

const CURVES: &[(&str, Meaning<NamedGroup>)] = &[
    ("X25519", Ok(NamedGroup::X25519)),
    ("CurveP256", Ok(NamedGroup::secp256r1)),
    ("CurveP384", Ok(NamedGroup::secp384r1)),
    ("CurveP521", Err("take it out: X25519, CurveP256 and CurveP384 are spoken")),
];

/// Each header that may be set, and the values that it takes where these are few.
const HEADERS: [(&str, HeaderName, &[&str], &str); 5] = [
    ("Content-Security-Policy", CONTENT_SECURITY_POLICY, &[], "a policy"),
    ("X-Frame-Options", X_FRAME_OPTIONS, &["deny", "sameorigin"], "\"deny\" or \"sameorigin\""),
    ("X-Content-Type-Options", X_CONTENT_TYPE_OPTIONS, &["nosniff"], "\"nosniff\""),
    ("X-XSS-Protection", X_XSS_PROTECTION, &[], "a value of printable letters"),
    ("Strict-Transport-Security", STRICT_TRANSPORT_SECURITY, &[], "a value of printable letters"),
];

#[derive(Debug, Clone, Copy)]
enum Ask {
    Nothing,
    IfGiven,
    Always,
}

struct Reader<'n> {
    name: &'n str,
    findings: Vec<Finding>,
}

/// Keys with their places and values.
type Table<'t> = BTreeMap<&'t str, (At, &'t Node)>;

impl Reader<'_> {
    fn refuse(&mut self, at: At, problem: Problem) {
        self.findings.push(finding(self.name, at, &problem));
    }

    fn file(&mut self, root: &Node) -> File {
        let keys = ["tls_server_config", "http_server_config", "basic_auth_users", "rate_limit"];
        let top = self.table("top level", root, &keys);
        if let Some((at, _)) = top.get("rate_limit") {
            let cure =
                "take it out: connections, their time and what wrong passwords may cost have limits of their own";
            self.refuse(*at, Problem::NotTaken { what: "rate_limit".into(), cure });
        }
        File {
            tls: top.get("tls_server_config").and_then(|(at, node)| self.tls(*at, node)),
            headers: top.get("http_server_config").map(|(_, node)| self.http(node)).unwrap_or_default(),
            users: top.get("basic_auth_users").map(|(_, node)| self.users(node)).unwrap_or_default(),
        }
    }

    fn tls(&mut self, at: At, node: &Node) -> Option<Tls> {
        let object = "tls_server_config";
        let keys = [
            "cert_file",
            "key_file",
            "client_auth_type",
            "client_ca_file",
            "min_version",
            "max_version",
            "cipher_suites",
            "prefer_server_cipher_suites",
            "curve_preferences",
            "client_allowed_sans",
            "cert",
            "key",
            "client_ca",
        ];
        let table = self.table(object, node, &keys);
        let sans = "take it out, and give those who may connect a CA of their own as client_ca_file";
        for (key, cure) in
            [("cert", CURE_INLINE), ("key", CURE_INLINE), ("client_ca", CURE_INLINE), ("client_allowed_sans", sans)]
        {
            if let Some((at, _)) = table.get(key) {
                self.refuse(*at, Problem::NotTaken { what: key.into(), cure });
            }
        }
        let mut path = |key: &'static str| {
            let (_, node) = table.get(key)?;
            let text = self.text(key, node)?;
            Some(Named { path: text.into(), at: node.at })
        };
        let (certificate, key, ca) = (path("cert_file"), path("key_file"), path("client_ca_file"));
        for (key, inline) in [("cert_file", "cert"), ("key_file", "key")] {
            if !table.contains_key(key) && !table.contains_key(inline) {
                self.refuse(at, Problem::Missing { object, key });
            }
        }
        let clients = self.clients(&table, ca);
        let versions = self.versions(&table);
        let suites = self.words(&table, "cipher_suites", SUITES);
        let suites = suites.map(|suites| suites.into_iter().flatten().collect::<Vec<_>>());
        if let (Some((at, _)), Some(suites)) = (table.get("cipher_suites"), &suites)
            && suites.is_empty()
            && versions != Versions::Tls13
        {
            self.refuse(*at, Problem::NoSuite);
        }
        let groups = self.words(&table, "curve_preferences", CURVES);
        let our_order = table.get("prefer_server_cipher_suites");
        let our_order = our_order.and_then(|(_, node)| self.flag("prefer_server_cipher_suites", node)).unwrap_or(true);
        Some(Tls { certificate: certificate?, key: key?, clients: clients?, versions, suites, groups, our_order })
    }

    fn clients(&mut self, table: &Table<'_>, ca: Option<Named>) -> Option<Clients> {
        let ask = match table.get("client_auth_type") {
            Some((_, node)) => self.word("client_auth_type", node, CLIENT_AUTH)?,
            None => Ask::Nothing,
        };
        let spot = |key| table.get(key).map_or((1, 1), |(at, _)| *at);
        // One that was refused is there all the same.
        let some_ca = table.contains_key("client_ca_file") || table.contains_key("client_ca");
        match (ask, ca) {
            (Ask::Nothing, None) => Some(Clients::Nothing),
            (Ask::Nothing, Some(_)) => {
                self.refuse(spot("client_ca_file"), Problem::CaUnused);
                None
            }
            (Ask::IfGiven, Some(ca)) => Some(Clients::Verified(ca)),
            (Ask::Always, Some(ca)) => Some(Clients::Required(ca)),
            (Ask::IfGiven | Ask::Always, None) => {
                if !some_ca {
                    self.refuse(spot("client_auth_type"), Problem::NoCa);
                }
                None
            }
        }
    }

    fn versions(&mut self, table: &Table<'_>) -> Versions {
        let mut one = |key, default| match table.get(key) {
            Some((_, node)) => self.word(key, node, VERSIONS).unwrap_or(default),
            None => default,
        };
        match (one("min_version", 12), one("max_version", 13)) {
            (12, 13) => Versions::Both,
            (12, 12) => Versions::Tls12,
            (13, 13) => Versions::Tls13,
            _ => {
                self.refuse(table.get("min_version").map_or((1, 1), |(at, _)| *at), Problem::Versions);
                Versions::Tls13
            }
        }
    }

    fn http(&mut self, node: &Node) -> Vec<(HeaderName, HeaderValue)> {
        let table = self.table("http_server_config", node, &["http2", "headers"]);
        if let Some((_, node)) = table.get("http2")
            && self.flag("http2", node) == Some(true)
        {
            let cure = "write http2: false, or leave it out: HTTP/1.1 is spoken, which every scraper takes";
            self.refuse(node.at, Problem::NotTaken { what: "http2: true".into(), cure });
        }
        let Some((_, headers)) = table.get("headers") else { return Vec::new() };
        let known = HEADERS.map(|(name, ..)| name);
        let given = self.table("headers", headers, &known);
        let mut all = Vec::new();
        for (name, header, values, wanted) in HEADERS {
            let Some((_, node)) = given.get(name) else { continue };
            // Blank sets nothing.
            if node.value == Value::Null || matches!(&node.value, Value::Text(text, _) if text.is_empty()) {
                continue;
            }
            let Some(text) = self.text(name, node) else { continue };
            match HeaderValue::from_str(text) {
                Ok(value) if values.is_empty() || values.contains(&text) => all.push((header, value)),
                Ok(_) | Err(_) => self.refuse(node.at, Problem::Header { header: name, wanted }),
            }
        }
        all
    }

    fn users(&mut self, node: &Node) -> BTreeMap<String, String> {
        let mut users = BTreeMap::new();
        let pairs = match &node.value {
            Value::Map(pairs) => pairs.as_slice(),
            Value::Null => &[],
            Value::Text(..) | Value::List(_) => {
                self.wrong_type("basic_auth_users", node, "a mapping");
                &[]
            }
        };
        for (key, node) in pairs {
            let Value::Text(user, _) = &key.value else { continue };
            let user = user.clone();
            if user.is_empty() || user.contains(|c: char| c == ':' || c.is_control()) {
                self.refuse(key.at, Problem::User { user: user.escape_debug().to_string() });
                continue;
            }
            // The parser of hashes is content with less.
            let hash = match &node.value {
                Value::Text(hash, _) if hash.len() == 60 => hash,
                Value::Text(..) | Value::Null | Value::List(_) | Value::Map(_) => {
                    self.refuse(node.at, Problem::Hash { user });
                    continue;
                }
            };
            let cost = match HashParts::from_str(hash) {
                Ok(parts) if ["$2a$", "$2b$", "$2y$"].iter().any(|version| hash.starts_with(version)) => {
                    parts.get_cost()
                }
                Ok(_) | Err(_) => {
                    self.refuse(node.at, Problem::Hash { user });
                    continue;
                }
            };
            if cost > MOST_COST {
                self.refuse(node.at, Problem::Cost { user, cost, most: MOST_COST });
            } else if users.insert(user.clone(), hash.clone()).is_some() {
                self.refuse(key.at, Problem::Twice { object: "basic_auth_users", key: user });
            }
        }
        users
    }

    fn table<'t>(&mut self, object: &'static str, node: &'t Node, keys: &[&'static str]) -> Table<'t> {
        let mut table = Table::new();
        let pairs = match &node.value {
            Value::Map(pairs) => pairs.as_slice(),
            Value::Null => &[],
            Value::Text(..) | Value::List(_) => {
                self.wrong_type(object, node, "a mapping");
                &[]
            }
        };
        for (key, value) in pairs {
            let Value::Text(name, _) = &key.value else { continue };
            if !keys.contains(&name.as_str()) {
                let cure = match nearest(name, keys.iter().copied()) {
                    Some(near) => format!("did you mean \"{near}\"?"),
                    None => format!("keys here: {}", keys.join(", ")),
                };
                self.refuse(key.at, Problem::UnknownKey { object, key: name.escape_debug().to_string(), cure });
            } else if table.insert(name.as_str(), (key.at, value)).is_some() {
                self.refuse(key.at, Problem::Twice { object, key: name.clone() });
            }
        }
        table
    }

    fn wrong_type(&mut self, key: &str, node: &Node, wanted: &'static str) {
        let found = match &node.value {
            Value::Null => "nothing",
            Value::Text(..) => "a word",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        };
        self.refuse(node.at, Problem::Type { key: key.to_owned(), wanted, found });
    }

    fn text<'t>(&mut self, key: &str, node: &'t Node) -> Option<&'t str> {
        match &node.value {
            Value::Text(text, _) if !text.is_empty() => Some(text),
            Value::Text(..) | Value::Null | Value::List(_) | Value::Map(_) => {
                self.wrong_type(key, node, "a word");
                None
            }
        }
    }

    fn flag(&mut self, key: &str, node: &Node) -> Option<bool> {
        match &node.value {
            Value::Text(text, Plain::Yes) if text.eq_ignore_ascii_case("true") => Some(true),
            Value::Text(text, Plain::Yes) if text.eq_ignore_ascii_case("false") => Some(false),
            Value::Text(..) | Value::Null | Value::List(_) | Value::Map(_) => {
                self.wrong_type(key, node, "true or false");
                None
            }
        }
    }

    fn word<T: Copy>(&mut self, key: &'static str, node: &Node, known: &[(&'static str, Meaning<T>)]) -> Option<T> {
        let text = self.text(key, node)?;
        match known.iter().find(|(word, _)| *word == text) {
            Some((_, Ok(meaning))) => Some(*meaning),
            Some((_, Err(cure))) => {
                self.refuse(node.at, Problem::NotTaken { what: format!("{key}: {text}"), cure });
                None
            }
            None => {
                let words = || known.iter().filter(|(_, meaning)| meaning.is_ok()).map(|(word, _)| *word);
                let cure = match nearest(text, words()) {
                    Some(near) => format!("did you mean \"{near}\"?"),
                    None => format!("known: {}", words().collect::<Vec<_>>().join(", ")),
                };
                self.refuse(node.at, Problem::Unknown { key, value: text.escape_debug().to_string(), cure });
                None
            }
        }
    }

    /// `None` where there is no list, or an empty one, which says nothing.
    fn words<T: Copy>(
        &mut self,
        table: &Table<'_>,
        key: &'static str,
        known: &[(&'static str, Meaning<T>)],
    ) -> Option<Vec<T>> {
        let (_, node) = table.get(key)?;
        match &node.value {
            Value::List(list) if !list.is_empty() => {
                Some(list.iter().filter_map(|node| self.word(key, node, known)).collect())
            }
            Value::List(_) | Value::Null => None,
            Value::Text(..) | Value::Map(_) => {
                self.wrong_type(key, node, "a list");
                None
            }
        }
    }
}
