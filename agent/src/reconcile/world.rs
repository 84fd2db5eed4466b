//! This machine as this room handles it: looked at as a whole, changed one operation at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use super::charon::{Charon, Found, loaded};
use super::live::Live;
use super::{Error, Wanted, wan};
use crate::compile::{LaneBits, Registry, Tables, compile};
use crate::failpoint::pass;
use crate::ike::{self, Lack, Load};
use crate::kernel::dataplane::{self, Dataplane};
use crate::kernel::{Netlink, SaCounts, apply, elsewhere, interfaces, namespace, sa_counts, snapshot, taken_to};
use crate::lane::LaneId;
use crate::plan::{Desired, Extent, Link, Observed, Op, Plan, Spared, diff};
use crate::policy::{Classify, Keying, Policy, Rule, Tunnel};

/// The data path, shared with what reads its counters.
pub type SharedDataplane = Arc<Mutex<Dataplane>>;

/// Kernel, data path and charon.
pub struct World {
    netlink: Netlink,
    bpffs: PathBuf,
    dataplane: Option<SharedDataplane>,
    charon: Option<Charon>,
    /// Cgroups that rules name and that were not there, so that each is said once.
    missing: BTreeSet<String>,
    /// Devices that the last look missed; `None` before the first one.
    missed: Option<BTreeSet<String>>,
    /// It found some in other network namespaces.
    has_elsewhere: bool,
    /// Where programs were in the last look.
    programs: Option<Programs>,
    /// The tables that were loaded in the last look, if their lanes are known to the data path.
    loaded: Option<LoadedTables>,
    /// The last look missed what another one has to miss, too.
    in_doubt: bool,
    /// CHILD_SAs of clients that the tables have no room for, likewise.
    uncounted: usize,
}

/// What an absent charon means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WithoutCharon {
    /// Nothing may be changed.
    Refuse,
    /// The rest is; connections follow when it is back.
    Proceed,
}

/// What there should be, what there is, and the way from here to there.
#[derive(Debug)]
pub struct Survey {
    /// The way; empty where nothing is to be done.
    pub plan: Plan,
    tables: Compiled,
    /// Lanes of charon's of which the kernel does not have what a CHILD_SA takes.
    lacking: BTreeMap<LaneId, Lack>,
    /// Why charon could not be asked, if so.
    pub charon: Option<crate::vici::Error>,
}

/// What a survey holds of the tables: those that are loaded already are not kept.
#[derive(Debug)]
enum Compiled {
    /// There are to be none.
    None,
    /// To be loaded.
    New(Box<Tables>),
    /// Loaded; the data path is to learn their lanes.
    Loaded(LaneBits, LoadedTables),
    /// Loaded, and their lanes known.
    Known,
}

/// Tables, and what they were made of: as long as the one is live for the other, nothing has to be compiled to know it.
#[derive(Debug, Clone)]
struct LoadedTables {
    /// A policy is another one once it changes. It is not kept from going.
    policy: Weak<Policy>,
    digest: u64,
}

impl LoadedTables {
    /// Whether they are what is live, and what that policy would become.
    fn are(&self, live: Option<u64>, policy: &Arc<Policy>) -> bool {
        live == Some(self.digest) && std::ptr::eq(self.policy.as_ptr(), Arc::as_ptr(policy))
    }
}

/// Where programs of ours are.
#[derive(Debug, PartialEq, Eq)]
struct Programs {
    attached: Vec<(String, String)>,
    ports: BTreeMap<String, Option<Classify>>,
    sockets: Extent,
}

impl Programs {
    fn of(seen: &dataplane::Observed) -> Self {
        Self { attached: seen.attached.clone(), ports: seen.ports.clone(), sockets: seen.sockets }
    }
}

impl World {
    /// Opens netlink; the data path is opened when it is first to be changed.
    pub fn open(bpffs: &Path) -> Result<Self, Error> {
        Ok(Self {
            netlink: Netlink::open()?,
            bpffs: bpffs.into(),
            dataplane: None,
            charon: None,
            missing: BTreeSet::new(),
            missed: None,
            has_elsewhere: false,
            programs: None,
            loaded: None,
            in_doubt: false,
            uncounted: 0,
        })
    }

    /// The data path, loaded now if it is not yet.
    pub fn dataplane(&mut self) -> Result<SharedDataplane, Error> {
        let opened = match &self.dataplane {
            Some(opened) => opened,
            None => self.dataplane.insert(Arc::new(Mutex::new(Dataplane::open(&self.bpffs)?))),
        };
        Ok(Arc::clone(opened))
    }

    /// Has connections kept by that task from now on; the one before, if any, is handed back.
    pub fn set_charon(&mut self, charon: Option<Charon>) -> Option<Charon> {
        std::mem::replace(&mut self.charon, charon)
    }

    /// The task that keeps connections.
    pub fn charon(&self) -> Option<&Charon> {
        self.charon.as_ref()
    }

    /// Whether charon can be asked.
    pub async fn charon_answers(&self, wanted: &Wanted) -> bool {
        loaded(&wanted.policy.vici).await.is_ok()
    }

    /// Looks at everything of ours, and at what `wanted` asks beyond it.
    pub async fn survey(&mut self, wanted: &Wanted) -> Result<Survey, Error> {
        let (mut seen, mut registry) = self.look_at_dataplane()?;
        self.programs = Some(Programs::of(&seen));
        let (digest, tables) = match self.loaded.as_ref().filter(|loaded| loaded.are(seen.digest, &wanted.policy)) {
            Some(loaded) => (loaded.digest, Compiled::Known),
            None => {
                let tables = compile(&wanted.policy, &mut registry)?;
                let loaded = LoadedTables { policy: Arc::downgrade(&wanted.policy), digest: tables.digest };
                if loaded.are(seen.digest, &wanted.policy) {
                    (loaded.digest, Compiled::Loaded(tables.lanes, loaded))
                } else {
                    (loaded.digest, Compiled::New(Box::new(tables)))
                }
            }
        };
        let mut desired = wanted.desired.clone();
        desired.tables = Some(digest);
        // Programs that serve another tunnel by a device, as before it was called otherwise, are none of this one's.
        let serves = |device: &str, tunnel: &String| wanted.tunnel_of(device).is_none_or(|wanted| wanted == *tunnel);
        let moved = std::mem::take(&mut seen.moved);
        seen.attached.retain(|(device, tunnel)| serves(device, tunnel));
        let mut observed = self.look(seen).await?;
        self.look_into_namespaces(&desired, moved, serves, &mut observed).await?;
        self.look_elsewhere(&desired, &mut observed).await?;
        let vici = &wanted.policy.vici;
        let charon = self.look_at_charon(vici, &desired, &mut observed).await;
        let plan = diff(&desired, &observed)?;
        Ok(Survey { plan, tables, lacking: lacking(&wanted.policy, &observed), charon })
    }

    /// The way to a machine without us.
    pub async fn survey_for_nothing(&self, vici: &Path) -> Result<Survey, Error> {
        let desired = Desired::default();
        // Pins of another version cannot be looked into, and go all the same.
        let (seen, _) = self.look_at_dataplane().unwrap_or_default();
        let mut observed = self.look(seen).await?;
        observed.elsewhere = self.elsewhere(&observed).await?;
        let charon = loaded(vici).await.map(|found| observed.connections = found).err();
        Ok(Survey { plan: diff(&desired, &observed)?, tables: Compiled::None, lacking: BTreeMap::new(), charon })
    }

    async fn look(&self, dataplane: dataplane::Observed) -> Result<Observed, Error> {
        let mut observed = snapshot(&self.netlink).await?;
        observed.tables = dataplane.digest;
        observed.attached = dataplane.attached.into_iter().map(|(device, _)| device).collect();
        observed.ports = dataplane.ports;
        observed.sockets = dataplane.sockets;
        Ok(observed)
    }

    /// Devices in the network namespaces that they are to be in are ours like any other, and so are those that we once took to one.
    /// `moved` are the numbers of these, as far as they have programs, with the tunnels that those serve.
    async fn look_into_namespaces(
        &self,
        desired: &Desired,
        mut moved: BTreeMap<u32, String>,
        serves: impl Fn(&str, &String) -> bool,
        observed: &mut Observed,
    ) -> Result<(), Error> {
        observed.keeps_programs = dataplane::has_tcx();
        let mut found = BTreeMap::new();
        for link in &desired.links {
            let Some(name) = &link.namespace else { continue };
            let Some(number) = namespace(&self.netlink, name).await? else { continue };
            observed.namespaces.insert(name.clone(), number);
            if let Some(taken) = taken_to(&self.netlink, number).await?.remove(&link.name) {
                found.insert(link.name.clone(), (name.clone(), taken));
            }
        }
        if moved.keys().any(|index| found.values().all(|(_, taken)| taken.index != *index)) {
            for (name, taken) in elsewhere(&self.netlink).await? {
                if moved.contains_key(&taken.index) {
                    // What it was called the file has forgotten.
                    let number = taken.namespace.to_string();
                    observed.namespaces.insert(number.clone(), taken.namespace);
                    found.entry(name).or_insert((number, taken));
                }
            }
        }
        for (name, (namespace, taken)) in
            found.into_iter().filter(|(name, _)| !observed.links.contains_key(name)).collect::<Vec<_>>()
        {
            if moved.remove(&taken.index).is_some_and(|tunnel| serves(&name, &tunnel)) {
                observed.attached.insert(name.clone());
            }
            observed.links.insert(name, Link { namespace: Some(namespace), ..taken.link });
        }
        Ok(())
    }

    /// A device that is still missing in a second look may be in another network namespace: to look into all of them takes time.
    async fn look_elsewhere(&mut self, desired: &Desired, observed: &mut Observed) -> Result<(), Error> {
        let names = desired.links.iter().map(|link| &link.name);
        let missed: BTreeSet<String> = names.filter(|name| !observed.links.contains_key(*name)).cloned().collect();
        let again = self.missed.as_ref().is_none_or(|before| !before.is_disjoint(&missed));
        if again && !missed.is_empty() || self.has_elsewhere {
            observed.elsewhere = self.elsewhere(observed).await?;
            self.has_elsewhere = !observed.elsewhere.is_empty();
        }
        self.missed = Some(missed);
        Ok(())
    }

    /// Those that nobody here has taken anywhere.
    async fn elsewhere(&self, observed: &Observed) -> Result<BTreeMap<String, i32>, Error> {
        let found = elsewhere(&self.netlink).await?.into_iter();
        let others = found.filter(|(name, _)| !observed.links.contains_key(name));
        Ok(others.map(|(name, taken)| (name, taken.namespace)).collect())
    }

    /// Without opening it: that would put our programs in the place of those that run.
    fn look_at_dataplane(&self) -> Result<(dataplane::Observed, Registry), Error> {
        match &self.dataplane {
            Some(opened) => {
                let opened = lock(opened);
                Ok((opened.observed()?, opened.registry()?))
            }
            None => Ok(Dataplane::peek(&self.bpffs)?.unwrap_or_default()),
        }
    }

    /// A charon that cannot be asked is taken to have what it should: there is nothing to be done about it now.
    async fn look_at_charon(
        &self,
        vici: &Path,
        desired: &Desired,
        observed: &mut Observed,
    ) -> Option<crate::vici::Error> {
        match loaded(vici).await {
            Ok(found) => {
                observed.connections = found;
                None
            }
            // Without tunnels of its own charon need not be there.
            Err(_) if desired.connections.is_empty() => None,
            Err(error) => {
                observed.connections = desired.connections.clone();
                Some(error)
            }
        }
    }

    /// Carries the plan out, in its order; stops at the first operation that fails, but for what tunnels go on without: what of
    /// that failed comes back with the reason. `live` is told before lanes get other marks, and when the tables have them.
    pub async fn carry_out(
        &mut self,
        wanted: &Wanted,
        survey: &Survey,
        live: &Live,
    ) -> Result<BTreeMap<Spared, Error>, Error> {
        match &survey.tables {
            Compiled::None => {}
            Compiled::New(_) => {
                self.loaded = None;
                live.leave(&wanted.policy)?;
                pass("lanes left")?;
            }
            Compiled::Loaded(lanes, loaded) => {
                lock(&*self.dataplane()?).adopt(lanes.clone());
                self.loaded = Some(loaded.clone());
                self.know_interfaces().await?;
            }
            Compiled::Known => self.know_interfaces().await?,
        }
        let (before, after) = survey.plan.ops.split_at(before_lanes(&survey.plan.ops));
        let mut failed = BTreeMap::new();
        for op in before {
            self.attempt(wanted, survey, op, &mut failed).await?;
        }
        live.install(&wanted.policy)?;
        pass("lanes installed")?;
        for op in after {
            self.attempt(wanted, survey, op, &mut failed).await?;
        }
        for map in lock(&*self.dataplane()?).pin_again()? {
            tracing::warn!("put back: pin of map {map}");
            live.repaired("tables");
        }
        if !survey.plan.ops.is_empty() {
            // Packets also come in by tunnels, whose devices may be new.
            self.know_interfaces().await?;
        }
        self.know_cgroups(&wanted.policy)?;
        self.guide_sockets(&wanted.policy)?;
        self.dress_wan(wanted)?;
        // By now all that another version's programs did is done by this one's.
        lock(&*self.dataplane()?).succeed()?;
        lock(&*self.dataplane()?).keep_links()?;
        pass("all carried out")?;
        Ok(failed)
    }

    /// Tells the data path which cgroups are those that rules name. One that is not there yet matches nothing until it is: a
    /// service that has not started keeps no gateway from its work.
    pub fn know_cgroups(&mut self, policy: &Policy) -> Result<(), Error> {
        let missing = lock(&*self.dataplane()?).find_cgroups()?;
        for path in missing.difference(&self.missing) {
            // Of names in the registry whose rules are gone nobody wants to hear.
            for rule in policy.rules.iter().filter(|rule| rule.cgroup.contains(path)) {
                let rule = rule_label(rule);
                tracing::warn!("{rule}: cgroup {path:?} is not there: nothing matches it until it is");
            }
        }
        for path in self.missing.difference(&missing) {
            tracing::info!("cgroup {path:?} is there");
        }
        self.missing = missing;
        Ok(())
    }

    /// Tells the data path how sockets are marked by the rules that it has.
    pub fn guide_sockets(&mut self, policy: &Policy) -> Result<(), Error> {
        Ok(lock(&*self.dataplane()?).guide_sockets(policy)?)
    }

    /// Tells the data path by which devices packets may come in.
    pub async fn know_interfaces(&mut self) -> Result<(), Error> {
        let found = interfaces(&self.netlink).await?;
        Ok(lock(&*self.dataplane()?).set_interfaces(&found)?)
    }

    /// The devices that hand packets on to others below them.
    pub async fn stacked(&self) -> Result<BTreeSet<u32>, Error> {
        let found = interfaces(&self.netlink).await?.into_iter();
        Ok(found.filter(|interface| interface.stacked).map(|interface| interface.ifindex).collect())
    }

    /// Devices by which ESP leaves come and go without a word to us, and another process may have dressed some: each time
    /// the kernel is asked which are.
    fn dress_wan(&mut self, wanted: &Wanted) -> Result<(), Error> {
        let (leaving, arriving) = (wan::leaving(&wanted.policy, dataplane::has_tcx())?, wan::arriving(&wanted.policy)?);
        let dataplane = self.dataplane()?;
        let mut dataplane = lock(&*dataplane);
        dataplane.set_wan(&leaving)?;
        Ok(dataplane.set_arrivals(&arriving)?)
    }

    /// What the kernel counts of the SAs of our lanes.
    pub async fn sa_counts(&self, wanted: &Wanted) -> Result<Vec<SaCounts>, Error> {
        let adopted =
            wanted.learned.values().flat_map(|traits| traits.clients.keys().copied().chain([traits.reqid])).collect();
        Ok(sa_counts(&self.netlink, &adopted).await?)
    }

    /// Carries out a plan towards nothing; returns how many things went.
    pub async fn take_down(&mut self, survey: &Survey, vici: &Path) -> Result<usize, Error> {
        for op in &survey.plan.ops {
            pass(format_args!("op {op}"))?;
            tracing::info!("{op}");
            match op {
                Op::Detach { device } => lock(&*self.dataplane()?).detach(device)?,
                Op::DetachPort { interface } => lock(&*self.dataplane()?).detach_port(interface)?,
                Op::DetachSockets => lock(&*self.dataplane()?).detach_sockets()?,
                Op::RemoveDataplane => self.remove_dataplane()?,
                Op::UnloadConnection { name } => ike::remove_one(vici, key_of(name)).await?,
                netlink => apply(&self.netlink, netlink).await?,
            }
        }
        Ok(survey.plan.ops.len())
    }

    async fn unload(&mut self, name: &str) -> Result<(), Error> {
        if let Some(charon) = &mut self.charon {
            charon.unload(key_of(name)).await?;
        }
        Ok(())
    }

    /// Whose failure tunnels go on without is an entry of `failed`.
    async fn attempt(
        &mut self,
        wanted: &Wanted,
        survey: &Survey,
        op: &Op,
        failed: &mut BTreeMap<Spared, Error>,
    ) -> Result<(), Error> {
        match (self.execute(wanted, survey, op).await, op.spared()) {
            (Err(error), Some(spared)) => drop(failed.insert(spared, error)),
            (done, _) => done?,
        }
        Ok(())
    }

    async fn execute(&mut self, wanted: &Wanted, survey: &Survey, op: &Op) -> Result<(), Error> {
        pass(format_args!("op {op}"))?;
        tracing::info!("{op}");
        match op {
            Op::LoadTables { .. } => {
                if let Compiled::New(tables) = &survey.tables {
                    if std::mem::replace(&mut self.uncounted, tables.uncounted) < tables.uncounted {
                        let clients = tables.uncounted;
                        tracing::warn!(
                            clients,
                            "no room in the tables for CHILD_SAs of clients: what comes in by them is not counted"
                        );
                    }
                    lock(&*self.dataplane()?).load(tables)?;
                }
                self.know_interfaces().await?;
            }
            Op::Attach { device } => {
                let tunnel = wanted.tunnel_of(device).ok_or_else(|| Error::NoTunnel { device: device.clone() })?;
                lock(&*self.dataplane()?).attach(device, &tunnel)?;
                if wanted.is_ingress(device, &tunnel) {
                    // Made anew it has another number.
                    self.know_interfaces().await?;
                }
            }
            Op::Detach { device } => lock(&*self.dataplane()?).detach(device)?,
            Op::SetNamespace { name, .. } => {
                lock(&*self.dataplane()?).leave(name)?;
                apply(&self.netlink, op).await?;
            }
            Op::RemoveElsewhere { .. } => {
                apply(&self.netlink, op).await?;
                lock(&*self.dataplane()?).forget()?;
            }
            Op::AttachPort { interface, classify } => {
                let found = interfaces(&self.netlink).await?;
                lock(&*self.dataplane()?).attach_port(interface, *classify, &found)?;
            }
            Op::DetachPort { interface } => lock(&*self.dataplane()?).detach_port(interface)?,
            Op::AttachSockets => {
                self.guide_sockets(&wanted.policy)?;
                lock(&*self.dataplane()?).attach_sockets()?;
            }
            Op::DetachSockets => lock(&*self.dataplane()?).detach_sockets()?,
            Op::RemoveDataplane => self.remove_dataplane()?,
            Op::LoadConnection { name, changed, .. } => {
                let load = wanted.loads.values().find(|load| load.connection.name == *name);
                if let (Some(load), Some(charon)) = (load, &mut self.charon) {
                    let open = || open_lanes(self.dataplane.as_ref(), load);
                    let found = if *changed { Found::Other } else { Found::Nothing { open: open()? } };
                    charon.load(load, found).await?;
                }
            }
            Op::UnloadConnection { name } => self.unload(name).await?,
            netlink => apply(&self.netlink, netlink).await?,
        }
        Ok(())
    }

    /// What the kernel has lost of charon's lanes charon itself never notices: the task is told.
    pub async fn tell_lacking(&mut self, survey: &Survey) {
        self.in_doubt = match &self.charon {
            Some(charon) => charon.lacking(survey.lacking.clone()).await,
            None => false,
        };
    }

    /// Whether the last look missed something that another one has to miss, too.
    pub fn is_in_doubt(&self) -> bool {
        self.in_doubt
    }

    /// Whether programs have come off since the last look, or pins of maps are missing. The kernel tells nobody of either.
    pub fn has_lost_programs(&self) -> Result<bool, Error> {
        let (Some(opened), Some(before)) = (&self.dataplane, &self.programs) else { return Ok(false) };
        let opened = lock(opened);
        Ok(opened.lacks_pins() || Programs::of(&opened.observed()?) != *before)
    }

    /// Connections that are loaded as they should be still have to be kept by the task: it is told of those.
    pub async fn keep_connections(&mut self, wanted: &Wanted) -> Result<(), Error> {
        let Some(charon) = &mut self.charon else { return Ok(()) };
        for load in wanted.loads.values() {
            if !charon.keeps(load) {
                charon.load(load, Found::Same).await?;
            }
        }
        Ok(())
    }

    /// The same while charon does not answer.
    pub async fn hand_connections_over(&mut self, wanted: &Wanted) -> Result<(), Error> {
        let Some(charon) = &mut self.charon else { return Ok(()) };
        for load in wanted.loads.values() {
            if !charon.keeps(load) {
                charon.hand_over(load, open_lanes(self.dataplane.as_ref(), load)?).await;
            }
        }
        Ok(())
    }

    /// Takes the data path away, whatever of it is there.
    pub fn remove_dataplane(&mut self) -> Result<(), Error> {
        (self.dataplane, self.loaded) = (None, None);
        Ok(Dataplane::remove_all(&self.bpffs)?)
    }
}

/// The lanes of a connection that packets may take.
fn open_lanes(dataplane: Option<&SharedDataplane>, load: &Load) -> Result<BTreeSet<LaneId>, Error> {
    let Some(dataplane) = dataplane else { return Ok(BTreeSet::new()) };
    let dataplane = lock(dataplane);
    let mut open = BTreeSet::new();
    for lane in &load.connection.lanes {
        if dataplane.is_up(&lane.lane)? {
            open.insert(lane.lane.clone());
        }
    }
    Ok(open)
}

/// `rule "sip" (gw.toml:14:1)`, or its place alone.
fn rule_label(rule: &Rule) -> String {
    match &rule.name {
        Some(name) => format!("rule {name:?} ({})", rule.place),
        None => format!("rule {}", rule.place),
    }
}

/// How many of these come before the lanes of the policy are made known: they are to be in the tables, and known before charon
/// can say a word about them. What an old policy's connection is unloaded for may come before the tables.
fn before_lanes(ops: &[Op]) -> usize {
    let tables = ops.iter().position(|op| matches!(op, Op::LoadTables { .. })).map(|at| at + 1);
    let connections = || ops.iter().position(|op| matches!(op, Op::LoadConnection { .. }));
    tables.or_else(connections).unwrap_or(ops.len())
}

/// Lanes of charon's of which the kernel does not have what a CHILD_SA takes.
fn lacking(policy: &Policy, observed: &Observed) -> BTreeMap<LaneId, Lack> {
    let by_charon = |tunnel: &&Tunnel| matches!(tunnel.keying, Keying::Ike(_)) && tunnel.device.kind.is_in_kernel();
    let managed = policy.tunnels.iter().filter(by_charon);
    let lanes = managed.flat_map(|tunnel| {
        let kind = tunnel.device.kind;
        tunnel.lanes.iter().map(move |lane| (tunnel, lane, (lane.reqid, kind.if_id())))
    });
    lanes
        .filter_map(|(tunnel, lane, traces)| {
            let (traces, mode) = (observed.charon.get(&traces).copied().unwrap_or_default(), tunnel.device.kind.mode());
            let lack = match (traces.carry(mode), traces.catch(mode), traces.asked) {
                (true, _, _) => return None,
                (false, true, false) => Lack::States,
                (false, true, true) => Lack::Asked,
                (false, false, _) => Lack::Policies,
            };
            let class = policy.classes[lane.class.0].name.clone();
            Some((LaneId { tunnel: tunnel.name.clone(), class, index: lane.index }, lack))
        })
        .collect()
}

/// Of a connection's name.
fn key_of(connection: &str) -> &str {
    connection.strip_prefix(ike::connection::NAME_PREFIX).unwrap_or(connection)
}

/// A poisoned lock means that a thread died while it held the data path, whose every write is whole by itself.
pub(super) fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ike::testing;
    use crate::plan::LaneTraces;
    use crate::policy::DeviceKind;

    #[test]
    fn lanes_are_made_known_behind_their_tables_and_before_their_connection() {
        let tables = || Op::LoadTables { digest: 1 };
        let load = || Op::LoadConnection { name: "lk-a".into(), digest: 1, changed: false };
        let unload = || Op::UnloadConnection { name: "lk-b".into() };
        let up = || Op::LinkUp { name: "lk-a".into() };
        for (ops, wanted) in [
            (vec![], 0),
            (vec![up(), unload()], 2),
            (vec![unload(), up(), tables(), up(), load()], 3),
            (vec![up(), load(), unload()], 1),
        ] {
            assert_eq!(before_lanes(&ops), wanted, "{ops:?}");
        }
    }

    #[test]
    fn tables_are_known_while_they_are_live_and_their_policy_is_the_same() {
        let mut policy = Arc::new(testing::policy());
        let loaded = LoadedTables { policy: Arc::downgrade(&policy), digest: 7 };
        assert!(loaded.are(Some(7), &policy));
        assert!(!loaded.are(Some(8), &policy) && !loaded.are(None, &policy));
        assert!(!loaded.are(Some(7), &Arc::new(testing::policy())), "one that says the same is compiled once");
        // Nobody else has it, and yet it is another one.
        Arc::make_mut(&mut policy).rules.clear();
        assert!(!loaded.are(Some(7), &policy));
    }

    #[test]
    fn a_lane_lacks_states_or_policies_where_the_kernel_has_fewer_than_a_child_sa_takes() {
        let policy = testing::policy();
        let mut observed = Observed::default();
        for (mark, states, policies) in [(1, 2, 3), (2, 0, 6), (3, 4, 0)] {
            observed.charon.insert((0x4c4b_0000 + mark, 42), LaneTraces { states, policies, asked: false });
        }
        let lacks = lacking(&policy, &observed);
        let lacks: Vec<_> = lacks.iter().map(|(lane, lack)| (lane.to_string(), *lack)).collect();
        assert_eq!(lacks, [("b7/bulk.0".to_owned(), Lack::States), ("b7/bulk.1".to_owned(), Lack::Policies)]);
        observed.charon.insert((0x4c4b_0002, 42), LaneTraces { states: 0, policies: 6, asked: true });
        assert_eq!(lacking(&policy, &observed).values().next(), Some(&Lack::Asked));
        assert_eq!(lacking(&policy, &Observed::default()).len(), 3);

        // In transport mode nothing is forwarded.
        let mut gre = testing::policy();
        gre.tunnels[0].device.kind = DeviceKind::Gre { key: None, ttl: 64 };
        gre.tunnels[0].lanes.truncate(1);
        let mut observed = Observed::default();
        observed.charon.insert((0x4c4b_0001, 0), LaneTraces { states: 2, policies: 2, asked: false });
        assert_eq!(lacking(&gre, &observed), BTreeMap::new());
    }
}
