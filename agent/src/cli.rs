//! The command line. Each verb is a file; here what they share: flags, exit codes and how an error is said.

mod apply;
mod ask;
mod devices;
mod doctor;
mod down;
mod emit;
mod explain;
mod file;
mod import;
pub mod logging;
mod observe;
mod plan;
mod private;
mod rules;
mod run;
pub mod span;
mod swanctl;
mod sysdump;
mod top;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Parser, Subcommand};

use self::emit::Shell;
use crate::reconcile;

/// Keeps voice alive inside a VPN: steers each packet to the IPsec CHILD_SA of its QoS class.
#[derive(Debug, Parser)]
#[command(name = "lanekeeper", version, max_term_width = 100, after_help = EXIT_CODES)]
pub struct Cli {
    /// Where things are; the same for every verb.
    #[command(flatten)]
    pub places: Places,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

const EXIT_CODES: &str = "Exit codes: 0 fine, 1 a finding or a difference, 2 an error.";

/// Where the agent keeps what is not in its file.
#[derive(Debug, Clone, Args)]
pub struct Places {
    /// Folder of the control socket and of what is remembered until the next boot
    #[arg(
        long,
        global = true,
        value_name = "FOLDER",
        env = "LANEKEEPER_RUNTIME_DIR",
        default_value = "/run/lanekeeper"
    )]
    pub runtime_dir: PathBuf,
    /// The bpffs below which maps and programs are pinned
    #[arg(long, global = true, value_name = "FOLDER", env = "LANEKEEPER_BPFFS", default_value = "/sys/fs/bpf")]
    pub bpffs: PathBuf,
    /// Control socket of the running agent [default: control.sock in the runtime folder]
    #[arg(long, global = true, value_name = "SOCKET", env = "LANEKEEPER_SOCKET")]
    pub socket: Option<PathBuf>,
}

impl Places {
    fn resolved(&self) -> reconcile::Places {
        reconcile::Places { runtime_dir: self.runtime_dir.clone(), bpffs: self.bpffs.clone(), socket: self.socket() }
    }

    /// The control socket.
    pub fn socket(&self) -> PathBuf {
        self.socket.clone().unwrap_or_else(|| self.runtime_dir.join("control.sock"))
    }
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Say everything that is wrong with a file; needs no root and touches nothing
    Check {
        /// The file
        file: PathBuf,
        /// One JSON object
        #[arg(long)]
        json: bool,
    },
    /// Say what `apply` would change, as a diff; exits 1 where it would change something
    Plan {
        /// The file
        file: PathBuf,
        /// One JSON object
        #[arg(long)]
        json: bool,
    },
    /// Apply a file whole, or refuse it whole and keep what ran; by the agent where one runs, else once and for now
    Apply {
        /// The file
        file: PathBuf,
        /// Go back to what ran before unless `lanekeeper confirm` comes within this span (30s, 5m, 1h)
        #[arg(long, value_name = "SPAN", value_parser = span::parse)]
        confirm: Option<Duration>,
        /// How long to wait for the lanes to come up
        #[arg(long, value_name = "SPAN", value_parser = span::parse, default_value = "10s")]
        wait: Duration,
    },
    /// Put a file in place and keep it there: follows charon, repairs what others change, serves metrics and a page of them
    Run {
        /// The file; SIGHUP and `lanekeeper reload` read it again
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Remove all that is ours, and nothing else
    Down {
        /// charon's socket [default: that of the file that was applied last]
        #[arg(long, value_name = "SOCKET")]
        vici: Option<PathBuf>,
    },
    /// Keep what `apply --confirm` put in place
    Confirm,
    /// Have the running agent read its file again and apply it whole, or refuse it whole
    Reload,
    /// Rules that come and go while the agent runs
    Rules {
        /// What to do with them
        #[command(subcommand)]
        verb: rules::Verb,
    },
    /// Tunnels, what of their lanes is down, and what falls back and why, as the running agent sees them
    Status {
        /// Also what is as it should be: each lane and each class
        #[arg(short, long)]
        all: bool,
        /// One JSON object
        #[arg(long)]
        json: bool,
    },
    /// Rates, shares, errors, latencies and what falls back, live: classes, lanes, tunnels, tenants and rules; ? shows the keys
    Top(top::Top),
    /// Packets as they pass the tunnels, sampled, with tenant, rule, class and lane, and why they fall back or are blocked; for
    /// root
    Observe(observe::Observe),
    /// Every XFRM, VTI and GRE device of this box, where it leads, what it carried and whose it is; needs no root
    Devices {
        /// One JSON object
        #[arg(long)]
        json: bool,
    },
    /// What on this box will break it, each with its cure; exits 1 where there is something
    Doctor {
        /// The file, for what only its tunnels are broken by
        file: Option<PathBuf>,
        /// One JSON object
        #[arg(long)]
        json: bool,
    },
    /// Write one file for a bug report: versions, config without comments, status, doctor, plan, metrics and kernel settings;
    /// with no key file read into it
    Sysdump {
        /// The file [default: that of the running agent, or the one that was applied last]
        file: Option<PathBuf>,
        /// Put ipv4-N, ipv6-N and identity-N in the place of addresses and IKE identities, the same for the same one
        #[arg(long)]
        mask_addresses: bool,
        /// Where to; what is there already stays [default: lanekeeper-sysdump-TIME.txt here]
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// What becomes of packets: tenant, rule, class, lane and mark; where the file runs also device, policy and SA
    Explain {
        /// The file
        file: PathBuf,
        /// A packet in words: udp 10.1.0.5:4000 to 10.2.0.9:5060 dscp ef in lan0; also vlan ID, flags syn,ack,
        /// type echo-request, length BYTES, fragment first|later, mark 0x100; of this host itself also cgroup PATH
        #[arg(required_unless_present_any = ["pcap", "shadowed"], conflicts_with = "pcap")]
        packet: Vec<String>,
        /// Packets of a capture, pcap or pcapng
        #[arg(long, value_name = "PCAP")]
        pcap: Option<PathBuf>,
        /// The interface by which the capture's packets came in
        #[arg(long, value_name = "NAME", requires = "pcap")]
        interface: Option<String>,
        /// One JSON object per packet or rule
        #[arg(long)]
        json: bool,
        /// The classifier on the host, or the program itself, which needs root
        #[arg(long, value_enum, default_value = "model")]
        engine: explain::Which,
        /// Whether lanes, routes, policies and SAs of this machine count
        #[arg(long, value_enum, value_name = "WHEN", default_value = "auto")]
        live: explain::When,
        /// Instead of packets the rules that none can reach, as earlier ones take all of them; exits 1 where there are
        /// such
        #[arg(long, conflicts_with_all = ["packet", "pcap"])]
        shadowed: bool,
    },
    /// Make rules of another program's: on standard output a file, on standard error what is not in it, and then exits 1
    Import {
        /// Whose
        #[command(subcommand)]
        what: import::Import,
    },
    /// The swanctl.conf of a file, for who keeps it by hand; shows no key
    Swanctl {
        /// The file
        file: PathBuf,
        /// That of the far end, which has strongSwan alone
        #[arg(long)]
        peer: bool,
    },
    /// The JSON Schema of the file
    Schema,
    /// Completions for a shell, to be sourced
    Completions {
        /// For which
        shell: Shell,
    },
    /// The manual page, for man(1): `lanekeeper man | man -l -`
    Man,
}

/// How a command ends when it does not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// All is as it should be.
    Fine,
    /// Something was found, or differs.
    Finding,
    /// An error that has been said already.
    Wrong,
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    logging::start(cli.verb.default_log());
    match private::keep().context("cannot keep memory out of core dumps").and_then(|()| run(cli)) {
        Ok(Outcome::Fine) => ExitCode::SUCCESS,
        Ok(Outcome::Finding) => ExitCode::from(1),
        Ok(Outcome::Wrong) => ExitCode::from(2),
        // A reader that has seen enough (`lanekeeper status | head`) is no error of ours.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            say_error(&error);
            ExitCode::from(2)
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<Outcome> {
    let Cli { places, verb } = cli;
    match verb {
        Verb::Check { file, json } => file::check(&file, json),
        Verb::Plan { file, json } => plan::plan(&places, &file, json),
        Verb::Apply { file, confirm, wait } => apply::apply(&places, &file, wait, confirm),
        Verb::Run { config } => run::run(&places, &config),
        Verb::Down { vici } => down::down(&places, vici.as_deref()),
        Verb::Explain { file, json, shadowed: true, .. } => explain::shadowed(&file, json),
        Verb::Explain { file, packet, pcap, interface, json, engine, live, shadowed: false } => {
            let packets = match pcap {
                Some(pcap) => explain::Packets::Captured { pcap, interface },
                None => explain::Packets::InWords(packet.join(" ")),
            };
            explain::explain(&places, &file, packets, explain::How { json, engine, live })
        }
        Verb::Import { what } => import::import(&what),
        Verb::Swanctl { file, peer } => swanctl::swanctl(&file, peer),
        Verb::Schema => file::schema(),
        Verb::Confirm => ask::confirm(&places.socket()),
        Verb::Reload => ask::reload(&places.socket()),
        Verb::Rules { verb } => rules::rules(&places.socket(), verb),
        Verb::Status { all, json } => ask::status(&places.socket(), json, all),
        Verb::Top(top) => top::top(&places.socket(), &top),
        Verb::Observe(wanted) => observe::observe(&places.socket(), &wanted),
        Verb::Devices { json } => devices::devices(&places.socket(), json),
        Verb::Doctor { file, json } => doctor::doctor(&places, file.as_deref(), json),
        Verb::Sysdump { file, mask_addresses, output } => {
            sysdump::sysdump(&places, file.as_deref(), mask_addresses, output)
        }
        Verb::Completions { shell } => emit::completions(shell),
        Verb::Man => emit::man(),
    }
}

impl Verb {
    /// What is logged unless the environment says otherwise: a one-shot command says by itself what it does.
    fn default_log(&self) -> &'static str {
        if matches!(self, Self::Run { .. }) { "info" } else { "warn" }
    }
}

/// Findings of a file carry their places and stand alone; everything else says whose error it is.
fn say_error(error: &anyhow::Error) {
    // A transparent error stands in its cause's place, so the chain does not have the cause itself.
    let findings = error.chain().find_map(|cause| match cause.downcast_ref::<reconcile::Error>() {
        Some(reconcile::Error::Config(findings)) => Some(findings),
        _ => cause.downcast_ref::<crate::config::Errors>(),
    });
    match findings {
        Some(findings) => eprintln!("{findings}"),
        None => eprintln!("lanekeeper: error: {}", causes(error)),
    }
}

/// The error and its causes, without those whose words an outer one has taken up.
fn causes(error: &anyhow::Error) -> String {
    error.chain().fold(String::new(), |said, cause| {
        let cause = cause.to_string();
        match said.is_empty() {
            true => cause,
            false if said.contains(&cause) => said,
            false => format!("{said}: {cause}"),
        }
    })
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    // A socket that breaks is an agent that does not answer.
    let io = error.chain().find_map(|cause| cause.downcast_ref::<std::io::Error>());
    io.is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
        && !error.chain().any(|cause| cause.is::<crate::control::Error>())
}

/// Runs what waits for things on a runtime of its own.
fn wait_for<T>(work: impl Future<Output = Result<T, reconcile::Error>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Runtime::new()?;
    Ok(runtime.block_on(work)?)
}

/// Writes all of `text` to stdout; fails rather than panics when nobody reads.
fn print(text: &str) -> anyhow::Result<()> {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

/// Seconds since 1970.
fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_cause_is_said_once() {
        let cause = std::io::Error::other("disk full");
        let error = anyhow::Error::new(cause).context("a.toml: disk full; make room").context("reload");
        assert_eq!(causes(&error), "reload: a.toml: disk full; make room");
    }

    #[test]
    fn a_pipe_that_breaks_is_fine_and_a_socket_that_does_is_not() {
        let broken = || std::io::Error::from(std::io::ErrorKind::BrokenPipe);
        assert!(is_broken_pipe(&anyhow::Error::new(broken())));
        let socket = crate::control::Error::Io { socket: "s".into(), what: "ask", source: broken() };
        assert!(!is_broken_pipe(&anyhow::Error::new(socket)));
    }

    #[test]
    fn the_socket_follows_the_runtime_folder_unless_named() {
        let places = |words: &[&str]| Cli::try_parse_from(words).unwrap().places;
        let moved = places(&["lanekeeper", "status", "--runtime-dir", "/tmp/a"]);
        assert_eq!(moved.socket(), Path::new("/tmp/a/control.sock"));
        let named = places(&["lanekeeper", "--socket", "/tmp/s", "reload", "--runtime-dir", "/tmp/a"]);
        assert_eq!(named.socket(), Path::new("/tmp/s"));
    }
}
