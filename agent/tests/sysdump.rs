//! The file for a bug report: what is in it, and what must not be.

use std::net::SocketAddr;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::Arc;

use lanekeeper::compile::series::Refusal;
use lanekeeper::control::server::{Call, Server};
use lanekeeper::control::{Listed, Reply, Request};
use lanekeeper::lane::Condition;
use lanekeeper::metrics::Format;
use lanekeeper::metrics::server::{Source, bind, serve};
use lanekeeper::status::{Reload, Standing, Status};
use lanekeeper::web::Current;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

/// One letter of it in a file would be one too many.
const SECRET: &str = "canary-of-psk-0x5ec7e7";
const KEY: &str = "c0ffee00deadbeef";

const FILE: &str = r#"
# the old key was CANARY-COMMENT
[[class]]
name = "voice" # CANARY-COMMENT
fallback = "default"
[[class]]
name = "default"
[metrics]
listen = "LISTEN"
[[tunnel]]
name = "branch-7"
local = "192.0.2.17"
remote = "192.0.2.18"
classes = ["voice", "default"]
device = { type = "xfrm", name = "lk-b7", if-id = 42, mtu = 1400, addresses = ["10.77.0.1/24", "2001:db8:77::1/64"] }
routes = ["10.88.0.0/16", "2001:0db8:0088::/48"]
[tunnel.ike]
local-id = "moon.example"
remote-id = "s\u0075n.example"
auth = { psk-file = "branch-7.psk" }
[[tunnel]]
name = "branch-8"
local = "192.0.2.17"
remote = "192.0.2.19"
classes = ["voice", "default"]
device = { type = "xfrm", name = "lk-b8", if-id = 43, mtu = 1400 }
routes = ["10.99.0.0/16"]
[tunnel.static]
key-file = "branch-8.keys"
i-know = "static keys repeat nonces after a reboot"
[[rule]]
name = "sip"
class = "voice"
source = ["198.51.100.0/24", "10.77.0.1/32"]
[default]
class = "default"
"#;

const ADDRESSES: [&str; 11] = [
    "192.0.2.17",
    "192.0.2.18",
    "192.0.2.19",
    "10.77.0.1",
    "2001:db8:77::1",
    "10.88.0.0",
    "2001:db8:88::",
    "2001:0db8:0088::",
    "10.99.0.0",
    "198.51.100.0",
    "203.0.113.5",
];

struct Machine(TempDir);

impl Machine {
    fn new() -> Self {
        let one = Self(tempfile::tempdir().unwrap());
        one.write("a.toml", &FILE.replace("LISTEN", "127.0.0.1:1"), 0o644);
        one.write("branch-7.psk", &format!("{SECRET}\n"), 0o600);
        let sas = ["voice.0", "default.0"].iter().flat_map(|lane| [(lane, "out"), (lane, "in")]).zip(0x1001..);
        let keys = sas.map(|((lane, direction), spi)| {
            let key = format!("{KEY}{spi:08x}").repeat(3);
            let sa =
                format!("lane = \"{lane}\"\ndirection = \"{direction}\"\nspi = {spi}\nalgorithm = \"aes256gcm16\"\n");
            format!("[[sa]]\n{sa}key = \"{key}\"\n")
        });
        one.write("branch-8.keys", &keys.collect::<String>(), 0o600);
        one
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str, mode: u32) {
        let mut options = std::fs::OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(mode).open(self.path(name));
        std::io::Write::write_all(&mut file.unwrap(), text.as_bytes()).unwrap();
    }

    fn types(&self, words: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_lanekeeper"))
            .args(["--runtime-dir", "run", "--bpffs", "bpf"])
            .args(words)
            .current_dir(self.0.path())
            .env_clear()
            .output()
            .unwrap()
    }

    /// The file that it made, which has no secret, whatever else.
    fn dumps(&self, words: &[&str]) -> String {
        let words = [&["sysdump", "--output", "dump.txt"], words].concat();
        let output = self.types(&words);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let mode = std::fs::metadata(self.path("dump.txt")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let text = std::fs::read_to_string(self.path("dump.txt")).unwrap();
        std::fs::remove_file(self.path("dump.txt")).unwrap();
        let said = [&output.stdout[..], &output.stderr[..]].concat();
        for text in [text.as_str(), &String::from_utf8(said).unwrap()] {
            for secret in [SECRET, KEY, "CANARY"] {
                assert!(!text.to_lowercase().contains(&secret.to_lowercase()), "{secret}: {text}");
            }
        }
        text
    }
}

fn section<'a>(text: &'a str, title: &str) -> &'a str {
    let (_, rest) = text.split_once(&format!("===== {title}")).unwrap_or_else(|| panic!("no {title}: {text}"));
    let (_, body) = rest.split_once(" =====\n").or_else(|| rest.split_once("=====\n")).unwrap();
    body.split("\n===== ").next().unwrap()
}

/// An agent's two sockets, with answers that are as revealing as an agent's may be.
struct Agent {
    _runtime: Runtime,
    listen: SocketAddr,
}

struct Page;

impl Source for Page {
    fn page(&self, _: Format) -> Result<String, String> {
        Ok("lanekeeper_lane_up{tunnel=\"branch-7\",class=\"voice\",lane=\"0\"} 1\n".into())
    }
    fn ready(&self) -> Result<(), String> {
        Ok(())
    }

    fn refused(&self, _: Refusal) {}
}

impl Agent {
    fn beside(one: &Machine) -> Self {
        let runtime = Runtime::new().unwrap();
        std::fs::create_dir_all(one.path("run")).unwrap();
        let listener = runtime.block_on(bind("127.0.0.1:0".parse().unwrap())).unwrap();
        let listen = listener.local_addr().unwrap();
        one.write("a.toml", &FILE.replace("LISTEN", &listen.to_string()), 0o644);
        let loaded = lanekeeper::config::inspect(&one.path("a.toml")).unwrap();
        let mut status = Status::of(&loaded.policy, |_| Standing { condition: Condition::Up, since: 1 });
        status.config = one.path("a.toml").display().to_string();
        status.reload = Reload {
            success: false,
            at: 1,
            error: Some(format!("a.toml:9:9: error: unknown key \"psk = {SECRET}\" of 203.0.113.5")),
        };
        status.tunnels[0].trouble = Some("voice.0.sun.example (192.0.2.18[500]) does not know moon.example".into());
        let rule = Listed {
            name: Some("sip".into()),
            tenant: None,
            class: "voice".into(),
            place: "a.toml:9:1".into(),
            added: true,
            kept: false,
        };
        let _inside = runtime.enter();
        let server = Server::bind(&one.path("run/control.sock"), &one.path("run")).unwrap();
        let (calls, mut mailbox) = mpsc::channel::<Call>(1);
        runtime.spawn(server.serve(calls));
        runtime.spawn(async move {
            while let Some(call) = mailbox.recv().await {
                let _ = call.reply.send(match call.request {
                    Request::Status {} => Reply::Status { status: Box::new(status.clone()) },
                    Request::ListRules {} => Reply::Rules { rules: vec![rule.clone(); 3] },
                    other => Reply::Refused { error: format!("not to be asked: {other:?}") },
                });
            }
        });
        runtime.spawn(serve(listener, Arc::new(Page), Arc::new(Current::read(None).unwrap())));
        Self { _runtime: runtime, listen }
    }
}

#[test]
fn fault_a_sysdump_without_an_agent_says_so_and_has_no_secret() {
    let one = Machine::new();
    // Without an escape, so that the text stays and only its comments go.
    one.write("a.toml", &FILE.replace("LISTEN", "127.0.0.1:1").replace("s\\u0075n", "sun"), 0o644);
    let text = one.dumps(&["a.toml"]);
    assert!(section(&text, "config: a.toml").contains("name = \"voice\" #\n"), "{text}");
    assert!(section(&text, "status").contains("no lanekeeper answers there"), "{text}");
    assert!(section(&text, "lanekeeper").contains(concat!("version ", env!("CARGO_PKG_VERSION"))), "{text}");
    assert!(section(&text, "config: a.toml").contains("psk-file = \"branch-7.psk\""), "{text}");
    assert!(section(&text, "config: a.toml").contains("192.0.2.17"), "{text}");
    assert!(section(&text, "rules").starts_with("in the file: 1\n"), "{text}");
    assert!(section(&text, "sysctls").contains("net/ipv4/conf/all/rp_filter = "), "{text}");
    for title in ["kernel", "agent's process", "devices", "doctor", "plan", "metrics", "/proc/net/xfrm_stat", "modules"]
    {
        section(&text, title);
    }
}

#[test]
fn fault_a_sysdump_of_nothing_says_how_to_name_a_file() {
    let text = Machine::new().dumps(&[]);
    assert!(section(&text, "config").contains("lanekeeper sysdump FILE"), "{text}");
}

#[test]
fn fault_a_sysdump_has_what_the_agent_says_and_no_secret() {
    let one = Machine::new();
    let agent = Agent::beside(&one);
    let text = one.dumps(&[]);
    let status: serde_json::Value = serde_json::from_str(section(&text, "status")).unwrap();
    assert_eq!(status["tunnels"][0]["remote"], "192.0.2.18");
    assert_eq!(status["reload"]["error"], "a.toml:9:9: error: unknown key \"...\"");
    assert!(section(&text, "config: ").contains(&agent.listen.to_string()), "{text}");
    assert!(section(&text, "rules").ends_with("running: 3, 3 of them added, 0 of those kept\n"), "{text}");
    assert!(section(&text, "metrics").starts_with("lanekeeper_lane_up{"), "{text}");
}

#[test]
fn fault_a_masked_sysdump_has_no_address_and_no_identity() {
    let one = Machine::new();
    let _agent = Agent::beside(&one);
    let text = one.dumps(&["--mask-addresses"]);
    for canary in ADDRESSES.into_iter().chain(["moon.example", "sun.example", "\\u0075"]) {
        assert!(!text.contains(canary), "{canary}: {text}");
    }
    let status: serde_json::Value = serde_json::from_str(section(&text, "status")).unwrap();
    let (local, remote) = (status["tunnels"][0]["local"].as_str().unwrap(), &status["tunnels"][0]["remote"]);
    assert!(local.starts_with("ipv4-") && remote != local && status["tunnels"][1]["local"] == local, "{text}");
    let config = section(&text, "config: ");
    assert_eq!(config.matches(&format!("\"{local}\"")).count(), 2, "both tunnels begin there: {config}");
    let trouble = status["tunnels"][0]["trouble"].as_str().unwrap();
    assert!(trouble.starts_with("voice.0.identity-") && trouble.contains(remote.as_str().unwrap()), "{trouble}");
    for kept in ["/24\"", "/16\"", "/48\"", "/64\"", "branch-7", "127.0.0.1"] {
        assert!(config.contains(kept), "{kept}: {config}");
    }
    assert!(config.contains("\"ipv6-1"), "{config}");
}

#[test]
fn fault_a_file_with_a_key_in_the_wrong_place_is_not_in_a_sysdump() {
    let one = Machine::new();
    for wrong in [
        format!("auth = {{ psk = \"{SECRET}\" }}"),
        format!("auth = \"{SECRET}\""),
        format!("auth = {{ psk-file = \"branch-7.psk\" }}\npsk = \"{SECRET}\""),
        format!("auth = {{ psk-file = \"branch-7.psk\" }}\n{SECRET}"),
        format!("auth = {{ psk-file = \"branch-7.psk\" }}\nstart = 'a\"{SECRET}\"b'"),
        format!("auth = {{ psk-file = \"branch-7.psk\" }}\nproposals = ['\"{SECRET}', \"{SECRET}\\\"\"]"),
    ] {
        let text = FILE.replace("LISTEN", "127.0.0.1:1").replace("auth = { psk-file = \"branch-7.psk\" }", &wrong);
        one.write("a.toml", &text, 0o644);
        let text = one.dumps(&["a.toml"]);
        assert!(section(&text, "config").contains("a.toml:2"), "where it is wrong: {text}");
    }
}

#[test]
fn fault_a_key_that_stands_for_the_name_of_its_file_is_not_in_a_sysdump() {
    let one = Machine::new();
    for wrong in [SECRET.to_owned(), format!("{SECRET}/b+c=="), format!("/{SECRET}/x"), format!("a\\\"{SECRET}")] {
        let named = format!("auth = {{ psk-file = \"{wrong}\" }}");
        let text = FILE.replace("LISTEN", "127.0.0.1:1").replace("auth = { psk-file = \"branch-7.psk\" }", &named);
        one.write("a.toml", &text, 0o644);
        for words in [&["a.toml"][..], &["a.toml", "--mask-addresses"]] {
            let text = one.dumps(words);
            let quoted = ["\"", "'"].map(|quote| format!("psk-file = {quote}...{quote}"));
            assert!(quoted.iter().any(|key| section(&text, "config: a.toml").contains(key)), "{text}");
            assert!(section(&text, "config: a.toml").contains("key-file = \"branch-8.keys\""), "{text}");
        }
    }
}

#[test]
fn fault_a_sysdump_of_a_file_that_is_not_there_is_none() {
    let one = Machine::new();
    for (words, said) in [
        (&["sysdump", "b.toml", "--output", "b.txt"][..], "b.toml: cannot be read"),
        (&["sysdump", "--output", "-"], "--output takes a file's name"),
    ] {
        let output = one.types(words);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(String::from_utf8(output.stderr).unwrap().contains(said), "{words:?}");
    }
    assert!(!one.path("b.txt").exists() && !one.path("-").exists());
}

#[test]
fn fault_a_sysdump_writes_over_nothing() {
    let one = Machine::new();
    one.write("there.txt", "mine", 0o644);
    std::os::unix::fs::symlink(one.path("elsewhere"), one.path("link.txt")).unwrap();
    for there in ["there.txt", "link.txt"] {
        let output = one.types(&["sysdump", "--output", there]);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("is there already and is not written over; remove it, or name another"), "{said}");
    }
    assert_eq!(std::fs::read_to_string(one.path("there.txt")).unwrap(), "mine");
    assert!(!one.path("elsewhere").exists());
    let output = one.types(&["sysdump", "--output", "no/such/folder.txt"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}

#[test]
fn fault_a_sysdump_has_a_name_of_its_own_where_none_is_given() {
    let one = Machine::new();
    let output = one.types(&["sysdump"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let said = String::from_utf8(output.stdout).unwrap();
    let (name, rest) = said.split_once(": ").unwrap();
    assert!(name.starts_with("lanekeeper-sysdump-1") && name.ends_with(".txt"), "{said}");
    let told = "key files were not read into it; addresses are in it: --mask-addresses; read it before you send it\n";
    assert_eq!(rest, told);
    assert!(one.path(name).exists());
}
