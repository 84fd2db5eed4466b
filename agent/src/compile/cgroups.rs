//! The cgroups that rules name -> their places in the tree that they make.
//!
//! A packet carries the place of the deepest of them that is its own or above its own. Depth first, all below one come right
//! behind it: whether a packet is of one or below it is two comparisons, whatever else of the tree other rules name. Records
//! hold the numbers that the registry gave out, and so do not change when places do.

use std::collections::BTreeSet;

use lanekeeper_common::abi::{Generation, MAX_CGROUPS};

use super::Registry;
use super::registry::Key;
use crate::policy::Policy;
use crate::policy::cgroup::names;

/// Fills in the places of those that the rules name, which have numbers by now.
pub fn place(policy: &Policy, registry: &Registry, generation: &mut Generation) {
    let paths: BTreeSet<&str> = policy.rules.iter().flat_map(|rule| &rule.cgroup).map(String::as_str).collect();
    let mut tree: Vec<(Vec<&str>, &str)> = paths.into_iter().map(|path| (names(path).collect(), path)).collect();
    tree.sort_unstable();
    for (at, (of, path)) in tree.iter().enumerate() {
        let below = tree[at..].iter().take_while(|(other, _)| other.starts_with(of)).count();
        if let Some(number) = registry.get(&Key::Cgroup((*path).to_owned())) {
            generation.cgroups[number as usize & (MAX_CGROUPS - 1)] = [at as u16 + 1, (at + below) as u16];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::compile;
    use super::*;
    use crate::policy::Rule;
    use crate::status::tests::policy;

    #[test]
    fn all_below_a_cgroup_have_the_places_behind_its_own() {
        let rule = |path: &str| Rule { cgroup: vec![path.to_owned()], ..Rule::default() };
        let rules = ["/a-b", "/a/z", "/b", "/a", "/a/b/c", "/"].map(rule).to_vec();
        let tables = compile(&Policy { rules, ..policy() }, &mut Registry::default()).unwrap();
        let place = |path: &str| {
            let number = tables.registry.get(&Key::Cgroup(path.to_owned())).unwrap();
            tables.generation.cgroups[number as usize]
        };
        let places = ["/", "/a", "/a/b/c", "/a/z", "/a-b", "/b"].map(place);
        assert_eq!(places, [[1, 6], [2, 4], [3, 3], [4, 4], [5, 5], [6, 6]]);
        assert_eq!(tables.generation.cgroups[0], [0, 0]);
    }
}
