//! The machine's own package sources, read from `/etc/apt` in both of its formats.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// One suite of one archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Where the archive is.
    pub uri: String,
    /// The suite's name.
    pub suite: String,
    /// The keyring that signs it.
    pub signed_by: String,
}

impl Source {
    /// Whether it is the archive of security updates, whose suites are named after the main one's.
    pub fn is_security(&self) -> bool {
        self.suite.ends_with("-security")
    }

    /// The line for the sources of its packages.
    pub fn of_sources(&self) -> String {
        format!("deb-src [signed-by={}] {} {} main", self.signed_by, self.uri, self.suite)
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "deb [signed-by={}] {} {} main", self.signed_by, self.uri, self.suite)
    }
}

/// All sources with packages that are configured below `folder`.
pub fn of_machine(folder: &Path) -> Vec<Source> {
    let mut files = vec![folder.join("sources.list")];
    let parts = std::fs::read_dir(folder.join("sources.list.d")).into_iter().flatten().filter_map(Result::ok);
    let mut parts: Vec<PathBuf> = parts.map(|entry| entry.path()).collect();
    parts.sort();
    files.extend(parts);
    let read = |file: &PathBuf| {
        let text = fs::read_to_string(file).unwrap_or_default();
        match file.extension().and_then(|end| end.to_str()) {
            Some("sources") => stanzas(&text),
            Some("list") => lines(&text),
            _ => Vec::new(),
        }
    };
    files.iter().flat_map(read).collect()
}

/// Those of the suite `codename` and of its updates, security updates and backports.
pub fn named(sources: &[Source], codename: &str) -> Vec<Source> {
    let belongs =
        |suite: &str| suite.strip_prefix(codename).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'));
    let mut found: Vec<Source> = Vec::new();
    for source in sources.iter().filter(|source| belongs(&source.suite)) {
        if !found.iter().any(|other| other.suite == source.suite) {
            found.push(source.clone());
        }
    }
    found
}

/// The one-line format: `deb [signed-by=KEYRING] URI SUITE COMPONENT...`.
fn lines(text: &str) -> Vec<Source> {
    let parse = |line: &str| {
        let rest = line.trim().strip_prefix("deb")?;
        let rest = rest.strip_prefix(char::is_whitespace)?.trim_start();
        let (options, rest) = match rest.strip_prefix('[') {
            Some(inside) => inside.split_once(']')?,
            None => ("", rest),
        };
        let signed_by = options.split_whitespace().find_map(|option| option.strip_prefix("signed-by="));
        let mut words = rest.split_whitespace();
        let (uri, suite) = (words.next()?, words.next()?);
        words.any(|component| component == "main").then(|| Source {
            uri: uri.to_string(),
            suite: suite.to_string(),
            signed_by: signed_by.unwrap_or(KEYRING).to_string(),
        })
    };
    text.lines().filter_map(parse).collect()
}

/// The stanza format: `Types:`, `URIs:`, `Suites:`, `Components:`, `Signed-By:`, an empty line between two.
fn stanzas(text: &str) -> Vec<Source> {
    let text: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    let mut sources = Vec::new();
    for stanza in text.split(|line| line.trim().is_empty()) {
        let field = |name: &str| {
            let value = |line: &&str| {
                let (key, value) = line.split_once(':')?;
                key.eq_ignore_ascii_case(name).then(|| value.trim().to_string())
            };
            stanza.iter().find_map(value).unwrap_or_default()
        };
        let has = |name: &str, word: &str| field(name).split_whitespace().any(|other| other == word);
        let disabled = field("Enabled").eq_ignore_ascii_case("no");
        if disabled || !has("Types", "deb") || !has("Components", "main") {
            continue;
        }
        let signed_by = Some(field("Signed-By")).filter(|path| path.starts_with('/')).unwrap_or(KEYRING.to_string());
        for uri in field("URIs").split_whitespace() {
            for suite in field("Suites").split_whitespace() {
                let (uri, suite) = (uri.to_string(), suite.to_string());
                sources.push(Source { uri, suite, signed_by: signed_by.clone() });
            }
        }
    }
    sources
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(uri: &str, suite: &str, signed_by: &str) -> Source {
        Source { uri: uri.into(), suite: suite.into(), signed_by: signed_by.into() }
    }

    #[test]
    fn stanzas_give_a_source_for_each_suite() {
        let text = "Types: deb deb-src\n# a comment\nURIs: http://a.example/debian\nSuites: bookworm bookworm-updates\n\
                    Components: main contrib\nSigned-By: /keys/a.gpg\n\nTypes: deb-src\nURIs: http://b.example\nSuites: bookworm\n\
                    Components: main\n\nEnabled: no\nTypes: deb\nURIs: http://c.example\nSuites: bookworm\nComponents: main\n";
        let expected =
            ["bookworm", "bookworm-updates"].map(|suite| source("http://a.example/debian", suite, "/keys/a.gpg"));
        assert_eq!(stanzas(text), expected);
    }

    #[test]
    fn lines_give_a_source_each() {
        let text = "# deb http://no.example bookworm main\ndeb http://a.example/debian bookworm main non-free\n\
                    deb [arch=amd64 signed-by=/keys/b.gpg] http://b.example sid main\ndeb-src http://c.example sid main\n\
                    deb http://d.example ./\n";
        let expected =
            [source("http://a.example/debian", "bookworm", KEYRING), source("http://b.example", "sid", "/keys/b.gpg")];
        assert_eq!(lines(text), expected);
    }

    #[test]
    fn only_the_machines_suite_is_taken_and_once() {
        let all =
            ["bookworm", "bookworm-security", "bookwormish", "sid", "bookworm"].map(|suite| source("u", suite, "k"));
        let suites: Vec<_> = named(&all, "bookworm").into_iter().map(|source| source.suite).collect();
        assert_eq!(suites, ["bookworm", "bookworm-security"]);
    }
}
