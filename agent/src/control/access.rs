//! Who may ask what. Whoever may connect may read; a change is root's, or that of the user that the agent itself is. So is a
//! look at packets: what is counted is the gateway's, what packets carry is other people's, as with tcpdump.

use super::{Error, Request};

/// What a request does to what runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Nothing.
    Read,
    /// Nothing, but it shows what packets carry.
    Look,
    /// Something, or would.
    Change,
}

impl Request {
    /// As the command line calls it.
    pub fn verb(&self) -> &'static str {
        match self {
            Self::Status {} => "status",
            Self::Sample {} => "top",
            Self::Reload {} => "reload",
            Self::Apply { .. } => "apply",
            Self::Confirm {} => "confirm",
            Self::AddRules { .. } => "rules add",
            Self::DeleteRules { .. } => "rules delete",
            Self::ListRules {} => "rules list",
            Self::Observe { .. } => "observe",
        }
    }

    /// What it does to what runs.
    pub fn access(&self) -> Access {
        match self {
            Self::Status {} | Self::Sample {} | Self::ListRules {} => Access::Read,
            Self::Observe { .. } => Access::Look,
            Self::Reload {}
            | Self::Apply { .. }
            | Self::Confirm {}
            | Self::AddRules { .. }
            | Self::DeleteRules { .. } => Access::Change,
        }
    }
}

/// Whether the user `uid` may make changes, where the agent is the user `own`.
pub fn may_change(uid: u32, own: u32) -> bool {
    uid == 0 || uid == own
}

/// Whether the user `uid` may ask that of an agent that is the user `own`.
pub fn permit(request: &Request, uid: u32, own: u32) -> Result<(), Error> {
    match request.access() {
        Access::Read => Ok(()),
        Access::Look | Access::Change if may_change(uid, own) => Ok(()),
        Access::Look => Err(Error::Private { verb: request.verb(), uid, own }),
        Access::Change => Err(Error::Forbidden { verb: request.verb(), uid, own }),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Anchor;
    use super::*;
    use crate::observe::Wish;

    const AGENT: u32 = 990;
    const READER: u32 = 1000;

    fn reading() -> [Request; 3] {
        [Request::Status {}, Request::Sample {}, Request::ListRules {}]
    }

    fn changing() -> [Request; 5] {
        let add = Request::AddRules { name: "-".into(), text: String::new(), at: Anchor::Last, keep: false };
        let delete = Request::DeleteRules { tenant: None, names: vec!["sip".into()] };
        let apply = Request::Apply { file: "/etc/a.toml".into(), confirm_within: None };
        [Request::Reload {}, Request::Confirm {}, apply, add, delete]
    }

    #[test]
    fn fault_whoever_may_connect_may_read() {
        for (request, uid) in
            reading().iter().flat_map(|request| [0, AGENT, READER, u32::MAX].map(|uid| (request, uid)))
        {
            assert!(permit(request, uid, AGENT).is_ok(), "{request:?} by {uid}");
        }
    }

    #[test]
    fn fault_a_look_at_packets_is_for_root_and_the_agents_own_user() {
        let request = Request::Observe { wish: Wish { rate: 1, ..Wish::default() } };
        for (uid, own) in [(0, 0), (0, AGENT), (AGENT, AGENT)] {
            assert!(permit(&request, uid, own).is_ok(), "{uid}");
        }
        for uid in [READER, 65534, u32::MAX] {
            let error = permit(&request, uid, AGENT).unwrap_err().to_string();
            let said = format!(
                "observe: it shows what others send, which uid {uid} may not see; ask as root, or as the agent's own user (uid {AGENT})"
            );
            assert_eq!(error, said);
        }
    }

    #[test]
    fn fault_a_change_is_for_root_and_the_agents_own_user() {
        for request in &changing() {
            for (uid, own) in [(0, 0), (0, AGENT), (AGENT, AGENT)] {
                assert!(permit(request, uid, own).is_ok(), "{request:?} by {uid}");
            }
            // 65534 is who has no number in the agent's user namespace.
            for (uid, own) in [(READER, 0), (READER, AGENT), (65534, AGENT), (u32::MAX, 0)] {
                let error = permit(request, uid, own).unwrap_err().to_string();
                let said = format!(
                    "{}: uid {uid} may only read; ask as root, or as the agent's own user (uid {own})",
                    request.verb()
                );
                assert_eq!(error, said);
            }
        }
    }
}
