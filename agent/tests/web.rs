//! The metrics listener under a web-config file, asked over TLS and in clear, by those who may and by those who may not.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lanekeeper::compile::series::Refusal;
use lanekeeper::config;
use lanekeeper::metrics::Format;
use lanekeeper::metrics::server::{Source, bind, serve};
use lanekeeper::web::{Current, examine};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use xtask::lab::certificates;

const TLS: &str = "tls_server_config:\n  cert_file: gw.pem\n  key_file: gw.key\n";

const MUTUAL: &str = "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.pem\n";

/// Says what it is asked for, and counts.
#[derive(Default)]
struct Page {
    refused: Mutex<BTreeMap<Refusal, u64>>,
}

impl Source for Page {
    fn page(&self, _: Format) -> Result<String, String> {
        Ok("x_total 1\n".into())
    }
    fn ready(&self) -> Result<(), String> {
        Ok(())
    }
    fn refused(&self, why: Refusal) {
        *self.refused.lock().unwrap().entry(why).or_default() += 1;
    }
}

/// A folder with a CA, certificates of it for `gw` and `scraper`, and a stranger's CA beside it.
struct Bench {
    folder: TempDir,
    page: Arc<Page>,
    address: Option<SocketAddr>,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        certificates::make(folder.path(), &["gw", "scraper"]).unwrap();
        certificates::make(&folder.path().join("stranger"), &["scraper", "gw"]).unwrap();
        Self { folder, page: Arc::default(), address: None }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What comes out of this web-config file, with `BENCH` for its folder.
    fn wrong(&self, text: &str) -> String {
        fs::write(self.path("web.yml"), text).unwrap();
        let found = examine(&self.path("web.yml"), true);
        config::Errors(found.errors).to_string().replace(&self.folder.path().display().to_string(), "BENCH")
    }

    async fn serve(mut self, text: &str) -> Self {
        fs::write(self.path("web.yml"), text).unwrap();
        let current = Current::read(Some(&self.path("web.yml"))).unwrap();
        let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        self.address = Some(listener.local_addr().unwrap());
        tokio::spawn(serve(listener, self.page.clone(), Arc::new(current)));
        self
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address.unwrap()).await.unwrap()
    }

    fn refused(&self, why: Refusal) -> u64 {
        self.page.refused.lock().unwrap().get(&why).copied().unwrap_or(0)
    }

    /// A client that trusts this CA, and shows the certificate of that name if one is named.
    async fn tls(&self, ca: &str, shows: Option<&str>) -> std::io::Result<TlsStream<TcpStream>> {
        self.tls_of(&[&TLS13, &TLS12], ca, shows).await
    }

    async fn tls_of(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        ca: &str,
        shows: Option<&str>,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.path(ca)).unwrap()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_protocol_versions(versions).unwrap().with_root_certificates(roots);
        let config = match shows {
            Some(name) => {
                let chain = vec![CertificateDer::from_pem_file(self.path(&format!("{name}.pem"))).unwrap()];
                let key = PrivateKeyDer::from_pem_file(self.path(&format!("{name}.key"))).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
            None => builder.with_no_client_auth(),
        };
        let name = ServerName::try_from("gw").unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, self.connect().await).await
    }
}

fn get(path: &str, who: Option<&str>) -> String {
    let who = who.map_or(String::new(), |who| format!("Authorization: Basic {}\r\n", STANDARD.encode(who)));
    format!("GET {path} HTTP/1.1\r\nHost: gw\r\n{who}Connection: close\r\n\r\n")
}

/// What is said to a request, or what was wrong.
async fn say(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: &str) -> String {
    if let Err(error) = stream.write_all(request.as_bytes()).await {
        return format!("cannot write: {error}");
    }
    let mut all = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(30), stream.read_to_end(&mut all)).await;
    match read.expect("an end") {
        Ok(_) => String::from_utf8_lossy(&all).into_owned(),
        Err(error) => format!("{} cannot read: {error}", String::from_utf8_lossy(&all)),
    }
}

fn users(cost: u32) -> String {
    format!("basic_auth_users:\n  scraper: {}\n", bcrypt::hash("right", cost).unwrap())
}

#[tokio::test]
async fn the_page_is_served_over_both_versions_of_tls_to_whoever_trusts_the_certificate() {
    let bench = Bench::new().serve(TLS).await;
    for version in [&TLS12, &TLS13] {
        let stream = bench.tls_of(&[version], "ca.pem", None).await.unwrap();
        let said = say(stream, &get("/metrics", None)).await;
        assert!(said.starts_with("HTTP/1.1 200 OK\r\n") && said.ends_with("x_total 1\n"), "{said}");
    }
    assert!(bench.tls("stranger/ca.pem", None).await.is_err());
    assert_eq!(bench.refused(Refusal::Password) + bench.refused(Refusal::Certificate), 0);
}

#[tokio::test]
async fn fault_whoever_has_no_password_or_a_wrong_one_gets_401_on_every_path_and_is_counted() {
    let bench = Bench::new().serve(&(TLS.to_owned() + &users(4))).await;
    let wrong = [None, Some("scraper:wrong"), Some("scraper:"), Some("other:right"), Some(":right"), Some("right")];
    let mut asked = 0;
    for path in ["/", "/metrics", "/healthz", "/readyz", "/other"] {
        for who in wrong {
            let said = say(bench.tls("ca.pem", None).await.unwrap(), &get(path, who)).await;
            assert!(said.starts_with("HTTP/1.1 401 "), "{path} {who:?}: {said}");
            assert!(said.contains("www-authenticate: Basic realm=\"lanekeeper\"\r\n"), "{said}");
            assert!(!said.contains("x_total") && !said.contains("ready"), "{said}");
            asked += 1;
        }
    }
    assert_eq!(bench.refused(Refusal::Password), asked);
    for (path, says) in [("/metrics", "x_total 1\n"), ("/healthz", "ok\n"), ("/readyz", "ready\n")] {
        let said = say(bench.tls("ca.pem", None).await.unwrap(), &get(path, Some("scraper:right"))).await;
        assert!(said.starts_with("HTTP/1.1 200 ") && said.ends_with(says), "{said}");
    }
    assert_eq!(bench.refused(Refusal::Password), asked);
}

#[tokio::test]
async fn a_scraper_that_was_right_once_costs_no_bcrypt_again() {
    let bench = Bench::new().serve(&users(10)).await;
    let ask = async || {
        let started = Instant::now();
        let said = say(bench.connect().await, &get("/metrics", Some("scraper:right"))).await;
        assert!(said.starts_with("HTTP/1.1 200 "), "{said}");
        started.elapsed()
    };
    let first = ask().await;
    let next = ask().await.min(ask().await).min(ask().await);
    assert!(next * 5 < first, "{first:?}, then {next:?}");
}

#[tokio::test]
async fn fault_whoever_shows_no_certificate_or_a_strangers_is_refused_and_counted() {
    let bench = Bench::new().serve(&(TLS.to_owned() + MUTUAL)).await;
    for version in [&TLS12, &TLS13] {
        for (shows, counted) in [(None, 1), (Some("stranger/scraper"), 2)] {
            let before = bench.refused(Refusal::Certificate);
            // In TLS 1.3 a client learns of it with the first answer.
            let said = match bench.tls_of(&[version], "ca.pem", shows).await {
                Ok(stream) => say(stream, &get("/metrics", None)).await,
                Err(error) => error.to_string(),
            };
            assert!(!said.contains("HTTP"), "{counted}: {said}");
            assert_eq!(bench.refused(Refusal::Certificate), before + 1, "{said}");
        }
        let stream = bench.tls_of(&[version], "ca.pem", Some("scraper")).await.unwrap();
        let said = say(stream, &get("/metrics", None)).await;
        assert!(said.ends_with("x_total 1\n"), "{said}");
    }
}

#[tokio::test]
async fn a_certificate_that_may_be_missing_is_verified_where_it_is_shown() {
    let mutual = MUTUAL.replace("RequireAndVerifyClientCert", "VerifyClientCertIfGiven");
    let bench = Bench::new().serve(&(TLS.to_owned() + &mutual)).await;
    for shows in [None, Some("scraper")] {
        let said = say(bench.tls("ca.pem", shows).await.unwrap(), &get("/metrics", None)).await;
        assert!(said.ends_with("x_total 1\n"), "{said}");
    }
    let said = match bench.tls("ca.pem", Some("stranger/scraper")).await {
        Ok(stream) => say(stream, &get("/metrics", None)).await,
        Err(error) => error.to_string(),
    };
    assert!(!said.contains("HTTP") && bench.refused(Refusal::Certificate) == 1, "{said}");
}

#[tokio::test]
async fn fault_plain_http_to_the_tls_port_gets_no_page_and_is_told_so() {
    let bench = Bench::new().serve(TLS).await;
    for path in ["/", "/metrics", "/healthz"] {
        let said = say(bench.connect().await, &get(path, None)).await;
        assert!(said.starts_with("HTTP/1.1 400 ") && said.ends_with("\r\n\r\nhttps is spoken here\n"), "{said}");
    }
    assert_eq!(bench.refused(Refusal::Handshake), 3);
}

/// The first bytes of a ClientHello.
const HALF_A_HELLO: &[u8] = &[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3];

#[tokio::test]
async fn fault_a_handshake_that_stalls_is_cut_after_its_time_and_its_place_freed() {
    let bench = Bench::new().serve(TLS).await;
    let started = Instant::now();
    let mut stalled = Vec::new();
    for number in 0..16 {
        let mut stream = bench.connect().await;
        if number % 2 == 0 {
            stream.write_all(HALF_A_HELLO).await.unwrap();
        }
        stalled.push(stream);
    }
    // The seventeenth of one address is hung up on, without a word that would be no TLS.
    assert!(bench.tls("ca.pem", None).await.is_err());
    assert_eq!(bench.refused(Refusal::Full), 1);
    for stream in stalled {
        let said = say(stream, "").await;
        assert!(!said.contains("HTTP"), "{said}");
    }
    assert!((Duration::from_secs(4)..Duration::from_secs(10)).contains(&started.elapsed()), "{:?}", started.elapsed());
    assert_eq!(bench.refused(Refusal::Handshake), 16);
    let said = say(bench.tls("ca.pem", None).await.unwrap(), &get("/metrics", None)).await;
    assert!(said.ends_with("x_total 1\n"), "{said}");
}

#[tokio::test]
async fn fault_limits_of_a_head_hold_over_tls() {
    let bench = Bench::new().serve(TLS).await;
    let started = Instant::now();
    let half = say(bench.tls("ca.pem", None).await.unwrap(), "GET /metrics HTTP/1.1\r\n").await;
    assert!(!half.contains("x_total"), "{half}");
    assert!((Duration::from_secs(3)..Duration::from_secs(10)).contains(&started.elapsed()), "{:?}", started.elapsed());
    let endless = format!("GET /metrics HTTP/1.1\r\nX: {}", "x".repeat(64 * 1024));
    let said = say(bench.tls("ca.pem", None).await.unwrap(), &endless).await;
    assert!(!said.contains("x_total"), "{said}");
}

#[tokio::test]
async fn fault_a_certificate_is_read_again_and_one_that_is_broken_leaves_the_one_before() {
    let bench = Bench::new().serve(&(TLS.to_owned() + &users(4))).await;
    let ok = async |ca: &str, who: &str| match bench.tls(ca, None).await {
        Ok(stream) => say(stream, &get("/metrics", Some(who))).await.starts_with("HTTP/1.1 200 "),
        Err(_) => false,
    };
    assert!(ok("ca.pem", "scraper:right").await && !ok("stranger/ca.pem", "scraper:right").await);
    let next_look = || tokio::time::sleep(Duration::from_millis(1200));
    // Half of the change: the key is another's for a moment.
    fs::copy(bench.path("stranger/gw.pem"), bench.path("gw.pem")).unwrap();
    next_look().await;
    assert!(ok("ca.pem", "scraper:right").await);
    fs::copy(bench.path("stranger/gw.key"), bench.path("gw.key")).unwrap();
    next_look().await;
    assert!(ok("stranger/ca.pem", "scraper:right").await && !ok("ca.pem", "scraper:right").await);
    fs::write(bench.path("web.yml"), TLS.to_owned() + &users(4).replace("scraper", "another")).unwrap();
    next_look().await;
    assert!(ok("stranger/ca.pem", "another:right").await && !ok("stranger/ca.pem", "scraper:right").await);
    fs::write(bench.path("web.yml"), "tls_server_config: [").unwrap();
    next_look().await;
    assert!(ok("stranger/ca.pem", "another:right").await);
}

#[tokio::test]
async fn headers_of_the_file_are_in_every_answer() {
    let headers = "http_server_config:\n  http2: false\n  headers:\n    X-Frame-Options: deny\n    \
                   Content-Security-Policy: default-src 'none'\n";
    let bench = Bench::new().serve(&(headers.to_owned() + &users(4))).await;
    for (path, who) in [("/", Some("scraper:right")), ("/metrics", Some("scraper:right")), ("/metrics", None)] {
        let said = say(bench.connect().await, &get(path, who)).await;
        assert!(said.contains("x-frame-options: deny\r\n"), "{said}");
        assert!(said.contains("content-security-policy: default-src 'none'\r\n"), "{said}");
    }
}

#[test]
fn fault_a_key_file_that_others_may_read_is_refused() {
    let bench = Bench::new();
    for mode in [0o644, 0o640, 0o604, 0o660] {
        fs::set_permissions(bench.path("gw.key"), fs::Permissions::from_mode(mode)).unwrap();
        let expected = format!(
            "BENCH/web.yml:3:13: error: key_file BENCH/gw.key has mode {mode:04o}: others than its owner can get at it\n    \
             chmod 600 BENCH/gw.key, and make a new key if others may have read it"
        );
        assert_eq!(bench.wrong(TLS), expected);
        assert!(Current::read(Some(&bench.path("web.yml"))).is_err());
    }
    fs::set_permissions(bench.path("gw.key"), fs::Permissions::from_mode(0o400)).unwrap();
    assert_eq!(bench.wrong(TLS), "");
}

#[test]
fn fault_broken_yaml_and_files_are_refused_with_their_place() {
    let bench = Bench::new();
    for (text, expected) in [
        ("a: 1\n  b: 2\n", "BENCH/web.yml:2:4: error: not valid YAML: "),
        ("tls_server_config:\n\tcert_file: x\n", "BENCH/web.yml:2:"),
        (
            "tls_server_config:\n  cert_file: none.pem\n  key_file: gw.key\n",
            "BENCH/web.yml:2:14: error: cannot read cert_file BENCH/none.pem: No such file or directory",
        ),
        (
            "tls_server_config:\n  cert_file: gw.key\n  key_file: gw.key\n",
            "BENCH/web.yml:2:14: error: cert_file BENCH/gw.key has no certificate in PEM",
        ),
        (
            "tls_server_config:\n  cert_file: gw.pem\n  key_file: scraper.key\n",
            "BENCH/web.yml:3:13: error: key_file BENCH/scraper.key is not the key of the first certificate of cert_file",
        ),
    ] {
        let said = bench.wrong(text);
        assert!(said.starts_with(expected), "{text}\n{said}");
        assert!(said.contains("\n    "), "{said}");
    }
    fs::set_permissions(bench.path("gw.pem"), fs::Permissions::from_mode(0o600)).unwrap();
    let said = bench.wrong("tls_server_config:\n  cert_file: gw.pem\n  key_file: gw.pem\n");
    assert!(said.starts_with("BENCH/web.yml:3:13: error: key_file BENCH/gw.pem has no private key in PEM"), "{said}");
}

/// `check` tells of the file where the config names it, of what is in it there, and of a listener that is open to all.
#[test]
fn fault_check_tells_what_is_wrong_with_the_web_config_and_warns_of_an_open_listener() {
    let bench = Bench::new();
    let check = |metrics: &str| {
        let class = "[[class]]\nname = \"default\"\n[[tunnel]]\nname = \"b\"\nlocal = \"192.0.2.1\"\nremote = \"192.0.2.2\"\n\
                     classes = [\"default\"]\ndevice = { type = \"xfrm\", name = \"lk-b\", if-id = 4 }\nroutes = [\"10.2.0.0/16\"]\n\
                     [tunnel.adopt]\nconnection = \"b\"\n";
        fs::write(bench.path("gw.toml"), format!("[metrics]\n{metrics}\n{class}")).unwrap();
        let text = match config::inspect(&bench.path("gw.toml")) {
            Ok(loaded) => loaded.warnings.to_string(),
            Err(errors) => errors.to_string(),
        };
        text.replace(&bench.folder.path().display().to_string(), "BENCH")
    };
    let open = "BENCH/gw.toml:2:10: warning: [metrics]: whoever reaches 0.0.0.0:9738 reads all metrics: it asks for neither a \
                password nor a client's certificate\n    add web-config";
    let said = check("listen = \"0.0.0.0:9738\"");
    assert!(said.starts_with(open), "{said}");
    assert_eq!(check("listen = \"[::1]:9738\""), "");
    let all = "listen = \"0.0.0.0:9738\"\nweb-config = \"web.yml\"";
    let said = check(all);
    assert!(
        said.starts_with("BENCH/gw.toml:3:14: warning: [metrics]: web-config BENCH/web.yml does not exist"),
        "{said}"
    );
    for (text, expected) in [
        (TLS.to_owned(), open),
        (users(4), "BENCH/gw.toml:2:10: warning: [metrics]: passwords for 0.0.0.0:9738 cross the network in clear"),
        (TLS.to_owned() + &users(4), ""),
        (TLS.to_owned() + MUTUAL, ""),
        (
            TLS.to_owned() + "  min_version: TLS11\n",
            "BENCH/web.yml:4:16: error: min_version: TLS11 is not supported\n    write",
        ),
    ] {
        fs::write(bench.path("web.yml"), &text).unwrap();
        let said = check(all);
        assert!(said.starts_with(expected) && said.is_empty() == expected.is_empty(), "{text}\n{said}");
    }
    let loaded = config::inspect(&bench.path("gw.toml"));
    assert!(loaded.is_err());
}

/// Every key and word of the format is taken or refused: what the file says and what is wrong with it, at its place.
#[test]
fn fault_what_the_format_has_and_this_listener_has_not_is_refused_and_never_passed_over() {
    let bench = Bench::new();
    let tls = |line: &str| format!("{TLS}  {line}\n");
    let hash = bcrypt::hash("right", 4).unwrap();
    let cases = [
        (tls("cert: x"), "4:3: error: cert is not supported"),
        (tls("key: x"), "4:3: error: key is not supported"),
        (tls("client_ca: x"), "4:3: error: client_ca is not supported"),
        (tls("client_allowed_sans: [a]"), "4:3: error: client_allowed_sans is not supported"),
        (
            tls("client_auth_type: RequireAnyClientCert"),
            "4:21: error: client_auth_type: RequireAnyClientCert is not supported",
        ),
        (
            tls("client_auth_type: RequestClientCert"),
            "4:21: error: client_auth_type: RequestClientCert is not supported",
        ),
        (tls("client_auth_type: require"), "4:21: error: client_auth_type: \"require\" is not known"),
        (
            tls("client_auth_type: RequireAndVerifyClientCert"),
            "4:3: error: client_auth_type asks for certificates, but",
        ),
        (tls("client_ca_file: ca.pem"), "4:3: error: client_ca_file, but client_auth_type asks for no certificate"),
        (tls("max_version: TLS10"), "4:16: error: max_version: TLS10 is not supported"),
        (tls("min_version: 1.2"), "4:16: error: min_version: \"1.2\" is not known"),
        (tls("min_version: TLS13\n  max_version: TLS12"), "4:3: error: min_version is above max_version"),
        (
            tls("cipher_suites: [TLS_RSA_WITH_AES_128_CBC_SHA]"),
            "4:19: error: cipher_suites: TLS_RSA_WITH_AES_128_CBC_SHA is",
        ),
        (tls("cipher_suites: [TLS_AES_128_GCM_SHA256]"), "4:3: error: cipher_suites has none of TLS 1.2"),
        (tls("curve_preferences: [CurveP521]"), "4:23: error: curve_preferences: CurveP521 is not supported"),
        (tls("prefer_server_cipher_suites: yes"), "4:32: error: prefer_server_cipher_suites takes true or false"),
        (
            tls("certfile: x"),
            "4:3: error: tls_server_config: unknown key \"certfile\"\n    did you mean \"cert_file\"?",
        ),
        (tls("cert_file: x"), "4:3: error: tls_server_config: \"cert_file\" twice"),
        ("tls_server_config: {}\n".into(), "1:1: error: tls_server_config: cert_file is missing"),
        ("tls_server_config: x\n".into(), "1:20: error: tls_server_config takes a mapping, not a word"),
        ("rate_limit:\n  interval: 1s\n".into(), "1:1: error: rate_limit is not supported"),
        ("basic_auth:\n  a: b\n".into(), "1:1: error: top level: unknown key \"basic_auth\""),
        ("http_server_config:\n  http2: true\n".into(), "2:10: error: http2: true is not supported"),
        ("http_server_config:\n  headers:\n    Server: x\n".into(), "3:5: error: headers: unknown key \"Server\""),
        (
            "http_server_config:\n  headers:\n    X-Frame-Options: allow\n".into(),
            "3:22: error: headers: X-Frame-Options takes",
        ),
        (
            "basic_auth_users:\n  a: hunter2\n".into(),
            "2:6: error: basic_auth_users: what stands for \"a\" is no bcrypt hash",
        ),
        (format!("basic_auth_users:\n  a: {}\n", &hash[..59]), "2:6: error: basic_auth_users: what stands for \"a\""),
        (
            format!("basic_auth_users:\n  a: {}\n", hash.replace("$04$", "$31$")),
            "2:6: error: basic_auth_users: the hash of \"a\"",
        ),
        (format!("basic_auth_users:\n  \"a:b\": {hash}\n"), "2:3: error: basic_auth_users: \"a:b\" cannot be"),
        (format!("basic_auth_users:\n  a: {hash}\n  a: {hash}\n"), "3:3: error: basic_auth_users: \"a\" twice"),
    ];
    for (text, expected) in cases {
        let said = bench.wrong(&text);
        assert!(said.starts_with(&format!("BENCH/web.yml:{expected}")), "{text}\n{said}");
        assert!(said.contains("\n    "), "no cure: {said}");
        assert!(!said.contains("hunter2") && !said.contains(&hash[7..40]), "a secret: {said}");
    }
    let all_taken = tls(
        "client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.pem\n  min_version: TLS12\n  max_version: TLS13\n  \
         cipher_suites:\n    - TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384\n    - TLS_AES_128_GCM_SHA256\n  \
         prefer_server_cipher_suites: false\n  curve_preferences: [CurveP384, X25519]",
    );
    assert_eq!(bench.wrong(&all_taken), "");
    assert_eq!(bench.wrong(""), "");
}

#[tokio::test]
async fn versions_suites_and_curves_are_those_of_the_file() {
    let bench = Bench::new().serve(&format!("{TLS}  min_version: TLS13\n  curve_preferences: [CurveP384]\n")).await;
    assert!(bench.tls_of(&[&TLS12], "ca.pem", None).await.is_err());
    let stream = bench.tls_of(&[&TLS13, &TLS12], "ca.pem", None).await.unwrap();
    let group = stream.get_ref().1.negotiated_key_exchange_group().unwrap().name();
    assert_eq!(group, rustls::NamedGroup::secp384r1);
    let suite = "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256";
    let bench = Bench::new().serve(&format!("{TLS}  max_version: TLS12\n  cipher_suites: [{suite}]\n")).await;
    assert!(bench.tls_of(&[&TLS13], "ca.pem", None).await.is_err());
    let stream = bench.tls_of(&[&TLS13, &TLS12], "ca.pem", None).await.unwrap();
    let negotiated = stream.get_ref().1.negotiated_cipher_suite().unwrap().suite();
    assert_eq!(format!("{negotiated:?}"), suite);
}
