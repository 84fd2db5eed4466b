//! From a file to a machine that is as the file says: survey, change, look again.

use std::collections::BTreeMap;

use super::live::Live;
use super::world::{WithoutCharon, World};
use super::{Error, Wanted};
use crate::ike;
use crate::plan::{Op, Spared};

/// Looks and changes before what remains is an error. The kernel does things of its own: with a primary IPv4 address go its
/// secondary ones, and an IPv6 address of another length is refused while the old one is there.
pub const PASSES: usize = 3;

/// Makes the machine what `wanted` says. Returns what was changed. A port, the marking of sockets or a VRF's device that cannot be
/// had is an error in the end, or with [`WithoutCharon::Proceed`] a warning: other tunnels go on without it.
pub async fn settle(world: &mut World, live: &Live, wanted: &Wanted, without: WithoutCharon) -> Result<Vec<Op>, Error> {
    let (mut done, mut failed) = (Vec::new(), BTreeMap::new());
    let is_failed =
        |failed: &BTreeMap<Spared, Error>, op: &Op| op.spared().is_some_and(|spared| failed.contains_key(&spared));
    for _ in 0..PASSES {
        let survey = world.survey(wanted).await?;
        live.go_without(awaited(&survey.plan.ops));
        if survey.plan.ops.is_empty() && !done.is_empty() {
            return Ok(done);
        }
        if !survey.plan.ops.is_empty() && survey.plan.ops.iter().all(|op| is_failed(&failed, op)) {
            return told(failed, without).map(|()| done);
        }
        match (&survey.charon, without) {
            (Some(_), WithoutCharon::Proceed) | (None, _) => {}
            (Some(_), WithoutCharon::Refuse) => return Err(survey.charon.map(Error::Vici).expect("just seen")),
        }
        let absent = survey.charon.is_some();
        failed = world.carry_out(wanted, &survey, live).await?;
        if absent {
            // The task keeps trying; waiting for it here would keep everything else waiting.
            world.hand_connections_over(wanted).await?;
        } else {
            match (world.keep_connections(wanted).await, without) {
                // Gone just now: the task holds on to it.
                (Err(Error::Ike(ike::Error::Waiting { .. })), WithoutCharon::Proceed) | (Ok(()), _) => {}
                (Err(error), _) => return Err(error),
            }
        }
        world.tell_lacking(&survey).await;
        if survey.plan.ops.is_empty() {
            return Ok(done);
        }
        done.extend(survey.plan.ops.into_iter().filter(|op| !is_failed(&failed, op)));
    }
    let mut left = world.survey(wanted).await?.plan.ops;
    left.retain(|op| !is_failed(&failed, op));
    if left.is_empty() { told(failed, without).map(|()| done) } else { Err(Error::Unsettled { left: lines(&left) }) }
}

/// Devices that cannot be made yet, and what each waits for.
fn awaited(ops: &[Op]) -> BTreeMap<String, String> {
    let one = |op: &Op| {
        let Op::Await { name, lack } = op else { return None };
        Some((name.clone(), format!("its device {name} waits for {lack}")))
    };
    ops.iter().filter_map(one).collect()
}

/// What became of what cannot be had.
fn told(failed: BTreeMap<Spared, Error>, without: WithoutCharon) -> Result<(), Error> {
    for (spared, error) in failed {
        match (without, &spared) {
            (WithoutCharon::Refuse, Spared::Port(_) | Spared::Sockets | Spared::Device(_)) => return Err(error),
            // No file is at fault.
            (WithoutCharon::Refuse, Spared::Route(_) | Spared::Address(_)) | (WithoutCharon::Proceed, _) => {
                tracing::warn!("{spared}, trying again: {error}");
            }
        }
    }
    Ok(())
}

/// As `plan` prints them.
pub fn lines(ops: &[Op]) -> Vec<String> {
    ops.iter().map(ToString::to_string).collect()
}

/// What an operation is about, as the metric names it.
pub fn kind(op: &Op) -> &'static str {
    match op {
        Op::AddLink(_)
        | Op::SetMtu { .. }
        | Op::SetVrf { .. }
        | Op::SetNamespace { .. }
        | Op::Await { .. }
        | Op::DisablePolicy { .. }
        | Op::SourceByMark { .. }
        | Op::LinkUp { .. }
        | Op::RemoveLink { .. }
        | Op::RemoveElsewhere { .. } => "link",
        Op::AddAddress(_) | Op::FollowAddress(_) | Op::RemoveAddress(_) => "address",
        Op::AddRoute(_) | Op::FollowRoute(_) | Op::RemoveRoute(_) | Op::AddRule(_) | Op::RemoveRule(_) => "route",
        Op::AddState(_) | Op::RemoveState(_) | Op::FlushLane { .. } => "state",
        Op::AddPolicy(_) | Op::UpdatePolicy(_) | Op::RemovePolicy(_) => "policy",
        Op::LoadTables { .. } | Op::RemoveDataplane => "tables",
        Op::Attach { .. }
        | Op::Detach { .. }
        | Op::AttachPort { .. }
        | Op::DetachPort { .. }
        | Op::AttachSockets
        | Op::DetachSockets => "programs",
        Op::LoadConnection { .. } | Op::UnloadConnection { .. } => "connection",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compile::series::REPAIR_KINDS;

    #[test]
    fn every_kind_has_its_series() {
        let ops = [
            Op::LinkUp { name: String::new() },
            Op::FlushLane { reqid: 1, if_id: 1 },
            Op::LoadTables { digest: 1 },
            Op::Detach { device: String::new() },
            Op::UnloadConnection { name: String::new() },
        ];
        assert!(ops.iter().all(|op| REPAIR_KINDS.contains(&kind(op))));
    }
}
