//! The machine with a clock, and charon's part played by hand.

use zeroize::Zeroizing;

use super::super::*;
use crate::ike::sas::ChildSa;
use crate::ike::{Connection, Credentials};
use crate::lane::LaneId;
use crate::policy::{Policy, TunnelIndex};

pub struct Bench {
    pub machine: Machine,
    pub now: Duration,
}

pub fn load(policy: &Policy) -> Arc<Load> {
    Arc::new(Load {
        connection: Connection::all(policy, TunnelIndex(0)).remove(0),
        credentials: Credentials::Psk(Zeroizing::new(b"secret".to_vec())),
    })
}

pub fn lane(class: &str, index: u8) -> LaneId {
    LaneId { tunnel: "b7".to_owned(), class: class.to_owned(), index }
}

pub fn child(name: &str, id: u32) -> ChildSa {
    let mark = match name {
        "voice.0" => 1,
        "bulk.0" => 2,
        _ => 3,
    };
    ChildSa {
        name: name.to_owned(),
        id,
        installed: true,
        reqid: 0x4c4b_0000 + mark,
        spis: (id, id + 1000),
        mark: (mark, 0xff),
        if_id: 42,
        life: None,
    }
}

pub fn ike_with(id: u32, children: Vec<ChildSa>) -> IkeSa {
    IkeSa { connection: "lk-b7".to_owned(), id, state: IkeState::Established, initiator: true, children }
}

pub fn told(actions: &[Action]) -> Vec<Event> {
    let events = actions.iter().filter_map(|action| match action {
        Action::Tell(event) => Some(event.clone()),
        _ => None,
    });
    events.collect()
}

pub fn initiation(actions: &[Action]) -> Option<(String, u64)> {
    actions.iter().find_map(|action| match action {
        Action::Initiate { child, ticket, .. } => Some((child.clone(), *ticket)),
        _ => None,
    })
}

impl Bench {
    pub fn new(policy: &Policy) -> Self {
        let mut bench = Self { machine: Machine::new(1), now: Duration::ZERO };
        let actions = bench.feed(Input::Load(load(policy), Standing::Adopt));
        assert_eq!(actions, [Action::Connect]);
        bench
    }

    /// Connected, loaded, and told that charon has these SAs.
    pub fn synced(policy: &Policy, sas: Vec<IkeSa>) -> (Self, Vec<Action>) {
        let mut bench = Self::new(policy);
        let actions = bench.connect("today", sas);
        (bench, actions)
    }

    pub fn connect(&mut self, since: &str, sas: Vec<IkeSa>) -> Vec<Action> {
        let actions = self.feed(Input::Connected { version: "5.9.8".to_owned(), since: since.to_owned() });
        let Action::Load { tunnel, ticket, .. } = &actions[0] else { panic!("{actions:?}") };
        assert_eq!(actions[1], Action::ListSas);
        let mut actions = self.feed(Input::Loaded { tunnel: tunnel.clone(), ticket: *ticket, result: Ok(()) });
        actions.extend(self.feed(Input::Sas { asked: self.now, sas }));
        actions
    }

    pub fn feed(&mut self, input: Input) -> Vec<Action> {
        self.machine.step(self.now, input)
    }

    /// Lets time pass, as the shell does, and collects what comes of it.
    pub fn pass(&mut self, time: Duration) -> Vec<Action> {
        let until = self.now + time;
        let mut actions = Vec::new();
        for round in 0.. {
            assert!(round < 10_000, "the machine keeps waking: {actions:?}");
            let Some(wake) = self.machine.wake().filter(|wake| *wake <= until) else { break };
            self.now = self.now.max(wake);
            actions.extend(self.feed(Input::Tick));
        }
        self.now = until;
        actions
    }

    pub fn up(&mut self, name: &str, id: u32) -> Vec<Event> {
        told(&self.feed(Input::Notice(Notice::ChildUp(ike_with(1, vec![child(name, id)])))))
    }

    pub fn down(&mut self, name: &str, id: u32) -> Vec<Event> {
        told(&self.feed(Input::Notice(Notice::ChildDown(ike_with(1, vec![child(name, id)])))))
    }

    /// All lanes up for long.
    pub fn steady(policy: &Policy) -> Self {
        let (mut bench, _) = Self::synced(policy, vec![all_up()]);
        bench.pass(Duration::from_secs(20));
        bench
    }
}

pub fn all_up() -> IkeSa {
    ike_with(1, vec![child("voice.0", 1), child("bulk.0", 2), child("bulk.1", 3)])
}
