//! How a list is gone through: half of the packets over the list as it was loaded, half while it changes. Then rules come,
//! go and move before each batch, and in every other batch one comes or moves to and fro as long as packets run. A packet
//! that is under way meanwhile may be told by the list before or by the one after, and by nothing else.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context, Result, bail};
use lanekeeper::model::Verdict;
use lanekeeper::policy::{Policy, Rule};

use crate::change::Change;
use crate::subject::{Host, Kernel, run};
use crate::tally::Tally;
use crate::witness::list::{self, Family};
use crate::witness::oracle::Judgement;
use crate::witness::packet::Packet;
use crate::witness::random::Random;

/// Packets that are judged together.
const BATCH: usize = 10_000;
/// Changes before a batch.
const CHANGES: usize = 10;
/// Rules that are in no list at first.
const STRANGERS: usize = 997;
/// What packets come with.
const MARKS: [u32; 3] = [0, u32::MAX, 0x1234_5678];
/// Wrong verdicts of a list that are shown.
const SHOWN: usize = 3;

/// One list, gone through once.
pub struct Course<'a> {
    family: &'static Family,
    host: Host,
    kernel: &'a mut Kernel,
    strangers: Vec<Rule>,
    random: Random,
    tally: Tally,
}

/// How often a list that changes while packets run went there and back.
struct Toggled {
    /// Those that began before the last packet's end.
    edits_during: usize,
    /// Whether there was room for it.
    is_edited: bool,
    /// Whether it ended as the list after.
    is_there: bool,
}

impl<'a> Course<'a> {
    /// Makes the list and loads it.
    pub fn new(family: &'static Family, rules: usize, kernel: &'a mut Kernel) -> Result<Self> {
        let host = Host::new(list::policy(family, rules), kernel.dataplane.registry()?)?;
        kernel.load(&host.tables)?;
        let strangers = list::policy(family, STRANGERS).rules;
        Ok(Self { family, host, kernel, strangers, random: Random::new(rules as u64), tally: Tally::default() })
    }

    /// All of it.
    pub fn run(mut self, packets: usize) -> Result<Tally> {
        let batch = BATCH.min(packets.div_ceil(4)).max(1);
        let mut turn = 0;
        while self.tally.packets < packets {
            let len = batch.min(packets - self.tally.packets);
            if self.tally.packets < packets / 2 {
                let packets = self.packets(len, &[]);
                self.standing(&packets)?;
            } else {
                let changed = self.change()?;
                if turn % 2 == 0 {
                    let packets = self.packets(len, &changed);
                    self.standing(&packets)?;
                } else {
                    self.changing(len)?;
                }
                turn += 1;
            }
        }
        Ok(self.tally)
    }

    /// Packets that hit rules, that come near to them, and that do neither; half of them at those that changed, if any did.
    fn packets(&mut self, len: usize, changed: &[Rule]) -> Vec<Packet> {
        let aim = Policy { rules: changed.to_vec(), ..list::policy(self.family, 0) };
        let (random, family, policy) = (&mut self.random, self.family, &self.host.policy);
        let mut packets: Vec<Packet> = Vec::with_capacity(len);
        while packets.len() < len {
            let policy = if !changed.is_empty() && random.one_in(2) { &aim } else { policy };
            let packet = match random.below(8) {
                // A flow's second packet.
                0 if !packets.is_empty() => random.pick(&packets),
                1 => list::crossed(random, family, policy),
                2 => list::bordering(random, family, policy),
                _ => list::packet(random, family, policy),
            };
            packets.push(Packet { mark: random.pick(&MARKS), ..packet });
        }
        packets
    }

    /// Changes the list in place; the rules that came, went and moved.
    fn change(&mut self) -> Result<Vec<Rule>> {
        let mut changed = Vec::new();
        for _ in 0..CHANGES {
            let change = Change::any(&mut self.random, &self.host.policy, &self.strangers);
            for step in &change.there {
                let edited = Kernel::edit(&mut self.kernel.dataplane, &self.host.policy, step)?;
                let same = self.host.edit_tables(step)?;
                self.host.edit_list(step);
                if !edited || !same {
                    self.load_anew()?;
                }
                self.tally.edits_between += 1;
            }
            changed.push(change.rule);
        }
        self.kernel.follow(&self.host.tables)?;
        Ok(changed)
    }

    /// Where no room is left for an edit.
    fn load_anew(&mut self) -> Result<()> {
        let policy = self.host.policy.clone();
        self.host = Host::new(policy, self.kernel.dataplane.registry()?)?;
        self.kernel.load(&self.host.tables)
    }

    /// Packets over a list that nobody changes.
    fn standing(&mut self, packets: &[Packet]) -> Result<()> {
        let trial = self.kernel.trial.as_mut().context("no list is loaded")?;
        let host = &self.host;
        let (said, kernel) = thread::scope(|scope| {
            let said = scope.spawn(|| in_parallel(packets, |some| (host.judge(some), host.classify(some))));
            let kernel = run(trial, packets);
            (said.join(), kernel)
        });
        let (judgements, host): (Vec<_>, Vec<_>) = joined(said)?.into_iter().unzip();
        let (judgements, host) = (judgements.concat(), host.concat());
        for (((packet, judgement), host), kernel) in packets.iter().zip(judgements).zip(host).zip(kernel?) {
            let right = |verdict: &Verdict| self.is(verdict, &judgement) && self.is_marked(verdict, packet);
            let (wrong_host, wrong_kernel) = (!right(&host), !right(&kernel) || kernel != host);
            if wrong_host || wrong_kernel {
                self.show(packet, &[judgement], &host, &kernel);
            }
            self.tally.packets += 1;
            self.tally.wrong_host += usize::from(wrong_host);
            self.tally.wrong_kernel += usize::from(wrong_kernel);
        }
        Ok(())
    }

    /// Packets while a rule comes and goes, or moves to and fro.
    fn changing(&mut self, len: usize) -> Result<()> {
        let change = match self.random.one_in(2) {
            true => Change::come(&mut self.random, &self.host.policy, &self.strangers),
            false => Change::step_aside(&mut self.random, &self.host.policy),
        };
        let packets = self.packets(len, std::slice::from_ref(&change.rule));
        let (toggled, kernel) = self.toggle(&change, &packets)?;
        self.tally.edits_during += toggled.edits_during;

        let before = in_parallel(&packets, |some| (self.host.judge(some), self.host.classify(some)));
        let (before, host): (Vec<_>, Vec<_>) = before.into_iter().unzip();
        let (before, host) = (before.concat(), host.concat());
        change.there.iter().for_each(|step| self.host.edit_list(step));
        let after = in_parallel(&packets, |some| self.host.judge(some)).concat();
        // The kernel's rules are named by the list before, which does not know the number that the one which changes has
        // after it came back.
        let may_be = |verdict: &Verdict, judged: &Judgement, place: Option<usize>, changing: Option<usize>| {
            let is_changing = judged.1.is_some() && judged.1 == changing;
            let rule = verdict.rule == place || is_changing && (verdict.rule.is_none() || verdict.rule == change.from);
            rule && (verdict.tenant, verdict.class) == (judged.0, judged.2)
        };
        for ((((packet, before), after), host), kernel) in packets.iter().zip(before).zip(after).zip(host).zip(kernel) {
            let is_before = may_be(&kernel, &before, before.1, change.from);
            let is_after = may_be(&kernel, &after, after.1.and_then(|place| change.place_before(place)), change.to);
            let wrong_host = !self.is(&host, &before) || !self.is_marked(&host, packet);
            let wrong_kernel = !(is_before || is_after) || !self.is_marked(&kernel, packet);
            if wrong_host || wrong_kernel {
                self.show(packet, &[before, after], &host, &kernel);
            }
            self.tally.packets += 1;
            self.tally.wrong_host += usize::from(wrong_host);
            self.tally.wrong_kernel += usize::from(wrong_kernel);
        }

        let ways = match toggled {
            Toggled { is_edited: false, .. } => vec![],
            Toggled { is_there: true, .. } => vec![&change.there],
            Toggled { is_there: false, .. } => vec![&change.there, &change.back],
        };
        for step in ways.into_iter().flatten() {
            if !self.host.edit_tables(step)? {
                bail!("the kernel had room for {step:?} and the host has none");
            }
        }
        if !toggled.is_there {
            change.back.iter().for_each(|step| self.host.edit_list(step));
        }
        self.kernel.follow(&self.host.tables)
    }

    /// Changes the kernel's list there and back for as long as packets run.
    fn toggle(&mut self, change: &Change, packets: &[Packet]) -> Result<(Toggled, Vec<Verdict>)> {
        let Kernel { dataplane, trial, .. } = &mut *self.kernel;
        let trial = trial.as_mut().context("no list is loaded")?;
        let policy = &self.host.policy;
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            let kernel = scope.spawn(|| {
                let verdicts = run(trial, packets);
                done.store(true, Ordering::Relaxed);
                verdicts
            });
            let mut toggled = Toggled { edits_during: 0, is_edited: false, is_there: false };
            let mut edit = || -> Result<()> {
                for steps in [&change.there, &change.back].into_iter().cycle() {
                    for step in steps {
                        let is_during = !done.load(Ordering::Relaxed);
                        // No room for it is found at the first step: what was there once has room again.
                        if !Kernel::edit(dataplane, policy, step)? {
                            return Ok(());
                        }
                        toggled.is_edited = true;
                        toggled.edits_during += usize::from(is_during);
                    }
                    toggled.is_there = !toggled.is_there;
                    if done.load(Ordering::Relaxed) {
                        break;
                    }
                }
                Ok(())
            };
            let edited = edit();
            let kernel = joined(kernel.join())?;
            edited?;
            Ok((toggled, kernel?))
        })
    }

    fn is(&self, verdict: &Verdict, judgement: &Judgement) -> bool {
        (verdict.tenant, verdict.rule, verdict.class) == *judgement
    }

    /// Whether the mark is that of a lane of the class, with all other bits as they came.
    fn is_marked(&self, verdict: &Verdict, packet: &Packet) -> bool {
        let policy = &self.host.policy;
        let ours = verdict.mark & policy.mark_mask;
        let lanes = &policy.tunnels[0].lanes;
        verdict.mark & !policy.mark_mask == packet.mark & !policy.mark_mask
            && lanes.iter().any(|lane| lane.class == verdict.class && lane.mark == ours)
    }

    fn show(&self, packet: &Packet, judgements: &[Judgement], host: &Verdict, kernel: &Verdict) {
        if self.tally.wrong_host + self.tally.wrong_kernel < SHOWN {
            let (family, rules) = (self.family.name, self.host.policy.rules.len());
            eprintln!("{family} of {rules}: {packet:?}\noracle {judgements:?}\nhost {host:?}\nkernel {kernel:?}");
        }
    }
}

/// What is said of the packets, by as many threads as there are processors: a piece for each, in order.
fn in_parallel<T: Send>(packets: &[Packet], say: impl Fn(&[Packet]) -> T + Sync) -> Vec<T> {
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let say = &say;
    thread::scope(|scope| {
        let pieces = packets.chunks(packets.len().div_ceil(threads).max(1));
        let said: Vec<_> = pieces.map(|piece| scope.spawn(move || say(piece))).collect();
        said.into_iter().map(|said| said.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    })
}

fn joined<T>(ended: thread::Result<T>) -> Result<T> {
    ended.or_else(|panic| std::panic::resume_unwind(panic))
}
