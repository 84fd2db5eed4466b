//! What happens to the gateways during a soak, one kind at a time.

use std::fmt;
use std::time::Duration;

use clap::ValueEnum;

use crate::lab::Side;

/// What may happen. Its name in the report is that of [`Kind::name`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum)]
pub enum Kind {
    /// charon rekeys a CHILD_SA.
    RekeyChild,
    /// charon rekeys the IKE_SA.
    RekeyIke,
    /// The file has a rule more, or has it no more.
    ReloadChanged,
    /// The file is what it was.
    ReloadEqual,
    /// The file does not hold together.
    ReloadBroken,
    /// `rules add --keep`, or `rules delete` of what was added.
    Rules,
    /// charon ends a CHILD_SA.
    FlapLane,
    /// Somebody deletes the tunnel's device.
    DeleteLink,
    /// Somebody takes it down.
    DownLink,
    /// Somebody gives it another MTU.
    ChangeMtu,
    /// Somebody deletes an address of it.
    DeleteAddress,
    /// Somebody deletes the route into it.
    DeleteRoute,
    /// Somebody deletes the route behind that one, which blocks.
    DeleteUnreachable,
    /// Somebody deletes a rule that leads around the peer.
    DeleteRule,
    /// Somebody flushes all policies.
    FlushPolicies,
    /// Somebody deletes one outbound SA.
    DeleteState,
    /// Somebody flushes all SAs.
    FlushStates,
    /// Somebody takes the programs off the devices: links' pins, or filters with their qdisc.
    DetachPrograms,
    /// Somebody removes the pin of a map.
    RemovePin,
    /// SIGTERM to the agent, which is started again.
    StopAgent,
    /// SIGKILL to the agent, which is started again.
    KillAgent,
    /// SIGKILL to charon, which is started again.
    KillCharon,
    /// Links and routes of others come and go in their hundreds.
    Burst,
}

impl Kind {
    /// Each of them.
    pub const ALL: [Self; 23] = [
        Self::RekeyChild,
        Self::RekeyIke,
        Self::ReloadChanged,
        Self::ReloadEqual,
        Self::ReloadBroken,
        Self::Rules,
        Self::FlapLane,
        Self::DeleteLink,
        Self::DownLink,
        Self::ChangeMtu,
        Self::DeleteAddress,
        Self::DeleteRoute,
        Self::DeleteUnreachable,
        Self::DeleteRule,
        Self::FlushPolicies,
        Self::DeleteState,
        Self::FlushStates,
        Self::DetachPrograms,
        Self::RemovePin,
        Self::StopAgent,
        Self::KillAgent,
        Self::KillCharon,
        Self::Burst,
    ];

    /// As the report spells it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RekeyChild => "rekey CHILD_SA",
            Self::RekeyIke => "rekey IKE_SA",
            Self::ReloadChanged => "reload, changed file",
            Self::ReloadEqual => "reload, equal file",
            Self::ReloadBroken => "reload, broken file",
            Self::Rules => "rules add or delete",
            Self::FlapLane => "terminate CHILD_SA",
            Self::DeleteLink => "delete device",
            Self::DownLink => "device down",
            Self::ChangeMtu => "change MTU",
            Self::DeleteAddress => "delete address",
            Self::DeleteRoute => "delete route",
            Self::DeleteUnreachable => "delete unreachable route",
            Self::DeleteRule => "delete ip rule",
            Self::FlushPolicies => "flush policies",
            Self::DeleteState => "delete SA",
            Self::FlushStates => "flush SAs",
            Self::DetachPrograms => "detach programs",
            Self::RemovePin => "remove map's pin",
            Self::StopAgent => "stop agent",
            Self::KillAgent => "kill -9 agent",
            Self::KillCharon => "kill -9 charon",
            Self::Burst => "burst of netlink events",
        }
    }

    /// Until all is as it should be again, on an emulated CPU that others want too: a look at all that is ours takes seconds
    /// there, an agent's start ten and more. Where SAs are made anew, charon may first have to find the peer's gone: DPD after 10 s, and
    /// then 24 s of retransmissions.
    pub const fn bound(self) -> Duration {
        Duration::from_secs(match self {
            Self::RekeyChild
            | Self::RekeyIke
            | Self::ReloadChanged
            | Self::ReloadEqual
            | Self::ReloadBroken
            | Self::Rules
            | Self::DownLink
            | Self::ChangeMtu
            | Self::DeleteAddress
            | Self::DeleteRoute
            | Self::DeleteUnreachable
            | Self::DeleteRule
            | Self::DetachPrograms
            | Self::RemovePin
            | Self::DeleteLink
            | Self::Burst => 60,
            Self::StopAgent | Self::KillAgent => 90,
            Self::FlapLane | Self::FlushPolicies | Self::DeleteState | Self::FlushStates | Self::KillCharon => 180,
        })
    }

    /// Whether no packet may be lost over it.
    pub const fn is_lossless(self) -> bool {
        match self {
            Self::RekeyChild
            | Self::RekeyIke
            | Self::ReloadChanged
            | Self::ReloadEqual
            | Self::ReloadBroken
            | Self::Rules
            | Self::DeleteUnreachable
            | Self::DeleteRule
            | Self::RemovePin
            | Self::StopAgent
            | Self::KillAgent
            | Self::Burst => true,
            Self::FlapLane
            | Self::DeleteLink
            | Self::DownLink
            | Self::ChangeMtu
            | Self::DeleteAddress
            | Self::DeleteRoute
            | Self::FlushPolicies
            | Self::DeleteState
            | Self::FlushStates
            | Self::DetachPrograms
            | Self::KillCharon => false,
        }
    }

    /// Whether somebody changes what is ours. Two at once could take both the route into the tunnel and the one behind it,
    /// and nobody can stop what the box then sends in clear.
    pub const fn is_drift(self) -> bool {
        matches!(self.actor(), Actor::Nobody) && !matches!(self, Self::Burst)
    }

    /// Whom it is asked of.
    pub const fn actor(self) -> Actor {
        match self {
            Self::ReloadChanged
            | Self::ReloadEqual
            | Self::ReloadBroken
            | Self::Rules
            | Self::StopAgent
            | Self::KillAgent => Actor::Agent,
            Self::RekeyChild | Self::RekeyIke | Self::FlapLane | Self::KillCharon => Actor::Charon,
            Self::DeleteLink
            | Self::DownLink
            | Self::ChangeMtu
            | Self::DeleteAddress
            | Self::DeleteRoute
            | Self::DeleteUnreachable
            | Self::DeleteRule
            | Self::FlushPolicies
            | Self::DeleteState
            | Self::FlushStates
            | Self::DetachPrograms
            | Self::RemovePin
            | Self::Burst => Actor::Nobody,
        }
    }

    /// Whether nobody can be asked after it in the same step.
    pub const fn ends_its_actor(self) -> bool {
        matches!(self, Self::StopAgent | Self::KillAgent | Self::KillCharon)
    }
}

/// Who takes part in an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Actor {
    /// The agent.
    Agent,
    /// charon.
    Charon,
    /// Somebody with `ip`, `tc` or `rm`.
    Nobody,
}

/// One event at one gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// What.
    pub kind: Kind,
    /// Where.
    pub side: Side,
    /// Which of several: lanes, pins, families, by remainder.
    pub pick: u32,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {} ({})", self.side, self.kind.name(), self.pick)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_kind_is_listed_once_under_its_own_name() {
        let names: BTreeSet<&str> = Kind::ALL.iter().map(|kind| kind.name()).collect();
        let kinds: BTreeSet<Kind> = Kind::ALL.into();
        assert_eq!((names.len(), kinds.len()), (Kind::ALL.len(), Kind::ALL.len()));
        assert_eq!(Kind::Burst as usize + 1, Kind::ALL.len());
    }
}
