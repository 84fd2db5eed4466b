//! The control socket as other users meet it: who gets in, and what each of them may ask.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use lanekeeper::control::server::{Call, Server};
use lanekeeper::control::{Reply, group};
use tempfile::TempDir;
use tokio::sync::mpsc;
use xtask::alone::alone;

/// Users and groups that this machine need not have.
const OPERATOR: u32 = 0;
const DAEMON: u32 = 61_990;
const READER: u32 = 61_001;
const STRANGER: u32 = 61_002;
const READERS: u32 = 61_500;

/// Set where the test has run itself again, in namespaces where it may change the list of groups.
const INSIDE: &str = "LK_CONTROL_INSIDE";

/// Runs the named test of this file in namespaces of its own, with or without a group; `None` where this is that run.
fn inside(test: &str, group: bool) -> Option<Output> {
    if std::env::var_os(INSIDE).is_some() {
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    let groups = folder.path().join("group");
    let own = format!("{}:x:{READERS}:\n", group::GROUP);
    let listed = std::fs::read_to_string("/etc/group").unwrap();
    let others = listed.lines().filter(|line| !line.starts_with("lanekeeper:")).map(|line| line.to_owned() + "\n");
    std::fs::write(&groups, others.chain(group.then_some(own)).collect::<String>()).unwrap();
    let script = "mount --bind \"$1\" /etc/group; shift; exec \"$@\"";
    let output = alone()
        .args(["sh", "-ec", script, "sh"])
        .arg(&groups)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", test])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    Some(output)
}

fn passes(output: &Output) {
    assert!(output.status.success(), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"), "{output:?}");
}

/// A server that says what it was asked, and the program that asks it.
struct Gateway {
    folder: TempDir,
    program: PathBuf,
    runtime: tokio::runtime::Runtime,
}

impl Gateway {
    fn new() -> Self {
        let folder = tempfile::Builder::new().permissions(PermissionsExt::from_mode(0o755)).tempdir().unwrap();
        // Where this was built others need not be let in.
        let program = folder.path().join("lanekeeper");
        std::fs::copy(env!("CARGO_BIN_EXE_lanekeeper"), &program).unwrap();
        std::fs::create_dir(folder.path().join("run")).unwrap();
        std::fs::set_permissions(folder.path().join("run"), PermissionsExt::from_mode(0o750)).unwrap();
        Self { folder, program, runtime: tokio::runtime::Runtime::new().unwrap() }
    }

    fn runtime_dir(&self) -> PathBuf {
        self.folder.path().join("run")
    }

    fn socket(&self) -> PathBuf {
        self.runtime_dir().join("control.sock")
    }

    fn serve(&self) {
        let _inside = self.runtime.enter();
        let server = Server::bind(&self.socket(), &self.runtime_dir()).unwrap();
        let (calls, mut mailbox) = mpsc::channel::<Call>(1);
        self.runtime.spawn(server.serve(calls));
        self.runtime.spawn(async move {
            while let Some(call) = mailbox.recv().await {
                let _ = call.reply.send(Reply::Done { message: format!("asked: {}", call.request.verb()) });
            }
        });
    }

    fn asks(&self, uid: u32, gid: u32, words: &[&str]) -> (i32, String) {
        let output = Command::new("setpriv")
            .args([format!("--reuid={uid}"), format!("--regid={gid}"), "--clear-groups".into(), "--".into()])
            .arg(&self.program)
            .arg("--runtime-dir")
            .arg(self.runtime_dir())
            .args(words)
            .current_dir("/")
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.code().unwrap(), String::from_utf8(said).unwrap())
    }
}

fn owner(path: &Path) -> (u32, u32, u32) {
    let meta = std::fs::metadata(path).unwrap();
    (meta.uid(), meta.gid(), meta.mode() & 0o777)
}

const CHANGES: [(&str, &[&str]); 5] = [
    ("reload", &["reload"]),
    ("confirm", &["confirm"]),
    ("apply", &["apply", "/dev/null"]),
    ("rules add", &["rules", "add", "/dev/null"]),
    ("rules delete", &["rules", "delete", "sip"]),
];

#[test]
fn fault_the_group_may_read_and_root_may_change() {
    if let Some(output) = inside("fault_the_group_may_read_and_root_may_change", true) {
        return passes(&output);
    }
    let gateway = Gateway::new();
    gateway.serve();
    assert_eq!(owner(&gateway.socket()), (0, READERS, 0o660));
    assert_eq!(owner(&gateway.runtime_dir()), (0, READERS, 0o750), "else the group would not get to the socket");

    let _inside = gateway.runtime.enter();
    for (mode, own) in [(0o700, true), (0o750, false)] {
        let private = tempfile::Builder::new().permissions(PermissionsExt::from_mode(mode)).tempdir().unwrap();
        let runtime_dir = if own { private.path().to_owned() } else { gateway.runtime_dir() };
        drop(Server::bind(&private.path().join("control.sock"), &runtime_dir).unwrap());
        assert_eq!(owner(private.path()), (0, 0, mode), "not the agent's to open");
    }

    for words in [&["status"][..], &["rules", "list"], &["top", "--json", "-n", "1"]] {
        let (_, said) = gateway.asks(READER, READERS, words);
        assert!(!said.contains("may only read") && !said.contains("may not connect"), "{words:?}: {said}");
        let (code, said) = gateway.asks(STRANGER, STRANGER, words);
        assert_eq!(code, 2, "{said}");
        assert!(said.contains("become root, or for what only reads a member of the group lanekeeper"), "{said}");
    }
    let (code, said) = gateway.asks(READER, READERS, &["observe"]);
    assert!(
        code == 2 && said.contains(&format!("observe: it shows what others send, which uid {READER} may not see")),
        "{said}"
    );
    let (_, said) = gateway.asks(OPERATOR, 0, &["observe"]);
    assert!(said.contains("a question that was not asked"), "it was let through: {said}");
    for (verb, words) in CHANGES {
        let (code, said) = gateway.asks(READER, READERS, words);
        let refusal = format!("{verb}: uid {READER} may only read; ask as root, or as the agent's own user (uid 0)");
        assert!(code == 2 && said.contains(&refusal), "{verb}: {code} {said}");
        let (code, said) = gateway.asks(OPERATOR, 0, words);
        assert_eq!((code, said), (0, format!("asked: {verb}\n")));
    }
}

#[test]
fn fault_without_the_group_the_socket_is_for_root() {
    if let Some(output) = inside("fault_without_the_group_the_socket_is_for_root", false) {
        return passes(&output);
    }
    let gateway = Gateway::new();
    gateway.serve();
    assert_eq!(owner(&gateway.socket()), (0, 0, 0o660));
    let (code, said) = gateway.asks(READER, READERS, &["status"]);
    assert!(code == 2 && said.contains("may not connect"), "{said}");
    assert_eq!(gateway.asks(OPERATOR, 0, &["reload"]), (0, "asked: reload\n".into()));
}

#[test]
fn fault_an_agent_that_is_not_root_takes_changes_of_its_own_user_and_of_root() {
    let test = "fault_an_agent_that_is_not_root_takes_changes_of_its_own_user_and_of_root";
    if std::env::var(INSIDE).is_ok_and(|who| who == "daemon") {
        // In a process that is the daemon's user as a whole.
        let folder = PathBuf::from(std::env::var_os("LK_CONTROL_FOLDER").unwrap());
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let _inside = runtime.enter();
        let server = Server::bind(&folder.join("control.sock"), &folder).unwrap();
        let (calls, mut mailbox) = mpsc::channel::<Call>(1);
        runtime.spawn(server.serve(calls));
        return runtime.block_on(async move {
            while let Ok(Some(call)) = tokio::time::timeout(Duration::from_secs(60), mailbox.recv()).await {
                let _ = call.reply.send(Reply::Done { message: format!("asked: {}", call.request.verb()) });
            }
        });
    }
    let gateway = Gateway::new();
    std::os::unix::fs::chown(gateway.runtime_dir(), Some(DAEMON), Some(READERS)).unwrap();
    let copy = gateway.folder.path().join("test");
    std::fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
    let mut daemon = Command::new(&copy)
        .args(["--exact", "--nocapture", test])
        .env(INSIDE, "daemon")
        .env("LK_CONTROL_FOLDER", gateway.runtime_dir())
        .current_dir("/")
        .gid(READERS)
        .uid(DAEMON)
        .spawn()
        .unwrap();
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while !gateway.socket().exists() {
        assert!(std::time::Instant::now() < deadline && daemon.try_wait().unwrap().is_none(), "no socket");
        std::thread::sleep(Duration::from_millis(20));
    }
    let by_own = gateway.asks(DAEMON, READERS, &["reload"]);
    let by_root = gateway.asks(OPERATOR, 0, &["reload"]);
    let by_reader = gateway.asks(READER, READERS, &["reload"]);
    let read = gateway.asks(READER, READERS, &["rules", "list"]);
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    assert_eq!(by_own, (0, "asked: reload\n".into()));
    assert_eq!(by_root, (0, "asked: reload\n".into()));
    assert_eq!(by_reader.0, 2);
    assert!(by_reader.1.contains(&format!("reload: uid {READER} may only read")), "{}", by_reader.1);
    assert!(by_reader.1.contains(&format!("the agent's own user (uid {DAEMON})")), "{}", by_reader.1);
    assert!(!read.1.contains("may only read"), "{}", read.1);
}
