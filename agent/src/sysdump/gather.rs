//! Asks the agent, the kernel and charon, and reads files. Changes nothing, and waits for nobody for long.

use std::fmt::Display;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::socket::{getsockopt, sockopt};
use serde::Serialize;

use super::comments::without_comments;
use super::{Section, without_quoted};
use crate::config::{self, Loaded};
use crate::control::{Listed, Reply, Request, client};
use crate::devices::Devices;
use crate::doctor::{Scope, examine};
use crate::kernel::{self, Netlink};
use crate::policy::{Auth, DEFAULT_VICI, Keying, Policy};
use crate::reconcile::{Places, once};
use crate::status::Status;
use crate::{checkup, reconcile};

/// For each thing that is waited for; charon may hang, and that is then what the report is about.
const PATIENCE: Duration = Duration::from_secs(20);

/// Bytes of each file; a list of 100,000 rules says no more by its end.
const FILE_LIMIT: usize = 1 << 20;

/// Bytes of the metrics.
const METRICS_LIMIT: u64 = 64 << 20;

/// Below /proc and /sys, what shows how the kernel stands and has neither addresses in hexadecimal nor secrets.
const FILES: [&str; 9] = [
    "/proc/net/xfrm_stat",
    "/proc/net/dev",
    "/proc/net/softnet_stat",
    "/proc/net/snmp",
    "/proc/meminfo",
    "/proc/loadavg",
    "/proc/uptime",
    "/proc/cpuinfo",
    "/etc/os-release",
];

/// Below /proc/sys.
const SYSCTLS: [&str; 16] = [
    "kernel/unprivileged_bpf_disabled",
    "kernel/tainted",
    "net/core/bpf_jit_enable",
    "net/core/bpf_jit_harden",
    "net/core/default_qdisc",
    "net/core/netdev_max_backlog",
    "net/core/xfrm_acq_expires",
    "net/core/xfrm_aevent_etime",
    "net/core/xfrm_aevent_rseqth",
    "net/core/xfrm_larval_drop",
    "net/ipv4/fwmark_reflect",
    "net/ipv4/ip_forward",
    "net/ipv4/ip_no_pmtu_disc",
    "net/ipv4/tcp_fwmark_accept",
    "net/ipv4/xfrm4_gc_thresh",
    "net/ipv6/conf/all/forwarding",
];

/// Of each interface, below /proc/sys/net/FAMILY/conf.
const BY_INTERFACE: [(&str, &str); 6] = [
    ("ipv4", "rp_filter"),
    ("ipv4", "src_valid_mark"),
    ("ipv4", "disable_policy"),
    ("ipv4", "disable_xfrm"),
    ("ipv4", "forwarding"),
    ("ipv6", "disable_ipv6"),
];

/// What goes into the file.
pub struct Gathered {
    /// In their order.
    pub sections: Vec<Section>,
    /// Who the ends of tunnels are, in IKE; nothing is known of those that charon alone has.
    pub identities: Vec<String>,
    /// What is written for the name of a key's file and is none: a key itself, it may be.
    pub keys: Vec<String>,
}

/// All of it. The file is the given one, or that of the running agent, or what was applied last.
pub async fn gather(places: &Places, file: Option<&Path>, now: u64) -> Gathered {
    let mut sections = vec![Section::new("lanekeeper", Ok::<_, String>(about(places, now))), kernel_version()];
    let status = status(&places.socket);
    sections.push(Section::new("status", status.as_ref().map(json)));
    sections.push(agent_process(&places.socket));

    let before = reconcile::applied(&places.runtime_dir);
    let known = file.map(Path::to_owned).or_else(|| status.as_ref().ok().map(|status| PathBuf::from(&status.config)));
    let known = known.or_else(|| before.as_ref().ok()?.as_ref().map(|(file, _)| file.clone()));
    let loaded = match &known {
        Some(file) => config::inspect(file).map_err(|errors| without_quoted(&errors.to_string())),
        None => Err("no agent runs and nothing was applied; name the file: lanekeeper sysdump FILE".to_owned()),
    };
    let applied = before.as_ref().ok().and_then(|before| before.as_ref()).map(|(_, loaded)| loaded);
    match &loaded {
        Ok(loaded) => {
            sections.extend(files("config", loaded));
            sections.push(Section::new("warnings", Ok::<_, String>(loaded.warnings.to_string())));
        }
        Err(error) => sections.push(Section { title: "config".into(), body: Err(error.clone()) }),
    }
    match &before {
        Ok(Some((_, before))) => match &loaded {
            Ok(loaded) if loaded.sources == before.sources => {}
            Ok(_) | Err(_) => sections.extend(files("config as it was applied", before)),
        },
        Ok(None) => sections.push(Section::new("config as it was applied", Err("nothing was applied"))),
        Err(error) => sections.push(Section::new("config as it was applied", Err(error))),
    }
    let policy = loaded.as_ref().ok().or(applied).map(|loaded| &loaded.policy);
    let listed = match &status {
        Ok(_) => listed(&places.socket),
        Err(_) => Err("there is no status either".to_owned()),
    };
    sections.push(Section::new("rules", Ok::<_, String>(rules(policy, &listed))));
    sections.push(Section::new("devices", within(devices()).await));
    sections.push(Section::new("doctor", within(doctor(places, policy)).await));
    sections.push(Section::new(
        "plan",
        match &known {
            Some(file) => within(plan(places, file)).await,
            None => Err("no file is known".into()),
        },
    ));
    sections.push(Section::new("metrics", metrics(policy)));
    sections.extend(FILES.iter().map(|file| Section::new(*file, read(Path::new(file)))));
    sections.push(Section::new("modules", read(Path::new("/proc/modules")).map(|text| modules(&text))));
    sections.push(Section::new("sysctls", Ok::<_, String>(sysctls(Path::new("/proc/sys")))));

    let read: Vec<&Loaded> = [loaded.as_ref().ok(), applied].into_iter().flatten().collect();
    let identities = read.iter().flat_map(|loaded| identities(&loaded.policy)).collect();
    Gathered { sections, identities, keys: read.iter().flat_map(|loaded| keys(loaded)).collect() }
}

fn about(places: &Places, now: u64) -> String {
    let Places { runtime_dir, bpffs, socket } = places;
    format!(
        "version {}\ntime {now}\nuid {}\nruntime folder {}\nbpffs {}\nsocket {}\n",
        env!("CARGO_PKG_VERSION"),
        nix::unistd::geteuid(),
        runtime_dir.display(),
        bpffs.display(),
        socket.display()
    )
}

fn kernel_version() -> Section {
    Section::new("kernel", read(Path::new("/proc/version")))
}

fn status(socket: &Path) -> Result<Status, String> {
    match client::ask_within(socket, &Request::Status {}, PATIENCE) {
        Ok(Reply::Status { status }) => {
            let mut status = *status;
            // A file that was refused may have been refused for a key in the wrong place.
            status.reload.error = status.reload.error.map(|error| without_quoted(&error));
            Ok(status)
        }
        Ok(Reply::Refused { error }) => Err(error),
        Ok(
            Reply::Done { .. }
            | Reply::Rules { .. }
            | Reply::Sample { .. }
            | Reply::Observing {}
            | Reply::Seen { .. }
            | Reply::Unseen { .. },
        ) => Err("the agent answered a question that was not asked".into()),
        Err(error) => Err(error.to_string()),
    }
}

fn listed(socket: &Path) -> Result<Vec<Listed>, String> {
    match client::ask_within(socket, &Request::ListRules {}, PATIENCE) {
        Ok(Reply::Rules { rules }) => Ok(rules),
        Ok(Reply::Refused { error }) => Err(error),
        Ok(
            Reply::Done { .. }
            | Reply::Status { .. }
            | Reply::Sample { .. }
            | Reply::Observing {}
            | Reply::Seen { .. }
            | Reply::Unseen { .. },
        ) => Err("the agent answered a question that was not asked".into()),
        Err(error) => Err(error.to_string()),
    }
}

/// How many; what they say is in the config.
fn rules(policy: Option<&Policy>, listed: &Result<Vec<Listed>, String>) -> String {
    let in_file = policy.map_or("no file".to_owned(), |policy| policy.rules.len().to_string());
    let running = match listed {
        Ok(rules) => {
            let added = rules.iter().filter(|rule| rule.added).count();
            let kept = rules.iter().filter(|rule| rule.kept).count();
            format!("{}, {added} of them added, {kept} of those kept", rules.len())
        }
        Err(error) => format!("not there: {}", without_quoted(error)),
    };
    format!("in the file: {in_file}\nrunning: {running}\n")
}

/// Memory, threads and capabilities of whoever listens at the control socket. The kernel names it as this process sees it, be it in
/// a PID namespace of its own (unix(7), SO_PEERCRED).
fn agent_process(socket: &Path) -> Section {
    let found = || {
        let stream = UnixStream::connect(socket).map_err(|error| match error.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused => "no agent runs".to_owned(),
            _ => format!("{}: {error}", socket.display()),
        })?;
        let peer = getsockopt(&stream, sockopt::PeerCredentials).map_err(|error| error.to_string())?;
        let process = Path::new("/proc").join(peer.pid().to_string());
        Ok::<_, String>(read(&process.join("status"))? + &read(&process.join("limits"))?)
    };
    Section::new("agent's process", found())
}

/// What it was read from. Text that escapes letters is written anew: what is masked is looked for as it is meant.
fn files(title: &str, loaded: &Loaded) -> impl Iterator<Item = Section> {
    loaded.sources.iter().map(move |source| {
        let escapes = ["\\u", "\\U", "\\x"].iter().any(|escape| source.text.contains(escape));
        let text = match source.text.parse::<toml::Table>() {
            Ok(table) if escapes => Ok(table.to_string()),
            Ok(_) => Ok(without_comments(&source.text)),
            Err(_) => Err("not TOML"),
        };
        Section::new(format!("{title}: {}", source.name), text.map(clipped))
    })
}

async fn devices() -> Result<String, kernel::Error> {
    Ok(json(&Devices { devices: kernel::devices(&Netlink::open()?).await? }))
}

async fn doctor(places: &Places, policy: Option<&Policy>) -> Result<String, kernel::Error> {
    let mut scope = policy.map(Scope::of).unwrap_or_default();
    let vici = policy.map_or(Path::new(DEFAULT_VICI), |policy| &policy.vici);
    let machine = checkup::gather(&mut scope, vici, &places.bpffs).await?;
    Ok(json(&examine(&machine, &scope)))
}

async fn plan(places: &Places, file: &Path) -> Result<String, reconcile::Error> {
    let plan = once::plan(places, file).await?;
    Ok(plan.ops.iter().fold(format!("{} changes\n", plan.ops.len()), |text, op| format!("{text}{op}\n")))
}

async fn within<T, E: Display>(work: impl Future<Output = Result<T, E>>) -> Result<T, String> {
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(done) => done.map_err(|error| error.to_string()),
        Err(_) => Err(format!("nothing within {} s", PATIENCE.as_secs())),
    }
}

/// As a scraper gets them. Of what the web-config file asks for nothing is known here: there are hashes of passwords in it.
fn metrics(policy: Option<&Policy>) -> Result<String, String> {
    let listen = policy.and_then(|policy| policy.metrics_listen).ok_or("none are served")?;
    if let Some(file) = policy.and_then(|policy| policy.web_config.as_ref()) {
        return Err(format!("not asked for: they are for those whom {} lets in", file.display()));
    }
    let to = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let ask = || {
        let mut stream = TcpStream::connect_timeout(&SocketAddr::new(to, listen.port()), PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"GET /metrics HTTP/1.0\r\nHost: lanekeeper\r\n\r\n")?;
        let mut answer = Vec::new();
        stream.take(METRICS_LIMIT).read_to_end(&mut answer)?;
        Ok(answer)
    };
    let answer = ask().map_err(|error: std::io::Error| format!("{to}: {error}"))?;
    let answer = String::from_utf8_lossy(&answer);
    match answer.split_once("\r\n\r\n") {
        Some((head, page)) if head.split(' ').nth(1) == Some("200") => Ok(page.to_owned()),
        Some((head, _)) => Err(format!("{to} answers {}", head.lines().next().unwrap_or_default())),
        None => Err(format!("{to} answers no HTTP")),
    }
}

/// Their names alone: what stands behind them tells root where the kernel is in memory.
fn modules(text: &str) -> String {
    text.lines().filter_map(|line| line.split(' ').next()).collect::<Vec<_>>().join(" ")
}

fn sysctls(below: &Path) -> String {
    let by_interface = BY_INTERFACE.iter().flat_map(|(family, key)| {
        let folder = format!("net/{family}/conf");
        let there = std::fs::read_dir(below.join(&folder)).into_iter().flatten().flatten();
        let mut names: Vec<String> = there.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        names.into_iter().map(move |name| format!("{folder}/{name}/{key}"))
    });
    SYSCTLS.iter().map(|key| (*key).to_owned()).chain(by_interface).fold(String::new(), |text, key| {
        let value = std::fs::read_to_string(below.join(&key)).map(|value| value.trim().to_owned());
        format!("{text}{key} = {}\n", value.unwrap_or_else(|error| format!("not there: {error}")))
    })
}

fn read(file: &Path) -> Result<String, String> {
    std::fs::read(file).map(|bytes| clipped(String::from_utf8_lossy(&bytes).into_owned())).map_err(|e| e.to_string())
}

fn clipped(mut text: String) -> String {
    let whole = text.len();
    if whole > FILE_LIMIT {
        text.truncate(text.floor_char_boundary(FILE_LIMIT));
        text += &format!("\n({FILE_LIMIT} bytes of {whole})\n");
    }
    text
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string_pretty(value).expect("our own types serialise") + "\n"
}

/// Names of key files that are not there, as the file has them and as messages do. One below a folder that is there is believed
/// to be a name.
fn keys(loaded: &Loaded) -> Vec<String> {
    let of = |tunnel: &crate::policy::Tunnel| match &tunnel.keying {
        Keying::Ike(ike) => match &ike.auth {
            Auth::Psk { file } => vec![file.clone()],
            Auth::Certificate { key, .. } => vec![key.clone()],
        },
        Keying::Static(keys) => vec![keys.key_file.clone()],
        Keying::Adopted(_) => Vec::new(),
    };
    let folders: Vec<&Path> = loaded.sources.iter().map(|source| source.folder.as_path()).collect();
    let is_name = |file: &PathBuf| {
        let parent = file.parent().is_some_and(|folder| !folders.contains(&folder) && folder.is_dir());
        parent || file.symlink_metadata().is_ok()
    };
    let unknown = loaded.policy.tunnels.iter().flat_map(of).filter(|file| !is_name(file));
    let written = |file: PathBuf| {
        let short = folders.iter().filter_map(|folder| file.strip_prefix(folder).ok()).map(Path::to_path_buf);
        short.chain([file.clone()]).collect::<Vec<_>>()
    };
    unknown.flat_map(written).map(|file| file.to_string_lossy().into_owned()).filter(|name| !name.is_empty()).collect()
}

fn identities(policy: &Policy) -> Vec<String> {
    let of = |tunnel: &crate::policy::Tunnel| match &tunnel.keying {
        Keying::Ike(ike) => vec![ike.local_id.clone(), ike.remote_id.clone()],
        Keying::Static(_) | Keying::Adopted(_) => Vec::new(),
    };
    policy.tunnels.iter().flat_map(of).collect()
}
