//! The demo itself, on a kernel that has ESP and XFRM interfaces.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::board::{self, Reading};
use super::claims::{self, Claim, Evidence};
use super::load::{self, Classed};
use crate::lab::capture::Capture;
use crate::lab::congestion::{self, Outcome};
use crate::lab::gateways::{Gateways, LanePackets};
use crate::lab::netns::run;
use crate::lab::scenario::{Keying, Scenario};
use crate::lab::traffic::{Flow, Traffic};
use crate::lab::{Family, Lab, Side};

/// Time under the congested WAN, one SA and lanes each.
const CONGESTION: Duration = Duration::from_secs(10);

/// How it is shown.
#[derive(Debug, Clone, Copy)]
pub struct Show {
    /// The table is drawn over itself, in colour: a person is looking.
    pub live: bool,
}

/// Plays it with the agent of `binary`; returns what held.
pub fn play(binary: &Path, show: Show) -> Result<Vec<Claim>> {
    println!("Two gateways, A and B, with strongSwan and Lanekeeper each; a host behind each; kernel {}.", kernel()?);
    let mut claims = {
        let began = Instant::now();
        let gateways = Gateways::start("demo", Scenario::four_classes(Keying::Psk), binary)?;
        let lanes = gateways.scenario().lanes().count();
        println!(
            "{lanes} lanes are up after {:.0} s, one CHILD_SA each way for each.\n",
            began.elapsed().as_secs_f32()
        );
        four_classes(&gateways, show)?
    };
    println!("\nWhy lanes: EF voice and bulk over a 4 Mbit/s WAN that lets EF overtake, replay window 32.\n");
    let one = congested("one SA", Scenario::one_sa(Keying::Psk), binary)?;
    let lanes = congested("lanes", Scenario::four_classes(Keying::Psk), binary)?;
    println!("\n{}", board::side_by_side(&one, &lanes));
    claims.extend(claims::congestion(&one, &lanes));
    Ok(claims)
}

/// Sends the demo's load through gateways of [`Scenario::four_classes`]; returns what held.
pub fn four_classes(gateways: &Gateways, show: Show) -> Result<Vec<Claim>> {
    let lanes: Vec<_> = gateways.scenario().lanes().collect();
    warm_up(gateways.lab())?;

    let flows = load::flows(gateways.lab());
    let before = Counts::read(gateways)?;
    let capture = Capture::start(&gateways.lab().wan())?;
    let traffic = Traffic::start(&flows.iter().map(|classed| classed.flow.clone()).collect::<Vec<_>>())?;
    watch(gateways, &traffic, &lanes, &before, show)?;
    let tallies = traffic.finish()?;
    let wan = capture.stop()?;
    let after = Counts::read(gateways)?;

    let classes: Vec<_> = gateways.scenario().classes.iter().map(|class| (class.name, class.lanes)).collect();
    let evidence = Evidence {
        flows: &flows,
        tallies: &tallies,
        kernel: after.since(&before, |counts| &counts.kernel),
        metrics: after.since(&before, |counts| &counts.metrics),
        wan: &wan,
    };
    loss(&flows, &evidence, &classes);
    Ok(claims::lanes(&evidence, &classes))
}

/// Redraws the table every second until all is sent.
fn watch(
    gateways: &Gateways,
    traffic: &Traffic,
    lanes: &[(&'static str, u8)],
    start: &Counts,
    show: Show,
) -> Result<()> {
    let began = Instant::now();
    let mut last = Reading::default();
    let mut drawn = 0;
    loop {
        let done = traffic.is_sent();
        let counts = [gateways.metric_packets(Side::A)?, gateways.metric_packets(Side::B)?];
        let [a, b] = [0, 1].map(|side| difference(&counts[side], &start.metrics[side]));
        let now = Reading::new(began.elapsed().as_secs_f64(), &a, &b);
        if show.live && drawn > 0 {
            print!("\x1b[{drawn}A\x1b[J");
        }
        if show.live || done {
            // At the end the bars show the whole run, not its last second.
            let since = if done { Reading::default() } else { last };
            let table = board::table(lanes, &now, &since, show.live);
            drawn = table.lines().count();
            print!("{table}");
        }
        if done {
            return Ok(());
        }
        last = now;
        thread::sleep(Duration::from_secs(1));
    }
}

fn loss(flows: &[Classed], evidence: &Evidence<'_>, classes: &[(&'static str, u8)]) {
    let total = |from: Side| {
        classes.iter().fold((0, 0), |(sent, lost), (class, _)| {
            let tally = load::sum(flows, evidence.tallies, class, from);
            (sent + tally.sent, lost + tally.lost())
        })
    };
    let ((a, a_lost), (b, b_lost)) = (total(Side::A), total(Side::B));
    println!("\nSent {a} packets from A, {a_lost} lost; {b} from B, {b_lost} lost.");
}

/// One load through the congested WAN with the replay window of the kernel's own default.
pub fn congested(name: &str, scenario: Scenario, binary: &Path) -> Result<Outcome> {
    println!("  {name}: {} s of load ...", CONGESTION.as_secs());
    let gateways = Gateways::start("why", Scenario { replay_window: Some(32), ..scenario }, binary)?;
    warm_up(gateways.lab())?;
    congestion::measure(gateways.lab(), CONGESTION)
}

/// A few packets each way and family, so that neighbours are known before anything is counted.
pub fn warm_up(lab: &Lab) -> Result<()> {
    let mut flows = Vec::new();
    for (from, family) in [Side::A, Side::B].into_iter().flat_map(|side| [(side, Family::V4), (side, Family::V6)]) {
        flows.push(Flow { count: Some(3), rate: 20, ..lab.flow("warm-up", from, family, 4000) });
    }
    Traffic::run(&flows)?;
    Ok(())
}

/// Lane counters of both gateways at one moment.
struct Counts {
    kernel: [LanePackets; 2],
    metrics: [LanePackets; 2],
}

impl Counts {
    fn read(gateways: &Gateways) -> Result<Self> {
        Ok(Self {
            kernel: [gateways.kernel_packets(Side::A)?, gateways.kernel_packets(Side::B)?],
            metrics: [gateways.metric_packets(Side::A)?, gateways.metric_packets(Side::B)?],
        })
    }

    fn since(&self, before: &Self, of: impl Fn(&Self) -> &[LanePackets; 2]) -> [LanePackets; 2] {
        [0, 1].map(|side| difference(&of(self)[side], &of(before)[side]))
    }
}

fn difference(now: &LanePackets, before: &LanePackets) -> LanePackets {
    let earlier = |lane| before.get(lane).copied().unwrap_or_default();
    now.iter().map(|(lane, packets)| (*lane, packets.saturating_sub(earlier(lane)))).collect()
}

fn kernel() -> Result<String> {
    let output = run(std::process::Command::new("uname").arg("-r"))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
