//! Managed keying against two real charons, without the rest of the agent: what `ike` tells is held against what the
//! kernel has.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use lanekeeper::config;
use lanekeeper::ike::{self, Command, Connection, Credentials, Event, Load, Standing, TunnelStatus};
use lanekeeper::lane::{Condition, LaneId};
use lanekeeper::policy::{Ike, Keying, Policy, Start, TunnelIndex};
use lanekeeper::vici::{Listener, Timeouts};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};
use xtask::lab::charon::{Charon, swanctl, vici};
use xtask::lab::sa::{self, Sa};
use xtask::lab::scenario::{Keying as Secrets, Scenario};
use xtask::lab::{Family, Lab, Side};
use xtask::setup::strongswan::Version;

/// How long an emulated CPU may take for all lanes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Both gateways: a charon and the ike task of each.
struct Pair {
    ends: [End; 2],
    charons: [Option<Charon>; 2],
    lab: Lab,
    runtime: Runtime,
}

/// One end's ike task and all that it told.
struct End {
    policy: Policy,
    commands: mpsc::Sender<Command>,
    told: Arc<Mutex<Vec<(Instant, Event)>>>,
}

impl Pair {
    /// Starts charons and tasks; `change` may alter the policies.
    fn start(name: &str, scenario: &Scenario, change: impl Fn(Side, &mut Policy)) -> Self {
        let runtime = Runtime::new().unwrap();
        let lab = Lab::new(name).unwrap();
        let charons = [Side::A, Side::B].map(|side| {
            scenario.write(side, &lab.files(side), lab.shared()).unwrap();
            Some(Charon::start(&lab.gateway(side), &lab.files(side), Version::Machine).unwrap())
        });
        let ends = [Side::A, Side::B].map(|side| {
            let mut policy = config::load(&lab.files(side).join("config.toml")).unwrap().policy;
            change(side, &mut policy);
            End::start(&runtime, policy)
        });
        for end in &ends {
            end.load(&runtime).unwrap();
        }
        Self { ends, charons, lab, runtime }
    }

    fn end(&self, side: Side) -> &End {
        &self.ends[side as usize]
    }

    fn charon(&self, side: Side) -> &Charon {
        self.charons[side as usize].as_ref().unwrap()
    }

    fn kill_charon(&mut self, side: Side) {
        self.charons[side as usize].take().unwrap().kill().unwrap();
    }

    fn start_charon(&mut self, side: Side) {
        let charon = Charon::start(&self.lab.gateway(side), &self.lab.files(side), Version::Machine).unwrap();
        self.charons[side as usize] = Some(charon);
    }

    fn wait_for_lanes(&self) {
        for side in [Side::A, Side::B] {
            self.end(side).wait("all lanes up", PATIENCE, || {
                self.status(side).lanes.iter().all(|lane| lane.condition == Condition::Up)
            });
        }
    }

    /// Once charon's SAs are known.
    fn status(&self, side: Side) -> TunnelStatus {
        let end = self.end(side);
        let ask = async || {
            let (reply, answer) = oneshot::channel();
            end.commands.send(Command::Status(reply)).await.unwrap();
            answer.await.unwrap().pop()
        };
        let began = Instant::now();
        loop {
            if let Some(status) = self.runtime.block_on(ask()) {
                return status;
            }
            assert!(began.elapsed() < PATIENCE, "no list of charon's SAs; told: {:#?}", end.told());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Every lane's outbound SPI, and the kernel has exactly that SA with the lane's reqid, mark and if_id.
    fn assert_kernel_has_lanes(&self, side: Side) -> BTreeMap<LaneId, u32> {
        let end = self.end(side);
        let tunnel = &end.policy.tunnels[0];
        let states = sa::list(&self.lab.gateway(side)).unwrap();
        let status = self.status(side);
        let mut spis = BTreeMap::new();
        for (lane, told) in tunnel.lanes.iter().zip(&status.lanes) {
            let (inbound, outbound) = told.spis.unwrap();
            let find = |spi| states.iter().find(|state: &&Sa| state.spi == spi).unwrap_or_else(|| panic!("no {spi:x}"));
            let (inbound, outbound) = (find(inbound), find(outbound));
            assert_eq!((inbound.destination, outbound.destination), (tunnel.local, tunnel.remote));
            assert_eq!((inbound.reqid, outbound.reqid), (lane.reqid, lane.reqid), "{}", told.lane);
            assert_eq!(outbound.mark, (lane.mark, end.policy.mark_mask), "{}", told.lane);
            assert_eq!((inbound.if_id, outbound.if_id), (42, 42));
            spis.insert(told.lane.clone(), outbound.spi);
        }
        spis
    }
}

impl End {
    fn start(runtime: &Runtime, policy: Policy) -> Self {
        let (commands, command_queue) = mpsc::channel(8);
        let (events, mut event_queue) = mpsc::channel(8);
        runtime.spawn(ike::run(policy.vici.clone(), command_queue, events));
        let told = Arc::new(Mutex::new(Vec::new()));
        let log = told.clone();
        runtime.spawn(async move {
            while let Some(event) = event_queue.recv().await {
                log.lock().unwrap().push((Instant::now(), event));
            }
        });
        Self { policy, commands, told }
    }

    fn ike(&self) -> &Ike {
        ike_of(&self.policy)
    }

    fn load(&self, runtime: &Runtime) -> Result<(), ike::Error> {
        let load = Load {
            connection: Connection::all(&self.policy, TunnelIndex(0)).remove(0),
            credentials: Credentials::read(self.ike()).unwrap(),
        };
        let (reply, answer) = oneshot::channel();
        runtime.block_on(async {
            self.commands.send(Command::Load(Arc::new(load), Standing::Adopt, reply)).await.unwrap();
            answer.await.unwrap()
        })
    }

    fn told(&self) -> Vec<Event> {
        self.told.lock().unwrap().iter().map(|(_, event)| event.clone()).collect()
    }

    fn forget(&self) {
        self.told.lock().unwrap().clear();
    }

    fn when(&self, event: &Event) -> Option<Instant> {
        self.told.lock().unwrap().iter().find(|(_, told)| told == event).map(|(at, _)| *at)
    }

    fn wait(&self, goal: &str, limit: Duration, ready: impl Fn() -> bool) {
        let began = Instant::now();
        while !ready() {
            assert!(began.elapsed() < limit, "not within {limit:?}: {goal}; told: {:#?}", self.told());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
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

fn voice() -> LaneId {
    LaneId { tunnel: xtask::lab::scenario::TUNNEL.to_owned(), class: "voice".to_owned(), index: 0 }
}

fn falls(events: &[Event]) -> usize {
    events.iter().filter(|event| matches!(event, Event::LaneDown(_))).count()
}

#[test]
fn lanes_ike_come_up_by_pre_shared_key_and_keep_reqid_mark_and_if_id_over_a_rekey() {
    let pair = Pair::start("ikepsk", &Scenario::four_classes(Secrets::Psk), |_, _| ());
    pair.wait_for_lanes();
    let before = [Side::A, Side::B].map(|side| pair.assert_kernel_has_lanes(side));
    assert_eq!(before[0].len(), 5);
    let loaded = pair.runtime.block_on(ike::observe(&vici(&pair.lab.files(Side::A)))).unwrap();
    let wanted = Connection::all(&pair.end(Side::A).policy, TunnelIndex(0)).remove(0);
    assert_eq!(loaded[&wanted.name].digest, wanted.digest);

    pair.charon(Side::A).swanctl("--rekey --child voice.0").unwrap();
    for side in [Side::A, Side::B] {
        let rekeyed = Event::Rekeyed(voice());
        pair.end(side).wait("rekeyed", PATIENCE, || pair.end(side).told().contains(&rekeyed));
    }
    // The old inbound SA goes after five seconds, and that is no fall.
    std::thread::sleep(Duration::from_secs(7));
    for side in [Side::A, Side::B] {
        let after = pair.assert_kernel_has_lanes(side);
        let changed: Vec<_> = after.iter().filter(|(lane, spi)| before[side as usize][lane] != **spi).collect();
        assert_eq!(changed.len(), 1, "{changed:?}");
        assert_eq!(changed[0].0, &voice());
        assert_eq!(falls(&pair.end(side).told()), 0);
    }
}

#[test]
fn lanes_ike_come_up_by_certificate_over_ipv6() {
    let mut scenario = Scenario::four_classes(Secrets::Certificate);
    scenario.outer = Family::V6;
    scenario.mask = 0xf00;
    let pair = Pair::start("ikecert", &scenario, |_, policy| {
        ike_mut(policy).proposals = vec!["aes256gcm16-prfsha384-ecp384".to_owned()];
        ike_mut(policy).esp_proposals = vec!["aes256gcm16".to_owned()];
    });
    pair.wait_for_lanes();
    for side in [Side::A, Side::B] {
        pair.assert_kernel_has_lanes(side);
    }
}

#[test]
fn lanes_ike_falls_are_told_within_100_ms_and_the_lane_rises_again() {
    let pair = Pair::start("ikefall", &Scenario::four_classes(Secrets::Psk), |_, _| ());
    pair.wait_for_lanes();
    // One sample may meet a moment in which the emulated CPU has other things to do.
    let late = (0..3).map(|_| fall_and_rise_of_voice(&pair)).min().unwrap();
    assert!(late < Duration::from_millis(100), "told {late:?} after charon's event");
    pair.assert_kernel_has_lanes(Side::A);
}

/// Closes voice at the far end; how long after charon's event its fall was told.
fn fall_and_rise_of_voice(pair: &Pair) -> Duration {
    for side in [Side::A, Side::B] {
        pair.end(side).forget();
    }
    // charon's own word, heard beside the ike task.
    let socket = vici(&pair.lab.files(Side::A));
    let heard = pair.runtime.block_on(async {
        let mut listener = Listener::connect(&socket, Timeouts::default(), &["child-updown"]).await.unwrap();
        let closing = tokio::task::spawn_blocking({
            let files = pair.lab.files(Side::B);
            move || {
                let mut command = std::process::Command::new(swanctl(&files));
                command.args(["--terminate", "--child", "voice.0", "--uri"]);
                command.arg(format!("unix://{}", vici(&files).display())).output().unwrap()
            }
        });
        let heard = loop {
            let (_, message) = listener.next().await.unwrap();
            if message.text("up").is_none() {
                break Instant::now();
            }
        };
        closing.await.unwrap();
        heard
    });
    let a = pair.end(Side::A);
    let (down, up) = (Event::LaneDown(voice()), Event::LaneUp(voice()));
    a.wait("voice falls and rises", PATIENCE, || a.told().contains(&up));
    let late = a.when(&down).unwrap().saturating_duration_since(heard);
    assert!(a.when(&up).unwrap() > a.when(&down).unwrap());
    pair.wait_for_lanes();
    late
}

#[test]
fn lanes_ike_outlive_the_restart_of_the_beginning_ends_charon() {
    let mut pair = Pair::start("ikekilla", &Scenario::four_classes(Secrets::Psk), |_, _| ());
    outlive_restart(&mut pair, Side::A);
}

#[test]
fn lanes_ike_outlive_the_restart_of_the_answering_ends_charon() {
    let mut pair = Pair::start("ikekillb", &Scenario::four_classes(Secrets::Psk), |_, _| ());
    outlive_restart(&mut pair, Side::B);
}

fn outlive_restart(pair: &mut Pair, side: Side) {
    pair.wait_for_lanes();
    let before = pair.assert_kernel_has_lanes(side);
    pair.end(side).forget();
    pair.kill_charon(side);
    let end = pair.end(side);
    let gone = |event: &Event| matches!(event, Event::CharonGone { .. });
    end.wait("charon is told gone", PATIENCE, || end.told().iter().any(gone));
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(falls(&end.told()), 0, "the kernel has its SAs still");
    let states = sa::list(&pair.lab.gateway(side)).unwrap();
    assert!(before.values().all(|spi| states.iter().any(|state| state.spi == *spi)));

    pair.start_charon(side);
    let end = pair.end(side);
    let back = |event: &Event| matches!(event, Event::CharonBack { .. });
    end.wait("charon is told back", PATIENCE, || end.told().iter().any(back));
    let fresh = || pair.status(side).lanes.iter().all(|lane| lane.condition == Condition::Up && lane.spis.is_some());
    end.wait("fresh CHILD_SAs for all lanes", PATIENCE, fresh);
    let after = pair.assert_kernel_has_lanes(side);
    assert!(after.iter().all(|(lane, spi)| before[lane] != *spi));
    pair.wait_for_lanes();
    pair.assert_kernel_has_lanes(if side == Side::A { Side::B } else { Side::A });
    // Only those that did not follow within the second after the new IKE_SA may have fallen, and are up again.
    let told = pair.end(side).told();
    let back = told.iter().position(back).unwrap();
    let anew = told[back..].iter().position(|event| matches!(event, Event::TunnelUp(_)));
    let anew = back + anew.unwrap_or_else(|| panic!("no new IKE_SA: {told:#?}"));
    assert_eq!(falls(&told[..anew]), 0, "{told:#?}");
}

#[test]
fn lanes_ike_do_not_storm_where_both_ends_begin() {
    let pair = Pair::start("ikeboth", &Scenario::four_classes(Secrets::Psk), |_, policy| {
        ike_mut(policy).start = Start::Start;
    });
    pair.wait_for_lanes();
    std::thread::sleep(Duration::from_secs(20));
    for side in [Side::A, Side::B] {
        let told = pair.end(side).told();
        assert_eq!(falls(&told), 0, "{told:#?}");
        let sas = pair.charon(side).swanctl("--list-sas").unwrap();
        assert_eq!(sas.matches("ESTABLISHED").count(), 1, "{sas}");
        assert_eq!(sas.matches("INSTALLED").count(), 5, "{sas}");
        // Neither made more than it needed: charon numbers its SAs, and twice the lanes is what two ends at once may make.
        let numbers = sas.split('#').skip(1).filter_map(|rest| rest.split(',').next()?.parse::<u32>().ok());
        let last = numbers.max().unwrap_or_else(|| panic!("no number in {sas}"));
        assert!(last < 12, "{sas}");
    }
}

#[test]
fn lanes_ike_tell_why_they_do_not_come_up() {
    let scenario = Scenario::four_classes(Secrets::Psk);
    let wrong = PathBuf::from("/tmp/lk-ike-wrong.psk");
    std::fs::write(&wrong, "not the lab's").unwrap();
    std::fs::set_permissions(&wrong, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    type Change = Box<dyn Fn(Side, &mut Policy)>;
    let cases: [(&str, Change, &str); 3] = [
        (
            "ikewhy1",
            Box::new(move |side, policy| {
                if side == Side::A {
                    ike_mut(policy).auth = lanekeeper::policy::Auth::Psk { file: wrong.clone() };
                }
            }),
            "compare the pre-shared key",
        ),
        (
            "ikewhy2",
            Box::new(|side, policy| {
                let group = if side == Side::A { "modp4096" } else { "curve25519" };
                ike_mut(policy).proposals = vec![format!("aes256-sha256-{group}")];
            }),
            "the two ends share no proposal",
        ),
        (
            "ikewhy3",
            Box::new(|side, policy| {
                if side == Side::B {
                    policy.tunnels[0].lanes.retain(|lane| lane.label != "voice.0");
                }
            }),
            "same classes, lanes and selectors",
        ),
    ];
    for (name, change, text) in cases {
        let pair = Pair::start(name, &scenario, change);
        let a = pair.end(Side::A);
        let found = |event: &Event| matches!(event, Event::Trouble { reason, .. } if reason.contains(text));
        a.wait(text, PATIENCE, || a.told().iter().any(found));
        println!("{:#?}", pair.status(Side::A).trouble);
    }
}
