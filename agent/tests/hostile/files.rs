//! Files that somebody wrote: ours, web-config files, other programs' rules, captures.

use std::io::Cursor;
use std::path::Path;

use lanekeeper::compile::{Registry, compile};
use lanekeeper::config::{self, Finding, Source};
use lanekeeper::explain::capture;
use lanekeeper::import::{self, Traffic};
use lanekeeper::plan::Desired;
use lanekeeper::web;
use lanekeeper::{explain, keyfile};

const FILE: &str = "fuzz.toml";

/// Each is of a place that is in the text, and says something.
fn assert_placed(findings: &[Finding], text: &str) {
    let lines: Vec<&str> = text.split('\n').collect();
    for finding in findings {
        let place = &finding.place;
        assert_eq!(place.file, FILE);
        assert!(
            !finding.message.is_empty() && finding.help.as_ref().is_none_or(|help| !help.is_empty()),
            "{finding:?}"
        );
        // Line 0 is the file as a whole.
        if place.line > 0 {
            let line = lines.get(place.line - 1).unwrap_or_else(|| panic!("{place} of {} lines", lines.len()));
            assert!((1..=line.chars().count() + 1).contains(&place.column), "{place} in {line:?}");
        }
    }
}

/// Bytes are a file of ours: it is refused with every error in its place, or means something that can be compiled and planned.
pub fn config(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    match config::parse_text(FILE, &text) {
        Ok(loaded) => {
            assert_placed(&loaded.warnings.0, &text);
            let policy = loaded.policy;
            // Both may refuse, by name of what is too much.
            let _ = compile(&policy, &mut Registry::default());
            let _ = Desired::new(&policy, &Default::default());
            if let Err(errors) = config::parse_rules(&Source::new(FILE, &text), &policy) {
                assert_placed(&errors.0, &text);
            }
        }
        Err(errors) => {
            assert!(!errors.0.is_empty());
            assert_placed(&errors.0, &text);
        }
    }
    let _ = keyfile::parse(FILE, &text);
}

/// Bytes are a web-config file, or the `Authorization` of a request.
pub fn web(bytes: &[u8]) {
    assert_placed(&web::inspect(FILE, &String::from_utf8_lossy(bytes)), &String::from_utf8_lossy(bytes));
    if let Ok(value) = hyper::header::HeaderValue::from_bytes(bytes) {
        let mut headers = hyper::HeaderMap::new();
        headers.insert(hyper::header::AUTHORIZATION, value);
        let _ = web::Credentials::of(&headers);
    }
}

/// Bytes are another program's rules, the first of them says which one's: what is made of them is a file of ours.
pub fn import(bytes: &[u8]) {
    let Some((&which, rest)) = bytes.split_first() else { return };
    let text = String::from_utf8_lossy(rest);
    let traffic = if which & 1 == 0 { Traffic::Forwarded } else { Traffic::Host };
    let imported = match which >> 1 & 3 {
        0 => import::iptables::import("fuzz", &text, traffic),
        1 => import::nft::import("fuzz", &text, traffic),
        _ => import::classbench::import("fuzz", &text, 3),
    };
    match imported {
        // Tunnels are for the operator to write, so the file as a whole need not do.
        Ok(imported) => drop(config::parse_text(FILE, &imported.file)),
        Err(error) => assert!(error.to_string().starts_with("fuzz"), "{error}"),
    }
}

/// Bytes are a capture, or a packet in words: every frame that comes out of it can be explained.
pub fn capture(bytes: &[u8]) {
    let mut frames = 0;
    let read = capture::read_from(Path::new("fuzz"), Cursor::new(bytes), |_| frames += 1);
    if let Err(error) = read {
        assert!(error.to_string().starts_with("fuzz: "), "{error}");
    }
    assert!(frames <= bytes.len(), "{frames} packets in {} bytes", bytes.len());
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = explain::words::Words::parse(text);
    }
}
