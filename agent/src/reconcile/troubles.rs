//! What went wrong with charon and its tunnels, kept for `status`. Pure.

use std::collections::BTreeMap;

use super::lanes::Lanes;
use crate::ike::Event;

/// Reasons as charon's task told them.
#[derive(Debug, Default)]
pub struct Troubles {
    /// Why charon cannot be reached.
    charon: Option<String>,
    /// The last of each tunnel that is not whole.
    tunnels: BTreeMap<String, String>,
    /// What stands against CHILD_SAs of adopted tunnels.
    unfit: BTreeMap<String, String>,
}

impl Troubles {
    /// Takes an event that `lanes` have taken already.
    pub fn on(&mut self, event: &Event, lanes: &Lanes) {
        match event {
            Event::Trouble { tunnel, reason } => {
                self.tunnels.insert(tunnel.clone(), reason.clone());
            }
            Event::CharonGone { reason } => self.charon = Some(reason.clone()),
            Event::CharonBack { .. } => self.charon = None,
            Event::LaneUp(lane) | Event::LaneOnDemand(lane) | Event::Rekeyed(lane) => {
                if lanes.down().iter().all(|down| down.tunnel != lane.tunnel) {
                    self.tunnels.remove(&lane.tunnel);
                }
            }
            Event::Unfit { tunnel, reason } => {
                self.unfit.insert(tunnel.clone(), reason.clone());
            }
            Event::Sound(tunnel) => {
                self.unfit.remove(tunnel);
            }
            Event::Inside(..) | Event::Clients(..) | Event::LaneDown(_) | Event::Adopted(..) => {}
            Event::TunnelUp(_) | Event::TunnelDown(_) => {}
        }
    }

    /// Of a tunnel that is charon's. Without charon nothing else is worth knowing.
    pub fn of(&self, tunnel: &str) -> Option<String> {
        let known = || self.tunnels.get(tunnel).or_else(|| self.unfit.get(tunnel));
        self.charon.as_ref().or_else(known).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ike::testing;
    use crate::lane::LaneId;

    fn lane(class: &str, index: u8) -> LaneId {
        LaneId { tunnel: "b7".into(), class: class.into(), index }
    }

    fn told(troubles: &mut Troubles, lanes: &mut Lanes, event: Event) -> Option<String> {
        lanes.on(&event, 1);
        troubles.on(&event, lanes);
        troubles.of("b7")
    }

    #[test]
    fn a_reason_stays_until_every_lane_of_its_tunnel_is_up() {
        let (mut troubles, mut lanes) = (Troubles::default(), Lanes::default());
        lanes.install(&testing::policy(), &[], 0);
        let silent = Event::Trouble { tunnel: "b7".into(), reason: "silence".into() };
        assert_eq!(told(&mut troubles, &mut lanes, silent).as_deref(), Some("silence"));
        for (class, index) in [("voice", 0), ("bulk", 0)] {
            let up = Event::LaneUp(lane(class, index));
            assert_eq!(told(&mut troubles, &mut lanes, up).as_deref(), Some("silence"), "{class}.{index}");
        }
        assert_eq!(told(&mut troubles, &mut lanes, Event::LaneUp(lane("bulk", 1))), None);
        assert_eq!(told(&mut troubles, &mut lanes, Event::LaneDown(lane("bulk", 1))), None);
    }

    #[test]
    fn what_stands_against_an_adopted_tunnel_stays_until_nothing_does() {
        let (mut troubles, mut lanes) = (Troubles::default(), Lanes::default());
        lanes.install(&testing::policy(), &[], 0);
        let unfit = Event::Unfit { tunnel: "b7".into(), reason: "mark".into() };
        assert_eq!(told(&mut troubles, &mut lanes, unfit).as_deref(), Some("mark"));
        for class in [("voice", 0), ("bulk", 0), ("bulk", 1)] {
            let up = Event::LaneUp(lane(class.0, class.1));
            assert_eq!(told(&mut troubles, &mut lanes, up).as_deref(), Some("mark"));
        }
        assert_eq!(told(&mut troubles, &mut lanes, Event::Sound("b7".into())), None);
    }

    #[test]
    fn an_absent_charon_is_every_tunnels_trouble_while_it_is_away() {
        let (mut troubles, mut lanes) = (Troubles::default(), Lanes::default());
        lanes.install(&testing::policy(), &[], 0);
        let gone = Event::CharonGone { reason: "stopped".into() };
        assert_eq!(told(&mut troubles, &mut lanes, gone).as_deref(), Some("stopped"));
        let back = Event::CharonBack { version: "5.9.8".into() };
        assert_eq!(told(&mut troubles, &mut lanes, back), None);
    }
}
