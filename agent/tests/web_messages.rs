//! Every message of a web-config file, read as the operator reads it.

mod messages;

use lanekeeper::web::Problem;
use messages::{declared, variants};

fn problems() -> Vec<Problem> {
    let s = |text: &str| text.to_owned();
    let path = || "/etc/lanekeeper/gw.pem".into();
    vec![
        Problem::Syntax { reason: s("mapping values are not allowed in this context") },
        Problem::Feature { what: "an anchor" },
        Problem::Type { key: s("http2"), wanted: "true or false", found: "a word" },
        Problem::Type { key: s("headers"), wanted: "a mapping", found: "a list" },
        Problem::Type { key: s("cipher_suites"), wanted: "a list", found: "a word" },
        Problem::Type { key: s("cert_file"), wanted: "a word", found: "nothing" },
        Problem::UnknownKey {
            object: "top level",
            key: s("basic_auth"),
            cure: s("did you mean \"basic_auth_users\"?"),
        },
        Problem::Twice { object: "basic_auth_users", key: s("scraper") },
        Problem::Missing { object: "tls_server_config", key: "key_file" },
        Problem::Unknown { key: "min_version", value: s("1.2"), cure: s("known: TLS13, TLS12") },
        Problem::NotTaken { what: s("rate_limit"), cure: "take it out" },
        Problem::Versions,
        Problem::NoSuite,
        Problem::CaUnused,
        Problem::NoCa,
        Problem::Header { header: "X-Frame-Options", wanted: "\"deny\" or \"sameorigin\"" },
        Problem::User { user: s("a:b") },
        Problem::Hash { user: s("scraper") },
        Problem::Cost { user: s("scraper"), cost: 18, most: 14 },
        Problem::Unreadable { what: "cert_file", path: path(), reason: s("permission denied") },
        Problem::Mode { path: path(), mode: 0o644 },
        Problem::Owner { path: path(), owner: 1000, us: 0 },
        Problem::Pem { what: "cert_file", path: path(), wanted: "certificate" },
        Problem::OtherKey { path: path() },
        Problem::Unfit { what: "key_file", path: path(), reason: s("unsupported key") },
    ]
}

#[test]
fn no_variant_is_left_out_here() {
    assert_eq!(variants(&problems()), declared(include_str!("../src/web/problem.rs"), "Problem"));
}

#[test]
fn every_message_has_its_cure_and_reads_as_it_should() {
    let shown: Vec<String> = problems().iter().map(|problem| format!("{problem}\n    {}\n", problem.cure())).collect();
    let shown = shown.concat();
    println!("{shown}");
    assert_eq!(shown, include_str!("web_messages.txt"), "if the new text is better, put it into web_messages.txt");
}
