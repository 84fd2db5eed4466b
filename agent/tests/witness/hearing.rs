//! Two witnesses without privilege over one policy: the naive oracle and the host's run of the classifier.

use lanekeeper::compile::Tables;
use lanekeeper::model::{Model, Verdict};
use lanekeeper::policy::Policy;
use lanekeeper_common::verdict::ParseReason;

use super::oracle::Oracle;
use super::packet::{Packet, Packets};
use super::random::Random;

/// What is heard about packets that may be parts of earlier ones.
pub struct Hearing<'a> {
    policy: &'a Policy,
    packets: Packets,
    pub oracle: Oracle,
    pub model: Model<'a>,
}

impl<'a> Hearing<'a> {
    /// `tables` are the policy's.
    pub fn new(policy: &'a Policy, tables: &'a Tables) -> Self {
        Self { policy, packets: Packets::default(), oracle: Oracle::default(), model: Model::all_up(tables) }
    }

    /// Both say the same of the next packet: it, and what they say.
    pub fn next(&mut self, random: &mut Random, context: impl Fn() -> String) -> (Packet, Verdict) {
        let packet = self.packets.next(random, self.policy);
        let verdict = self.model.evaluate("tunnel0", &packet.probe());
        let (judgement, unseen) = self.oracle.judge(self.policy, &packet);
        let said = (verdict.tenant, verdict.rule, verdict.class);
        assert_eq!(said, judgement, "{}: {packet:?}\n{verdict:?}", context());
        let lone = verdict.parse == Some(ParseReason::FragmentUnseen);
        assert_eq!(lone, unseen, "{}: {packet:?}\n{verdict:?}", context());
        (packet, verdict)
    }
}
