//! All engines side by side, each where packets come in to it.

use std::os::fd::OwnedFd;

use anyhow::{Result, bail};
use lanekeeper::kernel::dataplane::Trial;

use crate::alone::{Alone, CACHED};
use crate::bpf::{FRAMES, Injector, Program};
use crate::lists::{self, Kind, Lists};
use crate::peer::{Hook, Peer};
use crate::report::{Change, Load, OURS, Row, mode};
use crate::round::Taken;
use crate::stage::{DEVICE, Stage};
use crate::stats::{median, percentile};
use crate::witness::list::Family;

/// Rules that are added to each engine's longest list, one by one.
const ADDED: usize = 10;

/// The engines with lists of one length.
pub struct Live {
    /// Empty hooks: what each contender's cost is above.
    bare: [Bare; 3],
    contenders: Vec<Contender>,
}

/// A hook with nothing at it.
struct Bare {
    hook: Hook,
    stage: Stage,
    /// Of the last round.
    ns: f64,
    /// What keeps an empty program there.
    _link: Option<OwnedFd>,
}

/// An engine with its rules.
struct Contender {
    engine: &'static str,
    mode: &'static str,
    kind: Kind,
    hook: Hook,
    stage: Stage,
    ns: Vec<f64>,
    /// Ours, where no test run needs it, and what known flows cost.
    ours: Option<(Trial, Vec<f64>)>,
}

impl Bare {
    fn new(hook: Hook, six: bool, empty: &Program) -> Result<Self> {
        let stage = Stage::new()?;
        let link = match hook {
            Hook::Tc => Some(stage.within(|| empty.attach(stage.ifindex()))?),
            Hook::Nft => Peer::NftList.install(&stage, six, &[]).map(|_| None)?,
            Hook::Iptables => Peer::Iptables.install(&stage, six, &[]).map(|_| None)?,
        };
        Ok(Self { hook, stage, ns: 0.0, _link: link })
    }
}

impl Contender {
    fn ours(trial: &mut Trial, kind: Kind, mode: &'static str) -> Result<Self> {
        let stage = Stage::new()?;
        stage.within(|| Ok(trial.attach_ingress(DEVICE, "tunnel0")?))?;
        Ok(Self { engine: OURS, mode, kind, hook: Hook::Tc, stage, ns: Vec::new(), ours: None })
    }
}

impl Live {
    /// Gives each its rules, but for ours over the family's own list.
    pub fn new(
        family: &'static Family,
        rules: usize,
        lists: &Lists,
        empty: &Program,
        loads: &mut Vec<Load>,
    ) -> Result<Self> {
        let mut contenders = Vec::new();
        for (kind, mode) in [(Kind::Disjoint, mode::UNCACHED), (Kind::Exact, mode::EXACT)] {
            let mut trial = Trial::new()?;
            lists.of(kind).load(&mut trial)?;
            let ours = Contender::ours(&mut trial, kind, mode)?;
            contenders.push(Contender { ours: Some((trial, Vec::new())), ..ours });
        }
        for peer in Peer::ALL.into_iter().filter(|peer| rules <= peer.most_rules()) {
            let stage = Stage::new()?;
            let (engine, kind) = (peer.name(), peer.kind());
            let took = peer.install(&stage, family.six, &lists.of(kind).policy.rules)?;
            loads.push(Load { engine, family: family.name, rules, ms: took.as_secs_f64() * 1e3 });
            let (mode, hook) = (mode::UNCACHED, peer.hook());
            contenders.push(Contender { engine, mode, kind, hook, stage, ns: Vec::new(), ours: None });
        }
        let bare = |hook| Bare::new(hook, family.six, empty);
        let bare = [bare(Hook::Tc)?, bare(Hook::Nft)?, bare(Hook::Iptables)?];
        Ok(Self { bare, contenders })
    }

    /// Has packets come in to the program of the test runs too.
    pub fn share(&mut self, alone: &mut Alone) -> Result<()> {
        self.contenders.push(Contender::ours(&mut alone.trial, Kind::Overlapping, mode::OVERLAPPING)?);
        Ok(())
    }

    /// A round; nanoseconds of the way with an empty program on it.
    pub fn round(&mut self, lists: &Lists, injector: &mut Injector, counts: bool) -> Result<f64> {
        for bare in &mut self.bare {
            injector.fill(&lists.disjoint.frames);
            bare.ns = bare.stage.pass(injector.program(), 0)?;
        }
        let baseline = |hook| self.bare.iter().find(|bare| bare.hook == hook).map_or(0.0, |bare| bare.ns);
        for contender in &mut self.contenders {
            let list = lists.of(contender.kind);
            if let Some((trial, _)) = &mut contender.ours {
                trial.forget_flows()?;
            }
            injector.fill(&list.frames);
            // Ours has a default class: no packet stays without a mark.
            let marked = if contender.engine == OURS { FRAMES as u64 } else { list.hits };
            let ns = contender.stage.pass(injector.program(), marked)?;
            if counts {
                contender.ns.push(ns - baseline(contender.hook));
            }
            if let Some((_, cached)) = &mut contender.ours {
                injector.fill(&list.frames[..CACHED]);
                contender.stage.pass(injector.program(), marked)?;
                let ns = contender.stage.pass(injector.program(), marked)?;
                if counts {
                    cached.push(ns - baseline(contender.hook));
                }
            }
        }
        Ok(baseline(Hook::Tc))
    }

    /// Compares what was counted with what was put in, and puts down the rows.
    pub fn rows(&self, family: &'static Family, rules: usize, taken: &mut Taken) -> Result<()> {
        for Bare { hook, stage, .. } in &self.bare {
            let (injected, counted) = stage.tallies()?;
            if injected != counted {
                bail!("{hook:?} empty: {injected:?} injected, {counted:?} counted");
            }
        }
        for Contender { engine, mode, kind, stage, ns, ours, .. } in &self.contenders {
            let (injected, counted) = stage.tallies()?;
            if injected == counted {
                taken.rows.push(Row::new(engine, family.name, rules, mode, ns));
                if let (Some((_, cached)), Kind::Disjoint) = (ours, kind) {
                    taken.rows.push(Row::new(engine, family.name, rules, mode::CACHED, cached));
                }
            } else {
                let what = format!("{engine}, {mode}, {} of {rules}", family.name);
                taken.void.push(format!("{what}: {injected:?} injected, {counted:?} counted"));
            }
        }
        Ok(())
    }

    /// Adds rules to the engines whose longest lists these are.
    pub fn change(
        &self,
        family: &'static Family,
        rules: usize,
        lists: &Lists,
        changes: &mut Vec<Change>,
    ) -> Result<()> {
        for peer in Peer::ALL.into_iter().filter(|peer| rules == peer.most_rules()) {
            let engine = peer.name();
            let Some(contender) = self.contenders.iter().find(|contender| contender.engine == engine) else {
                continue;
            };
            let add = |rule| Ok(peer.add(&contender.stage, family.six, &rule)?.as_secs_f64() * 1e3);
            let added = lists::more(&lists.of(contender.kind).policy, family.six).take(ADDED).map(add);
            let ms = added.collect::<Result<Vec<f64>>>()?;
            let (ms_median, ms_p99) = (median(&ms), percentile(&ms, 99));
            changes.push(Change { engine, family: family.name, rules, ms_median, ms_p99 });
        }
        Ok(())
    }
}
