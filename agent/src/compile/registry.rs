//! Names -> the numbers that stand for them in maps, given out once and kept: a counter's place survives reloads, restarts
//! and upgrades because its name does.

use std::collections::BTreeMap;
use std::sync::Arc;

use lanekeeper_common::abi::{Name, Numbers};

use super::Error;
use key::Space;

mod key;

pub use key::Key;

/// Names -> numbers; stable while the pins live. A copy shares the names until one of the two learns or forgets one: the data
/// path, the tables that are live and those of each look have the same ones nearly always.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Registry {
    numbers: Arc<BTreeMap<Key, u32>>,
    next: BTreeMap<Space, usize>,
}

impl Registry {
    /// Takes a number that was given out before.
    pub fn restore(&mut self, key: Key, number: u32) {
        let after = number as usize + key.width() as usize;
        let next = self.next.entry(key.space()).or_default();
        *next = after.max(*next);
        Arc::make_mut(&mut self.numbers).insert(key, number);
    }

    /// Takes a name as the pinned map has it. Numbers of one that this version does not know, or that go beyond what it has
    /// room for, are not given out and stand for nothing.
    pub fn recall(&mut self, name: &Name, numbers: Numbers) {
        let (first, after) = (numbers.first, numbers.first as usize + usize::from(numbers.count));
        match Key::decode(name) {
            Some(key) if key.numbers(first) == numbers && after <= key.space().range().2 => self.restore(key, first),
            Some(_) | None => {
                if let Some(space) = Space::ALL.into_iter().find(|space| *space as u16 == numbers.space) {
                    let next = self.next.entry(space).or_default();
                    *next = after.max(*next);
                }
            }
        }
    }

    /// The number of a name; the first of its numbers where it has several.
    pub fn get(&self, key: &Key) -> Option<u32> {
        self.numbers.get(key).copied()
    }

    /// Takes names out of which nothing is left. Their numbers are not given out again while others of their space are there.
    pub fn forget(&mut self, gone: &[Key]) {
        if gone.is_empty() {
            return;
        }
        let numbers = Arc::make_mut(&mut self.numbers);
        for key in gone {
            numbers.remove(key);
        }
    }

    /// Shares the names of another one, if they are the same.
    pub fn share(&mut self, other: &Self) {
        if self == other {
            self.clone_from(other);
        }
    }

    /// The number of a name, given out now if it has none.
    pub fn number(&mut self, key: Key) -> Result<u32, Error> {
        if let Some(number) = self.numbers.get(&key) {
            return Ok(*number);
        }
        let number = self.next(&key)?;
        self.restore(key, number);
        Ok(number)
    }

    /// The number that a name without one would get; it is not given out yet.
    pub fn next(&self, key: &Key) -> Result<u32, Error> {
        key.encode()?;
        let (what, first, limit) = key.space().range();
        let number = self.next.get(&key.space()).map_or(first, |next| first.max(*next));
        if number + key.width() as usize > limit {
            return Err(Error::RegistryFull { what, limit });
        }
        Ok(number as u32)
    }

    /// The paths of all cgroups, with their numbers.
    pub fn cgroups(&self) -> impl Iterator<Item = (&str, u32)> {
        let from = self.numbers.range(Key::Cgroup(String::new())..);
        from.map_while(|(key, number)| match key {
            Key::Cgroup(path) => Some((path.as_str(), *number)),
            _ => None,
        })
    }

    /// All names, in no order that means anything.
    pub fn iter(&self) -> impl Iterator<Item = (&Key, u32)> {
        self.numbers.iter().map(|(key, number)| (key, *number))
    }
}

#[cfg(test)]
mod tests {
    use lanekeeper_common::abi::{MAX_INTERFACES, MAX_TUNNELS, NAME_BYTES, counter, space};

    use super::*;
    use crate::compile::series::{LaneEvent, Refusal};
    use crate::policy::cgroup;

    fn keys() -> Vec<Key> {
        let (a, b, c) = (|| "branch-7".to_string(), || "voice".to_string(), || "default".to_string());
        vec![
            Key::Interface("lan0".into()),
            Key::Cgroup("/system.slice/backup.service".into()),
            Key::Tunnel(a()),
            Key::Group { tunnel: a(), class: b() },
            Key::Class { tenant: String::new(), class: b() },
            Key::Class { tenant: "acme".into(), class: b() },
            Key::Lane { tunnel: a(), class: b(), index: 31 },
            Key::Fallback { tunnel: a(), class: b(), to: c() },
            Key::Rule { tenant: String::new(), rule: "sip and rtp, ünïcode".into() },
            Key::Port("lan0".into()),
            Key::Event { tunnel: a(), class: b(), index: 0, event: LaneEvent::ReplayError },
            Key::Repair("route".into()),
            Key::Overrun,
            Key::Refused(Refusal::Handshake),
            Key::Clsact(7),
        ]
    }

    #[test]
    fn names_survive_the_pinned_map() {
        for key in keys() {
            assert_eq!(Key::decode(&key.encode().unwrap()), Some(key));
        }
    }

    #[test]
    fn a_known_name_keeps_its_number() {
        let mut registry = Registry::default();
        let numbers: Vec<u32> = keys().into_iter().map(|key| registry.number(key).unwrap()).collect();
        let mut restored = Registry::default();
        for (key, number) in registry.iter() {
            restored.restore(key.clone(), number);
        }
        assert_eq!(restored.number(Key::Rule { tenant: "x".into(), rule: "new".into() }).unwrap(), {
            registry.number(Key::Rule { tenant: "x".into(), rule: "new".into() }).unwrap()
        });
        assert_eq!(keys().into_iter().map(|key| restored.number(key).unwrap()).collect::<Vec<_>>(), numbers);
    }

    #[test]
    fn a_number_that_was_asked_for_is_not_given_out() {
        let mut registry = Registry::default();
        let [one, other] = ["one", "other"].map(|name| Key::Tunnel(name.into()));
        assert_eq!((registry.next(&one), registry.get(&one)), (Ok(0), None));
        assert_eq!((registry.number(other.clone()), registry.next(&one)), (Ok(0), Ok(1)));
    }

    #[test]
    fn numbers_of_a_name_that_only_another_version_knows_are_not_given_out() {
        let mut registry = Registry::default();
        let mut name = Name([0; NAME_BYTES]);
        name.0[..9].copy_from_slice(b"later\0x\0y");
        registry.recall(&name, Numbers { first: 100, count: 20, space: space::COUNTER });
        registry.recall(&name, Numbers { first: 7, count: 1, space: space::MARK + 1 });
        assert_eq!(registry.iter().count(), 0);
        assert_eq!(registry.number(Key::Port("lan0".into())), Ok(120));
        assert_eq!(registry.number(Key::Tunnel("a".into())), Ok(0));

        // It has room for more tunnels than this one.
        let tunnel = Key::Tunnel("far".into());
        registry.recall(&tunnel.encode().unwrap(), tunnel.numbers(MAX_TUNNELS as u32));
        assert_eq!(registry.get(&tunnel), None);
        assert!(matches!(registry.number(tunnel), Err(Error::RegistryFull { what: "tunnels", .. })));
    }

    #[test]
    fn what_the_pinned_map_says_is_recalled() {
        let mut registry = Registry::default();
        for key in keys() {
            registry.number(key).unwrap();
        }
        let mut recalled = Registry::default();
        for (key, number) in registry.iter() {
            recalled.recall(&key.encode().unwrap(), key.numbers(number));
        }
        assert_eq!(recalled, registry);
    }

    #[test]
    fn blocks_of_counters_do_not_overlap() {
        let mut registry = Registry::default();
        let mut taken = std::collections::HashSet::new();
        for n in 0..50 {
            for key in keys().into_iter().filter(|key| key.space() == Space::Counter) {
                let key = match key {
                    Key::Class { tenant, .. } => Key::Class { tenant, class: n.to_string() },
                    Key::Lane { class, index, .. } => Key::Lane { tunnel: n.to_string(), class, index },
                    Key::Port(_) => Key::Port(n.to_string()),
                    other => other,
                };
                let (width, known) = (key.width(), registry.get(&key).is_some());
                let first = registry.number(key).unwrap();
                assert!(first >= counter::FREE);
                assert!(known || (first..first + width).all(|number| taken.insert(number)));
            }
        }
    }

    #[test]
    fn a_full_space_is_an_error_that_says_so() {
        let mut registry = Registry::default();
        for n in 1..MAX_INTERFACES {
            registry.number(Key::Interface(n.to_string())).unwrap();
        }
        let error = registry.number(Key::Interface("one more".into())).unwrap_err();
        assert!(error.to_string().contains("ingress interfaces"), "{error}");
    }

    #[test]
    fn cgroups_are_found_among_all_names() {
        let mut registry = Registry::default();
        for key in keys() {
            registry.number(key).unwrap();
        }
        registry.number(Key::Cgroup("/".into())).unwrap();
        assert_eq!(registry.cgroups().collect::<Vec<_>>(), [("/", 2), ("/system.slice/backup.service", 1)]);
        assert!(Key::Cgroup(format!("/{}", "x".repeat(cgroup::LONGEST - 1))).encode().is_ok());
    }

    #[test]
    fn a_name_too_long_is_an_error() {
        let key = Key::Rule { tenant: "t".into(), rule: "r".repeat(200) };
        assert!(matches!(key.encode(), Err(Error::LongName { .. })));
    }

    #[test]
    fn what_is_not_ours_is_not_decoded() {
        assert_eq!(Key::decode(&Name([0; NAME_BYTES])), None);
        assert_eq!(Key::decode(&Name([0xff; NAME_BYTES])), None);
    }
}
