//! Connections of the operator's own swanctl.conf, and which of their CHILD_SAs are whose lanes.

use std::collections::BTreeMap;

use super::{Class, ClassIndex, Keying, Lane, Policy, Tunnel};
use crate::lane::LaneId;

/// A connection that is not ours: nothing is loaded into charon, begun or ended there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adopt {
    /// Its name in swanctl.conf.
    pub connection: String,
    /// The first entry with a pattern that a child's name matches has it. None at all: its label says whose it is, `CLASS.INDEX`.
    pub children: Vec<Children>,
}

/// CHILD_SAs of one class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Children {
    /// Whose lanes they are.
    pub class: ClassIndex,
    /// Patterns of their names in swanctl.conf; not empty. The n-th is the n-th lane's, if it is one name.
    pub names: Vec<Pattern>,
}

/// A name, in which `*` stands for any characters and `?` for any one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(pub String);

impl Pattern {
    /// Whether it is that name, or may be.
    pub fn matches(&self, name: &str) -> bool {
        let pattern: Vec<char> = self.0.chars().collect();
        let name: Vec<char> = name.chars().collect();
        // Where the last `*` was, and up to where the name has been taken for it.
        let (mut at, mut taken, mut star) = (0, 0, None);
        while taken < name.len() {
            match pattern.get(at) {
                Some('*') => {
                    star = Some((at, taken));
                    at += 1;
                }
                Some(c) if *c == '?' || *c == name[taken] => {
                    at += 1;
                    taken += 1;
                }
                Some(_) | None => match star {
                    Some((back, until)) => {
                        (at, taken) = (back + 1, until + 1);
                        star = Some((back, until + 1));
                    }
                    None => return false,
                },
            }
        }
        pattern[at..].iter().all(|c| *c == '*')
    }

    /// One name only.
    pub fn is_exact(&self) -> bool {
        !self.0.contains(['*', '?'])
    }
}

/// What ties an adopted lane to its CHILD_SA.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Traits {
    /// Of its outbound policy, under [`Policy::mark_mask`].
    pub mark: u32,
    /// Of its states and policies.
    pub reqid: u32,
}

/// Marks and request ids of adopted lanes, as far as they are known.
pub type Learned = BTreeMap<LaneId, Traits>;

/// Before anything is known of their CHILD_SAs.
pub fn unlearn(lanes: &mut [Lane]) {
    for lane in lanes {
        (lane.mark, lane.reqid) = (0, 0);
    }
}

/// Gives the adopted lanes of a policy what is known of them.
pub fn learn(policy: &mut Policy, learned: &Learned) {
    for tunnel in policy.tunnels.iter_mut().filter(|tunnel| is_adopted(tunnel)) {
        for lane in &mut tunnel.lanes {
            (lane.mark, lane.reqid) = of(&tunnel.name, &policy.classes, lane, learned);
        }
    }
}

/// Whether it has that.
pub fn has_learned(policy: &Policy, learned: &Learned) -> bool {
    policy.tunnels.iter().filter(|tunnel| is_adopted(tunnel)).all(|tunnel| {
        let has = |lane: &Lane| of(&tunnel.name, &policy.classes, lane, learned) == (lane.mark, lane.reqid);
        tunnel.lanes.iter().all(has)
    })
}

fn is_adopted(tunnel: &Tunnel) -> bool {
    matches!(tunnel.keying, Keying::Adopted(_))
}

fn of(tunnel: &str, classes: &[Class], lane: &Lane, learned: &Learned) -> (u32, u32) {
    let class = classes[lane.class.0].name.clone();
    let id = LaneId { tunnel: tunnel.to_owned(), class, index: lane.index };
    learned.get(&id).map_or((0, 0), |traits| (traits.mark, traits.reqid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_any_characters_and_a_question_mark_is_one() {
        for (pattern, name, matches) in [
            ("voice", "voice", true),
            ("voice", "voice-1", false),
            ("", "", true),
            ("*", "", true),
            ("*", "net", true),
            ("voice*", "voice", true),
            ("voice*", "voice-1", true),
            ("voice*", "my-voice", false),
            ("*-bulk-*", "a-b-bulk-c-bulk-7", true),
            ("*-bulk-*", "a-bulk", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("bulk-?", "bulk-1", true),
            ("bulk-?", "bulk-", false),
            ("bulk-?", "bulk-10", false),
        ] {
            assert_eq!(Pattern(pattern.into()).matches(name), matches, "{pattern} {name}");
        }
    }
}
