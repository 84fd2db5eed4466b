//! Does what the schedule says.

use std::fs;
use std::process::Output;

use anyhow::{Context, Result, ensure};

use super::event::{Event, Kind};
use super::footprint::pins;
use super::gateways;
use crate::lab::gateways::Gateways;
use crate::lab::scenario::{DEVICE, IF_ID, TUNNEL};
use crate::lab::{Family, Side, sa};

/// What the actor has changed and not yet changed back, by gateway.
#[derive(Debug, Default)]
pub struct Actor {
    /// The file as it was.
    files: [String; 2],
    /// Whether it has a rule more now.
    longer: [bool; 2],
    /// Whether a rule was added.
    added: [bool; 2],
    /// What was ended, in that order, and is to be started again.
    ended: Vec<(Side, Ended)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    Agent,
    Charon,
}

impl Actor {
    /// Knows the files of those gateways.
    pub fn new(gateways: &Gateways) -> Result<Self> {
        let read = |side| fs::read_to_string(gateways.agent_of(side).config());
        Ok(Self { files: [read(Side::A)?, read(Side::B)?], ..Self::default() })
    }

    /// Whether that gateway has a rule that its file does not have.
    pub fn has_added(&self, side: Side) -> bool {
        self.added[side as usize]
    }

    /// Does it; what a command printed, for whoever looks for keys. An error is a command that did not end as it should.
    pub fn act(&mut self, gateways: &mut Gateways, event: Event) -> Result<String> {
        let Event { kind, side, pick } = event;
        let gateway = gateways.lab().gateway(side);
        let pick = pick as usize;
        match kind {
            Kind::RekeyChild => swanctl(gateways, side, &format!("--rekey --child {}", lane(gateways, pick))),
            Kind::RekeyIke => swanctl(gateways, side, &format!("--rekey --ike lk-{TUNNEL}")),
            Kind::FlapLane => swanctl(gateways, side, &format!("--terminate --child {}", lane(gateways, pick))),
            Kind::ReloadChanged => {
                self.longer[side as usize] ^= true;
                fs::write(gateways.agent_of(side).config(), self.file(side))?;
                ends(0, "reload of a changed file", gateways.agent_of(side).call(&["reload"])?)
            }
            Kind::ReloadEqual => {
                let told = ends(0, "reload of an equal file", gateways.agent_of(side).call(&["reload"])?)?;
                ensure!(told.contains("(0 changes)"), "an equal file changed something: {told}");
                Ok(told)
            }
            Kind::ReloadBroken => {
                let config = gateways.agent_of(side).config();
                fs::write(&config, gateways::broken(&self.file(side)))?;
                let refused = gateways.agent_of(side).call(&["reload"]);
                fs::write(&config, self.file(side))?;
                let told = ends(2, "reload of a broken file", refused?)?;
                ensure!(
                    told.contains("config.toml:") && told.contains("vocie"),
                    "it does not say what is wrong: {told}"
                );
                // The file that is there is the one that runs.
                let again = ends(0, "reload of the file that runs", gateways.agent_of(side).call(&["reload"])?)?;
                Ok(told + &again)
            }
            Kind::Rules => self.rules(gateways, side),
            Kind::DeleteLink => gateway.sh(&format!("ip link del {}", device(pick))),
            Kind::DownLink => gateway.sh(&format!("ip link set {} down", device(pick))),
            Kind::ChangeMtu => gateway.sh(&format!("ip link set {} mtu 1300", device(pick))),
            Kind::DeleteAddress => {
                let address = side.tunnel_address(family(pick));
                gateway.sh(&format!("ip addr del {address} dev {DEVICE}"))
            }
            Kind::DeleteRoute => gateway.sh(&format!("ip route del {} dev {DEVICE}", side.other().lan(family(pick)))),
            Kind::DeleteUnreachable => {
                let far = side.other().lan(family(pick));
                gateway.sh(&format!("ip route del unreachable {far} metric 4294967294"))
            }
            Kind::DeleteRule => gateway.sh(&format!(
                "for family in -{} -{}; do
                     rule=$(ip $family rule show | grep -E 'suppress_prefixlength|12799836' | sed -n {}p)
                     ip $family rule del pref ${{rule%%:*}} && exit 0
                 done; exit 1",
                [4, 6][pick % 2],
                [6, 4][pick % 2],
                pick / 2 % 2 + 1,
            )),
            Kind::FlushPolicies => gateway.sh("ip xfrm policy flush"),
            Kind::FlushStates => gateway.sh("ip xfrm state flush"),
            Kind::DeleteState => {
                let ours = side.outer(Family::V4);
                let states = sa::list(&gateway)?;
                let out: Vec<_> = states.iter().filter(|state| state.source == ours && state.if_id == IF_ID).collect();
                let Some(state) = out.get(pick % out.len().max(1)) else { return Ok(String::new()) };
                let (from, to, spi) = (state.source, state.destination, state.spi);
                let mark = format!("mark {} mask {}", state.mark.0, state.mark.1);
                gateway.sh(&format!("ip xfrm state delete src {from} dst {to} proto esp spi {spi} {mark}"))
            }
            Kind::DetachPrograms => {
                let mut links = pins(&gateways.agent_of(side).bpffs())?;
                links.retain(|pin| pin.parent().is_some_and(|folder| folder.ends_with("links")));
                match links.get(pick % links.len().max(1)) {
                    Some(link) => Ok(fs::remove_file(link).map(|()| link.display().to_string())?),
                    // Before TCX: filters of a qdisc.
                    None => gateway.sh(&format!("tc qdisc del dev {} clsact", device(pick))),
                }
            }
            Kind::RemovePin => {
                let mut maps = pins(&gateways.agent_of(side).bpffs())?;
                maps.retain(|pin| pin.parent().is_none_or(|folder| !folder.ends_with("links")));
                let map = maps.get(pick % maps.len().max(1)).context("no map is pinned")?;
                Ok(fs::remove_file(map).map(|()| map.display().to_string())?)
            }
            Kind::StopAgent | Kind::KillAgent => {
                let agent = gateways.agent(side);
                if agent.is_started() {
                    if kind == Kind::KillAgent {
                        agent.kill()?
                    } else {
                        agent.stop()?
                    }
                    self.ended.push((side, Ended::Agent));
                }
                Ok(String::new())
            }
            Kind::KillCharon => {
                if gateways.has_charon(side) {
                    gateways.take_charon(side)?.kill()?;
                    self.ended.push((side, Ended::Charon));
                }
                Ok(String::new())
            }
            Kind::Burst => gateway.sh(BURST),
        }
    }

    /// Starts what was ended.
    pub fn restore(&mut self, gateways: &mut Gateways) -> Result<()> {
        for (side, what) in std::mem::take(&mut self.ended) {
            match what {
                Ended::Agent => gateways.agent(side).start()?,
                Ended::Charon => gateways.start_charon(side)?,
            }
        }
        Ok(())
    }

    /// Deletes what was added and gives the files back.
    pub fn undo(&mut self, gateways: &mut Gateways) -> Result<()> {
        for side in [Side::A, Side::B] {
            if self.added[side as usize] {
                self.rules(gateways, side)?;
            }
            if std::mem::take(&mut self.longer[side as usize]) {
                fs::write(gateways.agent_of(side).config(), self.file(side))?;
                ends(0, "reload of the first file", gateways.agent_of(side).call(&["reload"])?)?;
            }
        }
        Ok(())
    }

    fn file(&self, side: Side) -> String {
        let toml = &self.files[side as usize];
        if self.longer[side as usize] { gateways::with_rule(toml) } else { toml.clone() }
    }

    fn rules(&mut self, gateways: &Gateways, side: Side) -> Result<String> {
        let agent = gateways.agent_of(side);
        let (name, text) = gateways::added();
        let told = if self.added[side as usize] {
            ends(0, "rules delete", agent.call(&["rules", "delete", &name])?)?
        } else {
            let file = agent.config().with_file_name("added.toml");
            fs::write(&file, text)?;
            ends(0, "rules add", agent.call(&["rules", "add", "--keep", &file.display().to_string()])?)?
        };
        self.added[side as usize] ^= true;
        Ok(told)
    }
}

/// A thousand routes and fifty devices, there and away again.
const BURST: &str = "for verb in add del; do
    for high in 0 1 2 3; do for low in $(seq 0 249); do echo route $verb unreachable 192.0.$high.$low metric 77; done; done
    for number in $(seq 50); do echo link $verb burst$number type dummy; done
done | ip -batch -";

fn swanctl(gateways: &Gateways, side: Side, arguments: &str) -> Result<String> {
    // An SA that is just being made anew is none yet: charon says so, and there is nothing to rekey.
    match gateways.charon(side)?.swanctl(arguments) {
        Ok(told) => Ok(told),
        Err(error) => Ok(format!("refused: {error:#}")),
    }
}

fn ends(status: i32, what: &str, output: Output) -> Result<String> {
    let told = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    ensure!(output.status.code() == Some(status), "{what} exits with {:?}, not {status}: {told}", output.status.code());
    Ok(told)
}

fn lane(gateways: &Gateways, pick: usize) -> String {
    let lanes: Vec<_> = gateways.scenario().lanes().collect();
    let (class, index) = lanes[pick % lanes.len()];
    format!("{class}.{index}")
}

const fn device(pick: usize) -> &'static str {
    [DEVICE, DEVICE, gateways::SPARE][pick % 3]
}

const fn family(pick: usize) -> Family {
    [Family::V4, Family::V6][pick % 2]
}
