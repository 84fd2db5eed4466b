//! The VICI client and the ike task against the installed charon, started in namespaces of its own. This kernel need not
//! have ESP: what needs a CHILD_SA is tested in a guest (`lanes_ike`).

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lanekeeper::config;
use lanekeeper::ike::connection::swanctl::{End, conf};
use lanekeeper::ike::{self, Command, Connection, Credentials, Event, Load, Standing};
use lanekeeper::policy::{Auth, Ike, Keying, Policy, TunnelIndex};
use lanekeeper::vici::{Client, Error, Listener, Message, Timeouts};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::sync::{mpsc, oneshot};
use xtask::lab::Side;
use xtask::lab::charon::{Charon, swanctl, vici};
use xtask::lab::netns::Netns;
use xtask::lab::scenario::{Keying as Secrets, PSK, Scenario};
use xtask::setup::strongswan::Version;

/// A charon in a namespace, with a gateway's configuration beside it.
struct Bench {
    charon: Option<Charon>,
    netns: Netns,
    folder: PathBuf,
}

impl Bench {
    fn new(name: &str, secrets: Secrets) -> Self {
        let netns = Netns::new(&format!("lk-vici-{name}-{}", std::process::id())).unwrap();
        // An address of ours, and a peer that packets leave for and never come back from.
        netns
            .sh("ip link add wan0 type veth peer name nowhere
                 ip addr add 198.51.100.2/24 dev wan0
                 ip link set wan0 up
                 ip link set nowhere up
                 ip neigh add 198.51.100.9 lladdr 02:00:00:00:00:09 dev wan0")
            .unwrap();
        let folder = PathBuf::from(format!("/tmp/{}", netns.name()));
        Scenario::four_classes(secrets).write(Side::A, &folder, &folder).unwrap();
        let charon = Some(Charon::start(&netns.ns(), &folder, Version::Machine).unwrap());
        Self { charon, netns, folder }
    }

    fn socket(&self) -> PathBuf {
        vici(&self.folder)
    }

    fn policy(&self) -> Policy {
        config::load(&self.folder.join("config.toml")).unwrap().policy
    }

    fn restart(&mut self) {
        self.charon = Some(Charon::start(&self.netns.ns(), &self.folder, Version::Machine).unwrap());
    }

    fn log(&self) -> String {
        self.charon.as_ref().unwrap().log().unwrap()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

struct Task {
    commands: mpsc::Sender<Command>,
    events: mpsc::Receiver<Event>,
}

impl Task {
    fn start(bench: &Bench) -> Self {
        let (commands, command_queue) = mpsc::channel(8);
        let (event_sender, events) = mpsc::channel(64);
        tokio::spawn(ike::run(bench.socket(), command_queue, event_sender));
        Self { commands, events }
    }

    async fn load(&self, policy: &Policy) -> Result<(), ike::Error> {
        let load = Load { connection: connection(policy), credentials: Credentials::read(ike_of(policy))? };
        let (reply, answer) = oneshot::channel();
        self.commands.send(Command::Load(Arc::new(load), Standing::Adopt, reply)).await.unwrap();
        answer.await.unwrap()
    }

    async fn unload(&self, tunnel: &str) -> Result<(), ike::Error> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(Command::Unload(tunnel.to_owned(), reply)).await.unwrap();
        answer.await.unwrap()
    }

    async fn wait(&mut self, limit: Duration, mut wanted: impl FnMut(&Event) -> bool) -> Event {
        let mut seen = Vec::new();
        let found = tokio::time::timeout(limit, async {
            loop {
                let event = self.events.recv().await.unwrap();
                if wanted(&event) {
                    return event;
                }
                seen.push(event);
            }
        });
        match found.await {
            Ok(event) => event,
            Err(_) => panic!("not within {limit:?}; seen {seen:#?}"),
        }
    }
}

fn connection(policy: &Policy) -> Connection {
    Connection::all(policy, TunnelIndex(0)).remove(0)
}

fn ike_of(policy: &Policy) -> &Ike {
    match &policy.tunnels[0].keying {
        Keying::Ike(ike) => ike,
        Keying::Static(_) | Keying::Adopted(_) => panic!("not managed"),
    }
}

fn ike_mut(policy: &mut Policy) -> &mut Ike {
    match &mut policy.tunnels[0].keying {
        Keying::Ike(ike) => ike,
        Keying::Static(_) | Keying::Adopted(_) => panic!("not managed"),
    }
}

fn quick() -> Timeouts {
    Timeouts { connect: Duration::from_secs(1), answer: Duration::from_millis(700) }
}

#[tokio::test]
async fn charon_is_new_enough_and_answers_streams_and_nonsense() {
    let bench = Bench::new("answers", Secrets::Psk);
    let mut client = Client::connect(&bench.socket(), Timeouts::default()).await.unwrap();
    let version = client.check_version().await.unwrap();
    assert!(version.starts_with(|c: char| c.is_ascii_digit()), "{version}");
    assert!(matches!(client.request("no-such", Message::new()).await, Err(Error::UnknownCommand { .. })));
    let mut client = Client::connect(&bench.socket(), Timeouts::default()).await.unwrap();
    let mut lines = 0;
    client.stream("list-sas", "list-sa", Message::new(), quick().answer, |_| lines += 1).await.unwrap();
    assert_eq!(lines, 0);
    let refused = client.request("initiate", Message::new().with("child", "absent")).await;
    assert!(refused.unwrap_err().to_string().contains("CHILD_SA config 'absent' not found"));
    let unknown = Listener::connect(&bench.socket(), quick(), &["no-such"]).await;
    assert!(matches!(unknown, Err(Error::UnknownEvent { .. })));
}

#[tokio::test]
async fn what_is_loaded_is_seen_with_its_digest_until_it_is_unloaded() {
    for secrets in [Secrets::Psk, Secrets::Certificate] {
        let bench = Bench::new("loads", secrets);
        let (policy, socket) = (bench.policy(), bench.socket());
        let task = Task::start(&bench);
        assert!(ike::observe(&socket).await.unwrap().is_empty());
        task.load(&policy).await.unwrap();
        let seen = ike::observe(&socket).await.unwrap();
        let wanted = connection(&policy);
        assert_eq!(seen.keys().collect::<Vec<_>>(), [&wanted.name]);
        assert_eq!(seen[&wanted.name].digest, wanted.digest);
        let listed = bench.charon.as_ref().unwrap().swanctl("--list-conns").unwrap();
        assert!(listed.contains("voice.0: TUNNEL") && listed.contains("bulk.1: TUNNEL"), "{listed}");

        task.unload(&policy.tunnels[0].name).await.unwrap();
        assert!(ike::observe(&socket).await.unwrap().is_empty());
        task.load(&policy).await.unwrap();
        assert_eq!(ike::remove(&socket).await.unwrap(), [wanted.name]);
        assert!(ike::observe(&socket).await.unwrap().is_empty());
        assert!(!bench.log().contains("known to all"), "charon's log shows no secret");
    }
}

/// `list-conns` without what a file kept by hand has otherwise: names, the digest, charon's own restarts.
fn normalised(listed: &str, policy: &Policy) -> Vec<String> {
    let tunnel = &policy.tunnels[0];
    let mut listed = listed.replace(&format!("lk-{}:", tunnel.name), &format!("{}:", tunnel.name));
    for lane in &tunnel.lanes {
        listed = listed.replace(&format!("  {}: ", lane.label), &format!("  {}: ", lane.label.replace('.', "-")));
    }
    let digest = listed.lines().position(|line| line.trim().starts_with("lanekeeper-"));
    let is_digests = |at: usize| digest.is_some_and(|digest| (digest..digest + 4).contains(&at));
    let kept = listed.lines().enumerate().filter(|(at, _)| !is_digests(*at));
    kept.map(|(_, line)| line.replace(", dpd action is none", "").replace(", dpd action is start", "")).collect()
}

#[tokio::test]
async fn attach_swanctl_takes_the_printed_file_for_what_is_loaded() {
    for secrets in [Secrets::Psk, Secrets::Certificate] {
        let bench = Bench::new("prints", secrets);
        let charon = bench.charon.as_ref().unwrap();
        let policy = bench.policy();
        let task = Task::start(&bench);
        task.load(&policy).await.unwrap();
        let loaded = charon.swanctl("--list-conns").unwrap();
        task.unload(&policy.tunnels[0].name).await.unwrap();

        let file = bench.folder.join("swanctl.conf");
        let load = format!("--load-all --file {}", file.display());
        let text = conf(&policy, End::Ours, &bench.folder).unwrap();
        std::fs::write(&file, &text).unwrap();
        if secrets == Secrets::Psk {
            // It shows no key, and swanctl says so until it has one.
            let (program, socket) = (swanctl(&bench.folder), bench.socket());
            let load = format!("{} {load} --uri unix://{} 2>&1", program.display(), socket.display());
            let said = bench.netns.sh(&load).unwrap();
            assert!(said.contains("missing secret in 'ike-branch'"), "{said}");
            std::fs::write(&file, text.replace("# secret = \"...\"", &format!("secret = \"{PSK}\""))).unwrap();
        }
        charon.swanctl(&load).unwrap();
        let listed = charon.swanctl("--list-conns").unwrap();
        println!("{loaded}\n{listed}");
        assert_eq!(normalised(&listed, &policy), normalised(&loaded, &policy));
        assert_eq!(listed.matches(": TUNNEL").count(), policy.tunnels[0].lanes.len());
    }
}

#[tokio::test]
async fn what_charon_refuses_names_the_connection_and_its_word() {
    let bench = Bench::new("refuses", Secrets::Certificate);
    let task = Task::start(&bench);
    let mut policy = bench.policy();
    ike_mut(&mut policy).esp_proposals = vec!["rot13".to_owned()];
    let error = task.load(&policy).await.unwrap_err().to_string();
    assert!(error.contains(&connection(&policy).name) && error.contains("esp_proposals"), "{error}");

    let mut policy = bench.policy();
    let junk = bench.folder.join("junk.key");
    std::fs::write(&junk, "junk").unwrap();
    std::fs::set_permissions(&junk, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    if let Auth::Certificate { key, .. } = &mut ike_mut(&mut policy).auth {
        *key = junk;
    }
    let error = task.load(&policy).await.unwrap_err().to_string();
    assert!(error.contains("load-key") && error.contains("private key failed"), "{error}");
}

#[tokio::test]
async fn a_silent_peer_is_told_with_the_cure() {
    let bench = Bench::new("silent", Secrets::Psk);
    let mut task = Task::start(&bench);
    let mut policy = bench.policy();
    policy.tunnels[0].remote = "198.51.100.9".parse().unwrap();
    task.load(&policy).await.unwrap();
    let trouble = task.wait(Duration::from_secs(30), |event| matches!(event, Event::Trouble { .. })).await;
    let Event::Trouble { reason, .. } = &trouble else { unreachable!() };
    assert!(reason.contains("UDP 500"), "{reason}");
}

/// Whether all threads of a process are in the state `T`.
fn is_stopped(pid: &str) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    threads.flatten().all(|thread| {
        let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T'))
    })
}

#[tokio::test]
async fn a_charon_that_stalls_is_given_up_in_time_and_told() {
    let bench = Bench::new("stalls", Secrets::Psk);
    let mut client = Client::connect(&bench.socket(), quick()).await.unwrap();
    client.request("version", Message::new()).await.unwrap();
    let pids = std::process::Command::new("ip").args(["netns", "pids", bench.netns.name()]).output().unwrap();
    let pids = String::from_utf8(pids.stdout).unwrap();
    let signal = |signal: Signal| {
        for pid in pids.split_whitespace() {
            kill(Pid::from_raw(pid.parse().unwrap()), signal).unwrap();
        }
    };
    signal(Signal::SIGSTOP);
    // The signal stops one thread after the other; one that still runs would answer.
    while pids.split_whitespace().any(|pid| !is_stopped(pid)) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let began = Instant::now();
    let error = client.request("version", Message::new()).await.unwrap_err();
    signal(Signal::SIGCONT);
    assert!(matches!(error, Error::Timeout { .. }), "{error}");
    assert!(began.elapsed() < Duration::from_secs(2));
    // Its late answer must not be taken for another command's.
    assert!(matches!(client.request("stats", Message::new()).await, Err(Error::OutOfStep)));
}

#[tokio::test]
async fn a_killed_charon_is_told_and_gets_its_connections_again() {
    let mut bench = Bench::new("killed", Secrets::Psk);
    let mut task = Task::start(&bench);
    let policy = bench.policy();
    task.load(&policy).await.unwrap();
    task.wait(Duration::from_secs(5), |event| matches!(event, Event::CharonBack { .. })).await;
    bench.charon.take().unwrap().kill().unwrap();
    let gone = task.wait(Duration::from_secs(5), |event| matches!(event, Event::CharonGone { .. })).await;
    println!("{gone:?}");
    let error = task.load(&policy).await.unwrap_err().to_string();
    assert!(error.contains("waits for charon"), "{error}");
    bench.restart();
    task.wait(Duration::from_secs(10), |event| matches!(event, Event::CharonBack { .. })).await;
    let wanted = connection(&policy);
    assert_eq!(ike::observe(&bench.socket()).await.unwrap()[&wanted.name].digest, wanted.digest);
}

#[tokio::test]
async fn a_missing_charon_is_told_with_the_cure() {
    let mut bench = Bench::new("missing", Secrets::Psk);
    bench.charon.take().unwrap().kill().unwrap();
    // Its socket stays behind.
    let error = Client::connect(&bench.socket(), quick()).await.err().unwrap().to_string();
    assert!(error.contains("charon has stopped") && error.contains("systemctl start"), "{error}");
    std::fs::remove_file(bench.socket()).unwrap();
    let error = Client::connect(&bench.socket(), quick()).await.err().unwrap().to_string();
    assert!(error.contains("is not there") && error.contains("plugins.vici.socket"), "{error}");
    let error = Task::start(&bench).load(&bench.policy()).await.unwrap_err().to_string();
    assert!(error.contains("is not there"), "{error}");
}

#[tokio::test]
async fn two_hundred_tunnels_are_loaded_in_seconds() {
    let bench = Bench::new("many", Secrets::Psk);
    let task = Task::start(&bench);
    let mut policy = bench.policy();
    ike_mut(&mut policy).start = lanekeeper::policy::Start::None;
    let credentials = Credentials::read(ike_of(&policy)).unwrap();
    let began = Instant::now();
    let mut answers = Vec::new();
    for tunnel in 0..200 {
        policy.tunnels[0].name = format!("t{tunnel}");
        let load = Load { connection: connection(&policy), credentials: credentials.clone() };
        let (reply, answer) = oneshot::channel();
        task.commands.send(Command::Load(Arc::new(load), Standing::Adopt, reply)).await.unwrap();
        answers.push(answer);
    }
    for answer in answers {
        answer.await.unwrap().unwrap();
    }
    assert_eq!(ike::observe(&bench.socket()).await.unwrap().len(), 200);
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}
