//! What a file asks of this machine, complete before anything is touched: a file that cannot be had whole changes nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Error, insides, presence};
use crate::config::{self, Shelf, Source};
use crate::ike::{Connection, Credentials, Load, adopted};
use crate::keyfile;
use crate::plan::Desired;
use crate::policy::adopt::{self, Insides, Learned};
use crate::policy::{Keying, Policy, Tunnel, TunnelIndex};

/// A file, read and thought through. Holds keys; its parts redact them.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The file.
    pub file: PathBuf,
    /// Its text as it was read, and that of what it includes: the files may change while it runs.
    pub sources: Vec<Source>,
    /// What it says.
    pub policy: Arc<Policy>,
    /// Connections for charon by their keys.
    pub loads: BTreeMap<String, Arc<Load>>,
    /// What is known of its adopted lanes; the policy has it.
    pub learned: Learned,
    /// What is known of the inside of their SAs; of those that ask for it the policy has it.
    pub insides: Insides,
    /// What there should be, but for the tables: their digest depends on the names that the kernel holds.
    pub desired: Desired,
}

impl Wanted {
    /// Reads the file, what it includes and its keys. Warnings go to the log.
    pub fn read(file: &Path) -> Result<Self, Error> {
        Self::read_again(file, &mut Shelf::default())
    }

    /// The same, but for what is on the shelf and has not changed.
    pub fn read_again(file: &Path, shelf: &mut Shelf) -> Result<Self, Error> {
        let loaded = config::load_again(file, shelf)?;
        for warning in &loaded.warnings.0 {
            let help = warning.help.as_deref().unwrap_or_default();
            tracing::warn!(place = %warning.place, help, "{}", warning.message);
        }
        Self::of(file, loaded)
    }

    /// The same for a text that is at hand.
    pub fn of(file: &Path, loaded: config::Loaded) -> Result<Self, Error> {
        let config::Loaded { policy, sources, .. } = loaded;
        let mut keys = BTreeMap::new();
        let mut loads = BTreeMap::new();
        for (index, tunnel) in policy.tunnels.iter().enumerate() {
            match &tunnel.keying {
                Keying::Static(how) => {
                    keys.insert(tunnel.name.clone(), keyfile::load(&how.key_file)?);
                }
                Keying::Adopted(_) => {}
                Keying::Ike(ike) => {
                    let credentials = Credentials::read(ike)?;
                    for connection in Connection::all(&policy, TunnelIndex(index)) {
                        let credentials = credentials.clone();
                        loads.insert(connection.key.clone(), Arc::new(Load { connection, credentials }));
                    }
                }
            }
        }
        let mut desired = Desired::new(&policy, &keys)?;
        desired.connections =
            loads.values().map(|load| (load.connection.name.clone(), load.connection.digest)).collect();
        Ok(Self {
            file: file.into(),
            sources,
            policy: Arc::new(policy),
            loads,
            learned: Learned::new(),
            insides: Insides::new(),
            desired,
        })
    }

    /// Refuses what names what this machine has not, unless the file waits for it.
    pub fn present(self) -> Result<Self, Error> {
        presence::check(&self.policy, &self.policy.rules)?;
        Ok(self)
    }

    /// Puts rules among those of the file.
    pub fn with(mut self, put_into: impl FnOnce(&mut Policy) -> Result<(), Error>) -> Result<Self, Error> {
        put_into(Arc::make_mut(&mut self.policy))?;
        Ok(self)
    }

    /// Takes what is known of its adopted tunnels.
    pub fn learn(mut self, learned: Learned, insides: Insides) -> Self {
        if !adopt::has_learned(&self.policy, &learned, &insides) {
            adopt::learn(Arc::make_mut(&mut self.policy), &learned, &insides);
            let before = std::mem::take(&mut self.desired.left_out);
            self.desired.lead(&self.policy);
            for left_out in self.desired.left_out.difference(&before) {
                tracing::warn!("{left_out}");
            }
        }
        Self { learned, insides, ..self }
    }

    /// The same with what charon has now, and with what was kept of the inside of its SAs. Where charon cannot be asked, that is
    /// as it was.
    pub async fn look(self, runtime_dir: &Path) -> Result<Self, Error> {
        let (learned, insides) = look(&self.policy, runtime_dir).await?;
        Ok(self.learn(learned, insides))
    }

    /// The same with what an agent knows of lanes that charon has no CHILD_SA of any more: its tables have them as they were.
    pub fn keep(self, known: Learned) -> Self {
        let (learned, insides) = (kept(self.learned.clone(), known), self.insides.clone());
        self.learn(learned, insides)
    }

    /// charon's socket, where a tunnel is charon's.
    pub fn vici(&self) -> Option<&Path> {
        (!self.loads.is_empty()).then_some(self.policy.vici.as_path())
    }

    /// The tunnel that a device leads to, as the tables call it: of several devices each has a lane, and of several tunnels by one
    /// device none does.
    pub fn tunnel_of(&self, device: &str) -> Option<String> {
        let tunnel = self.policy.tunnels.iter().find(|tunnel| tunnel.named(device).is_some())?;
        if tunnel.device.joint {
            return Some(Tunnel::name_of_device(device));
        }
        Some(tunnel.lane_of(device).map_or_else(|| tunnel.name.clone(), |lane| tunnel.name_of(lane)))
    }

    /// Whether it counts by which device packets come out of the tunnel: it is a tenant's own, or a tenant or a rule names
    /// the device.
    pub fn is_ingress(&self, device: &str, tunnel: &str) -> bool {
        let Policy { tunnels, tenants, rules, .. } = &*self.policy;
        let names = |names: &Vec<String>| names.iter().any(|name| name == device);
        self.policy.owners().keys().any(|place| tunnels[place.0].name == tunnel)
            || tenants.iter().any(|tenant| names(&tenant.interfaces))
            || rules.iter().any(|rule| names(&rule.interface))
    }
}

/// What charon has now of adopted tunnels, and what was kept of the inside of their SAs.
pub(super) async fn look(policy: &Policy, runtime_dir: &Path) -> Result<(Learned, Insides), Error> {
    let mut insides = insides::recall(runtime_dir)?;
    insides.retain(|name, _| policy.tunnels.iter().any(|tunnel| tunnel.follows() && tunnel.name == *name));
    let learned = match adopted::look(policy).await {
        Ok(found) => {
            for (tunnel, ends) in found.ends {
                insides.entry(tunnel).or_default().take(ends);
            }
            found.lanes
        }
        Err(error) => {
            tracing::warn!("which CHILD_SAs adopted tunnels have is not known yet: {error}");
            Learned::new()
        }
    };
    Ok((learned, insides))
}

/// That with what an agent knows beyond it.
pub(super) fn kept(mut learned: Learned, known: Learned) -> Learned {
    for (lane, traits) in known {
        // charon may have given its request id to another one.
        if !learned.contains_key(&lane) && !learned.values().any(|other| other.has(traits.reqid)) {
            learned.insert(lane, traits);
        }
    }
    learned
}
