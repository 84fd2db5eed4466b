//! `observe`: packets as they pass, until a signal, a number of them, or the agent's end.

use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use clap::Args;
use ipnet::IpNet;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

use super::{Outcome, print};
use crate::control::{Reply, Request, client};
use crate::observe::{Filter, MOST, RATE, Unseen, Wish, Writer};

/// Which packets, and how.
#[derive(Debug, Args)]
pub struct Observe {
    /// Only packets of this class, before any fallback; each of these may be given several times
    #[arg(long, value_name = "CLASS")]
    class: Vec<String>,
    /// Only this tenant's
    #[arg(long, value_name = "TENANT")]
    tenant: Vec<String>,
    /// Only into this tunnel and out of it
    #[arg(long, value_name = "TUNNEL")]
    tunnel: Vec<String>,
    /// Only those that this rule decided on
    #[arg(long, value_name = "RULE")]
    rule: Vec<String>,
    /// Only for this reason: fallback, blocked, unparsed, or one of theirs: no_lane, not_carried, tenant, truncated, ...
    #[arg(long, value_name = "REASON")]
    reason: Vec<String>,
    /// Only from an address in this prefix
    #[arg(long, value_name = "PREFIX")]
    from: Vec<IpNet>,
    /// Only to an address in this prefix
    #[arg(long, value_name = "PREFIX")]
    to: Vec<IpNet>,
    /// Packets a second at most, 1 to 1000; after a second without any as many at once
    #[arg(long, value_name = "N", default_value_t = RATE, value_parser = clap::value_parser!(u32).range(1..=i64::from(MOST)))]
    rate: u32,
    /// End after so many packets
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// One JSON object a packet, its names those of explain --json
    #[arg(long)]
    json: bool,
    /// Write their first 128 bytes, from the IP header on, to this file too, for tcpdump -r
    #[arg(long, value_name = "FILE")]
    pcap: Option<PathBuf>,
}

impl Observe {
    fn wish(&self) -> Wish {
        let Self { class, tenant, tunnel, rule, reason, from, to, rate, pcap, .. } = self;
        let filter = Filter {
            class: class.clone(),
            tenant: tenant.clone(),
            tunnel: tunnel.clone(),
            rule: rule.clone(),
            reason: reason.clone(),
            from: from.clone(),
            to: to.clone(),
        };
        Wish { filter, rate: *rate, bytes: pcap.is_some() }
    }
}

/// Runs it.
pub fn observe(socket: &Path, observe: &Observe) -> anyhow::Result<Outcome> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let stream = client::open(socket, &Request::Observe { wish: observe.wish() })?;
    stream.set_nonblocking(true)?;
    let (mut shown, mut unseen) = (0, Unseen::default());
    let outcome = runtime.block_on(follow(stream, observe, &mut shown, &mut unseen));
    if let Ok(Some(_)) | Err(Ended::Agent) = outcome {
        eprintln!("lanekeeper: {}", unseen.text(shown));
    }
    match outcome {
        Ok(_) => Ok(Outcome::Fine),
        Err(Ended::Agent) => bail!("the agent has ended, or does not want to be observed any more; see its log"),
        Err(Ended::Wrong(error)) => Err(error),
    }
}

/// How it ended, if not as it should.
enum Ended {
    /// The other end hung up.
    Agent,
    Wrong(anyhow::Error),
}

impl<E: Into<anyhow::Error>> From<E> for Ended {
    fn from(error: E) -> Self {
        Self::Wrong(error.into())
    }
}

/// Shows what comes; something once it has begun.
async fn follow(
    stream: std::os::unix::net::UnixStream,
    observe: &Observe,
    shown: &mut u64,
    unseen: &mut Unseen,
) -> Result<Option<()>, Ended> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut lines = BufReader::new(tokio::net::UnixStream::from_std(stream)?);
    let (mut line, mut begun, mut pcap) = (Vec::new(), None, None);
    while observe.count.is_none_or(|most| *shown < most) {
        tokio::select! {
            read = lines.read_until(b'\n', &mut line) => {
                if read.context("cannot read what the agent says")? == 0 {
                    return Err(Ended::Agent);
                }
            }
            _ = terminate.recv() => return Ok(begun),
            _ = interrupt.recv() => return Ok(begun),
        }
        match Reply::decode(&line)? {
            Reply::Observing {} => {
                begun = Some(());
                // Not before: what is there stays where one may not observe.
                pcap = observe.pcap.as_deref().map(Writer::create).transpose()?;
            }
            Reply::Seen { seen } => {
                if let Some(pcap) = &mut pcap {
                    pcap.add(&seen)?;
                }
                print(&((if observe.json { seen.json() } else { seen.text() }) + "\n"))?;
                *shown += 1;
            }
            Reply::Unseen { unseen: told } => *unseen = told,
            Reply::Refused { error } => return Err(Ended::Wrong(anyhow!(error))),
            Reply::Done { .. } | Reply::Status { .. } | Reply::Sample { .. } | Reply::Rules { .. } => {
                return Err(Ended::Wrong(anyhow!("the agent answered a question that was not asked")));
            }
        }
        line.clear();
    }
    Ok(begun)
}
