//! What there is thousands of.

use std::ops::{Deref, DerefMut};
use std::slice::Iter;
use std::sync::Arc;

/// A vector of which a copy takes no memory until one of the two is changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct List<T>(Arc<Vec<T>>);

/// References to all of a list in the order of a key: a map would hold the keys once more.
pub(super) struct Sorted<'a, T, K> {
    all: Vec<&'a T>,
    key: fn(&T) -> K,
}

impl<T> List<T> {
    pub(super) fn sorted<K: Ord>(&self, key: fn(&T) -> K) -> Sorted<'_, T, K> {
        let mut all: Vec<&T> = self.0.iter().collect();
        all.sort_unstable_by_key(|one| key(one));
        Sorted { all, key }
    }
}

impl<'a, T, K: Ord> Sorted<'a, T, K> {
    /// One of that key.
    pub fn get(&self, key: &K) -> Option<&'a T> {
        let found = self.all.binary_search_by(|one| (self.key)(one).cmp(key));
        found.ok().map(|at| self.all[at])
    }
}

impl<T> Default for List<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T> Deref for List<T> {
    type Target = Vec<T>;

    fn deref(&self) -> &Vec<T> {
        &self.0
    }
}

impl<T: Clone> DerefMut for List<T> {
    fn deref_mut(&mut self) -> &mut Vec<T> {
        Arc::make_mut(&mut self.0)
    }
}

impl<'a, T> IntoIterator for &'a List<T> {
    type Item = &'a T;
    type IntoIter = Iter<'a, T>;

    fn into_iter(self) -> Iter<'a, T> {
        self.0.iter()
    }
}

impl<'a, T: Clone> IntoIterator for &'a mut List<T> {
    type Item = &'a mut T;
    type IntoIter = std::slice::IterMut<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_the_same_until_one_changes() {
        let mut list = List::default();
        list.extend([1, 2]);
        let mut copy = list.clone();
        assert!(std::ptr::eq(list.as_slice(), copy.as_slice()));
        copy.push(3);
        for each in &mut copy {
            *each += 1;
        }
        assert_eq!((list.as_slice(), copy.as_slice()), ([1, 2].as_slice(), [2, 3, 4].as_slice()));
    }

    #[test]
    fn one_is_found_by_its_key_in_any_order() {
        let mut list = List::default();
        list.extend([(7, 'a'), (1, 'b'), (4, 'c')]);
        let sorted = list.sorted(|(key, _)| *key);
        assert_eq!(
            [1, 4, 7, 5].map(|key| sorted.get(&key).map(|(_, name)| *name)),
            [Some('b'), Some('c'), Some('a'), None]
        );
    }
}
