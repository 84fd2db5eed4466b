//! The program as its user meets it: exit codes, and what is said where.

use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

const FILE: &str = r#"
[[class]]
name = "voice"
fallback = "default"

[[class]]
name = "default"

[[tunnel]]
name = "branch-7"
local = "192.0.2.1"
remote = "192.0.2.2"
classes = ["voice", "default"]
device = { type = "xfrm", name = "lk-branch7", if-id = 42, mtu = 1400 }
routes = ["10.2.0.0/16"]
[tunnel.ike]
local-id = "moon.example"
remote-id = "sun.example"
auth = { psk-file = "branch-7.psk" }

[[rule]]
name = "sip"
class = "voice"
protocol = "udp"
destination-port = ["5060"]

[default]
class = "default"
"#;

/// Runs in a folder of its own, as an agent of its own: no other is asked or disturbed.
struct User(TempDir);

impl User {
    fn new() -> Self {
        let user = Self(tempfile::tempdir().unwrap());
        user.write("a.toml", FILE);
        let mut options = std::fs::OpenOptions::new();
        let psk = options.write(true).create_new(true).mode(0o600).open(user.path("branch-7.psk"));
        std::io::Write::write_all(&mut psk.unwrap(), b"secret\n").unwrap();
        user
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    fn types(&self, words: &[&str]) -> Said {
        let output = Command::new(env!("CARGO_BIN_EXE_lanekeeper"))
            .args(["--runtime-dir", "run", "--bpffs", "bpf"])
            .args(words)
            .current_dir(self.0.path())
            .env_clear()
            .output();
        Said::from(output.unwrap())
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Said {
    code: i32,
    out: String,
    err: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
    }
}

#[test]
fn check_is_silent_about_nothing() {
    let said = User::new().types(&["check", "a.toml"]);
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{said:?}");
    assert!(said.out.starts_with("a.toml: fine: 2 classes, 1 tunnel with 2 lanes, 1 rule"), "{said:?}");
}

#[test]
fn check_says_every_error_with_its_place_and_cure() {
    let user = User::new();
    user.write("b.toml", &FILE.replace("fallback", "falback").replace("\"udp\"", "\"upd\""));
    let said = user.types(&["check", "b.toml"]);
    assert_eq!((said.code, said.out.as_str()), (2, ""), "{said:?}");
    assert!(said.err.contains("b.toml:4:1: error: ") && said.err.contains("\"fallback\""), "{said:?}");
    assert!(said.err.contains("b.toml:24:12: error: ") && said.err.contains("udp"), "{said:?}");
}

#[test]
fn check_in_json_holds_the_same_findings() {
    let user = User::new();
    user.write("b.toml", &FILE.replace("fallback", "falback"));
    let said = user.types(&["check", "b.toml", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((said.code, &json["ok"], &json["errors"][0]["line"]), (2, &false.into(), &4.into()), "{said:?}");
}

#[test]
fn a_file_that_is_not_there_is_said_to_be_missing() {
    for verb in
        [&["check", "no.toml"][..], &["run", "--config", "no.toml"], &["apply", "no.toml"], &["plan", "no.toml"]]
    {
        let said = User::new().types(verb);
        assert_eq!(said.code, 2, "{said:?}");
        assert!(said.err.contains("no.toml: error: ") && said.err.contains("no such file"), "{said:?}");
    }
}

#[test]
fn a_broken_file_is_refused_before_anything_is_touched() {
    let user = User::new();
    user.write("b.toml", "[[class]]\nname = 7\n");
    for verb in [&["run", "--config", "b.toml"][..], &["apply", "b.toml"], &["plan", "b.toml"]] {
        let said = user.types(verb);
        assert_eq!(said.code, 2, "{said:?}");
        assert!(said.err.contains("b.toml:2:8: error: "), "{said:?}");
        assert!(!said.err.contains("lanekeeper:"), "a place begins its line: {said:?}");
    }
    assert!(!user.path("bpf").exists());
}

#[test]
fn a_question_to_nobody_says_whom_to_start() {
    let user = User::new();
    for verb in [&["status"][..], &["reload"], &["confirm"], &["top", "--batch"], &["top", "--json"], &["observe"]] {
        let said = user.types(verb);
        assert_eq!((said.code, said.out.as_str()), (2, ""), "{said:?}");
        assert!(said.err.starts_with("lanekeeper: error: run/control.sock: no lanekeeper answers there"), "{said:?}");
        assert!(said.err.contains("start `lanekeeper run`"), "{said:?}");
        assert_eq!(said.err.matches("No such file").count(), 1, "a cause is said once: {said:?}");
    }
}

#[test]
fn classify_explain_says_the_rule_that_nearly_matched_and_why() {
    let packet = ["explain", "a.toml", "udp", "10.1.0.5:4000", "to", "10.2.0.9:5061"];
    let said = User::new().types(&packet);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.out.contains("rule    none matched: the default\n"), "{said:?}");
    let near = "near    \"sip\" (a.toml:21:1): destination-port wants 5060, packet has 5061\n";
    assert!(said.out.ends_with(near), "{said:?}");
    let json = User::new().types(&[&packet[..], &["--json"]].concat()).out;
    assert!(json.starts_with(r#"{"packet":1,"tenant":null,"rule":null,"class":"default","mark":2,"#), "{json}");
    let failed = r#"[{"field":"destination-port","wants":"5060","has":"5061"}]"#;
    let near = format!(r#""near":[{{"rule":"sip","place":"a.toml:21:1","failed":{failed}}}]}}"#);
    assert!(json.trim_end().ends_with(&near), "{json}");
}

/// Halves of what the third rule takes, below the one that the file has, and a rule that is reached.
const SHADOWS: &str = r#"
[[rule]]
name = "low"
class = "voice"
source = ["10.0.0.0/9"]
[[rule]]
class = "voice"
source = ["10.128.0.0/9"]
[[rule]]
name = "calls"
class = "default"
protocol = "udp"
destination-port = [5060]
dscp = ["ef"]
[[rule]]
class = "default"
source = ["10.0.0.0/8"]
protocol = "tcp"
[[rule]]
class = "voice"
source = ["192.168.0.0/16"]
"#;

#[test]
fn classify_check_warns_of_rules_that_are_never_reached() {
    let user = User::new();
    user.write("b.toml", &format!("{FILE}{SHADOWS}"));
    let said = user.types(&["check", "b.toml"]);
    assert_eq!(
        (said.code, said.err.as_str()),
        (
            0,
            concat!(
                "b.toml:37:1: warning: rule \"calls\" is never reached: rule \"sip\" (b.toml:21:1) takes all its packets first\n",
                "    first match wins: move it up, or take it out\n",
                "b.toml:43:1: warning: this rule is never reached: rule \"low\" (b.toml:30:1) and the rule at b.toml:34:1 together ",
                "take all its packets first\n",
                "    first match wins: move it up, or take it out\n",
            )
        ),
        "{said:?}"
    );
    assert!(said.out.ends_with("6 rules; 2 warnings\n"), "{said:?}");
}

#[test]
fn classify_check_warns_of_rules_that_mark_no_socket() {
    let user = User::new();
    let rules = "
[[rule]]
name = \"urgent\"
class = \"voice\"
dscp = [\"ef\"]
[[rule]]
name = \"backup\"
class = \"default\"
cgroup = \"/backup\"
[[rule]]
class = \"default\"
cgroup = \"/bulk\"
length = \"0-99\"
[[rule]]
class = \"voice\"
cgroup = \"/calls\"
";
    user.write("b.toml", &format!("{FILE}{rules}"));
    assert_eq!(user.types(&["check", "b.toml"]).err, "");
    user.write("b.toml", &format!("{FILE}{rules}[host]\nmark-sockets = true\n"));
    let said = user.types(&["check", "b.toml"]);
    assert_eq!(
        (said.code, said.err.as_str()),
        (
            0,
            concat!(
                "b.toml:34:1: warning: rule \"backup\" marks no socket: of packets alone is known whether rule \"urgent\" ",
                "(b.toml:30:1) has them first\n",
                "    move it before that, or give both one class; what is a tenant's by its source is known only then\n",
                "b.toml:38:1: warning: this rule marks no socket: its length are known of packets alone\n",
                "    for a mark before the route lookup leave them out; at the tunnel's device they match in any case\n",
            )
        ),
        "{said:?}"
    );
}

#[test]
fn classify_check_says_once_what_stands_behind_a_rule_for_everything() {
    let user = User::new();
    let all = "\n[[rule]]\nname = \"all\"\nclass = \"voice\"\n";
    user.write("b.toml", &format!("{FILE}{all}{SHADOWS}"));
    let said = user.types(&["check", "b.toml"]);
    assert_eq!(said.err.matches("is never reached: rule \"all\" takes everything before it").count(), 5, "{said:?}");
    assert!(said.out.ends_with("7 rules; 5 warnings\n"), "{said:?}");
}

#[test]
fn classify_explain_lists_shadowed_rules_on_request() {
    let user = User::new();
    let said = user.types(&["explain", "a.toml", "--shadowed"]);
    assert_eq!((said.code, said.out.as_str()), (0, "no rule is shadowed\n"), "{said:?}");
    user.write("b.toml", &format!("{FILE}{SHADOWS}"));
    let said = user.types(&["explain", "b.toml", "--shadowed"]);
    assert_eq!((said.code, said.out.lines().count()), (1, 2), "{said:?}");
    let line = "b.toml:37:1: rule \"calls\" is never reached: rule \"sip\" (b.toml:21:1) takes all its packets first\n";
    assert!(said.out.starts_with(line), "{said:?}");
    let said = user.types(&["explain", "b.toml", "--shadowed", "--json"]);
    assert_eq!(
        (said.code, said.out.as_str()),
        (
            1,
            concat!(
                r#"{"rule":"calls","place":"b.toml:37:1","by":[{"rule":"sip","place":"b.toml:21:1"}]}"#,
                "\n",
                r#"{"rule":"b.toml:43:1","place":"b.toml:43:1","by":[{"rule":"low","place":"b.toml:30:1"},"#,
                r#"{"rule":"b.toml:34:1","place":"b.toml:34:1"}]}"#,
                "\n",
            )
        ),
        "{said:?}"
    );
    let said = user.types(&["explain", "b.toml", "--shadowed", "udp"]);
    assert!(said.code == 2 && said.err.contains("cannot be used with"), "{said:?}");
}

#[test]
fn a_verb_or_span_that_is_none_is_an_error_that_names_the_way() {
    let user = User::new();
    let said = user.types(&["relaod"]);
    assert!(said.code == 2 && said.err.contains("'reload'"), "{said:?}");
    let said = user.types(&["apply", "a.toml", "--confirm", "5"]);
    assert!(said.code == 2 && said.err.contains("write for instance 30s, 5m or 1h30m"), "{said:?}");
}

#[test]
fn see_top_without_a_terminal_names_what_needs_none() {
    let user = User::new();
    let said = user.types(&["top"]);
    assert_eq!(
        (said.code, said.out.as_str(), said.err.as_str()),
        (
            2,
            "",
            "lanekeeper: error: standard output is no terminal that has a screen: write `lanekeeper top --batch` for text, or \
             `lanekeeper status --json` for a program\n"
        )
    );
    for (flag, word) in [("--delay", "0.1"), ("--iterations", "0"), ("--view", "class"), ("--sort", "bit")] {
        let said = user.types(&["top", "--batch", flag, word]);
        assert!(said.code == 2 && said.err.contains(&format!("'{word}'")) && said.err.contains(flag), "{said:?}");
    }
    let said = user.types(&["top", "--batch", "--delay", "1h"]);
    assert!(said.err.contains("\"1h\" is no delay; write 0.2 to 3600 seconds, for instance 2"), "{said:?}");
}

#[test]
fn see_observe_takes_no_rate_and_no_prefix_that_is_none() {
    let user = User::new();
    for (flag, word) in [("--rate", "0"), ("--rate", "1001"), ("--count", "0"), ("--from", "10.1/16"), ("--to", "lan")]
    {
        let said = user.types(&["observe", flag, word]);
        assert!(said.code == 2 && said.err.contains(&format!("'{word}'")) && said.err.contains(flag), "{said:?}");
    }
}

#[test]
fn the_schema_is_json_and_knows_the_file() {
    let said = User::new().types(&["schema"]);
    let json: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(said.code, 0);
    assert!(json["properties"]["tunnel"].is_object(), "{json}");
}

#[test]
fn attach_swanctl_prints_connections_and_no_key() {
    let user = User::new();
    let said = user.types(&["swanctl", "a.toml"]);
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{said:?}");
    assert!(said.out.contains("\n    branch-7 {\n") && said.out.contains("\n            voice-0 {\n"), "{said:?}");
    assert!(said.out.contains(" local_addrs = 192.0.2.1\n") && said.out.contains("/branch-7.psk, up to"), "{said:?}");
    let peer = user.types(&["swanctl", "a.toml", "--peer"]);
    assert!(peer.code == 0 && peer.out.contains(" local_addrs = 192.0.2.2\n"), "{peer:?}");
    assert!(!format!("{said:?}{peer:?}").contains("= secret"), "{said:?}");
    // What it needs of the key is its name.
    std::fs::remove_file(user.path("branch-7.psk")).unwrap();
    assert_eq!(user.types(&["swanctl", "a.toml"]), said);
    user.write("b.toml", "[[class]]\nname = 7\n");
    let said = user.types(&["swanctl", "b.toml"]);
    assert!(said.code == 2 && said.err.contains("b.toml:2:8: error: "), "{said:?}");
}

#[test]
fn attach_devices_needs_neither_root_nor_agent() {
    let user = User::new();
    let said = user.types(&["devices", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    assert!(said.code == 0 && json["devices"].is_array(), "{said:?}");
    let said = user.types(&["devices"]);
    assert!(said.code == 0 && !said.out.is_empty() && said.err.is_empty(), "{said:?}");
}

#[test]
fn attach_doctor_exits_with_1_where_something_is_wrong() {
    let user = User::new();
    let said = user.types(&["doctor", "a.toml", "--json"]);
    let report: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    let findings = report["findings"].as_array().unwrap();
    let bpffs = findings.iter().find(|finding| finding["problem"].as_str().unwrap().contains("no bpffs")).unwrap();
    assert_eq!((said.code, &bpffs["cure"]), (1, &"mount -t bpf bpf bpf".into()), "{said:?}");
    let said = user.types(&["doctor", "a.toml"]);
    assert!(said.code == 1 && said.out.contains("\n    run: mount -t bpf bpf bpf\n"), "{said:?}");
    let said = user.types(&["doctor", "no.toml"]);
    assert!(said.code == 2 && said.err.contains("no such file"), "{said:?}");
}

#[test]
fn every_shell_has_its_completions() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let said = User::new().types(&["completions", shell]);
        assert!(said.code == 0 && said.out.contains("reload"), "{shell}: {said:?}");
    }
}

#[test]
fn the_manual_is_a_man_page() {
    let said = User::new().types(&["man"]);
    assert_eq!(said.code, 0);
    assert!(said.out.contains(".TH lanekeeper 1") && said.out.contains("EXIT STATUS"), "{}", said.out);
}

#[test]
fn explain_of_a_live_system_where_nothing_runs_says_so() {
    let user = User::new();
    let packet = "udp 10.1.0.5:4000 to 10.2.0.9:5060";
    let said = user.types(&["explain", "a.toml", "--live", "always", packet]);
    assert_eq!(
        (said.code, said.err.as_str()),
        (
            2,
            "lanekeeper: error: nothing of lanekeeper's is pinned below bpf, or only root may look: start `lanekeeper run`, or \
             leave --live out\n"
        )
    );
    // By itself it says nothing of a machine that the file does not run on.
    let by_itself = user.types(&["explain", "a.toml", packet]);
    assert_eq!(by_itself, user.types(&["explain", "a.toml", "--live", "never", packet]));
    assert_eq!(by_itself.err, "");
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let binary = Path::new(env!("CARGO_BIN_EXE_lanekeeper")).display();
    let script = format!("set -o pipefail; {binary} schema | head -c 1 > /dev/null");
    let status = Command::new("bash").args(["-c", &script]).status().unwrap();
    assert!(status.success(), "{status}");
}
