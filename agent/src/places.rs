//! How many may be connected at a time, so that nobody keeps the others out.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// How many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections of one caller.
    pub each: usize,
    /// Of all callers together.
    pub all: usize,
}

/// Which limit was met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoPlace {
    /// That of one caller.
    Each,
    /// That of all.
    All,
}

/// Who is connected, and how often.
#[derive(Debug)]
pub struct Places<K> {
    limits: Limits,
    taken: Arc<Mutex<BTreeMap<K, usize>>>,
}

/// Held while a connection lasts, however it ends.
#[derive(Debug)]
pub struct Place<K: Ord> {
    caller: K,
    taken: Arc<Mutex<BTreeMap<K, usize>>>,
}

impl<K: Ord + Copy> Places<K> {
    /// All of them free.
    pub fn new(limits: Limits) -> Self {
        Self { limits, taken: Arc::default() }
    }

    /// One for this caller.
    pub fn take(&self, caller: K) -> Result<Place<K>, NoPlace> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.get(&caller).is_some_and(|own| *own >= self.limits.each) {
            return Err(NoPlace::Each);
        }
        if taken.values().sum::<usize>() >= self.limits.all {
            return Err(NoPlace::All);
        }
        *taken.entry(caller).or_default() += 1;
        Ok(Place { caller, taken: Arc::clone(&self.taken) })
    }
}

impl<K: Ord> Drop for Place<K> {
    fn drop(&mut self) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        match taken.get_mut(&self.caller) {
            Some(own) if *own > 1 => *own -= 1,
            Some(_) | None => {
                taken.remove(&self.caller);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fault_no_caller_keeps_another_out() {
        let places = Places::new(Limits { each: 3, all: 5 });
        let held: Vec<_> = (0..3).map(|_| places.take(1000).unwrap()).collect();
        assert_eq!(places.take(1000).unwrap_err(), NoPlace::Each);
        let others = [places.take(1001).unwrap(), places.take(1001).unwrap()];
        assert_eq!(places.take(1002).unwrap_err(), NoPlace::All);
        drop(held);
        places.take(1002).unwrap();
        drop(others);
    }

    #[test]
    fn fault_a_place_that_is_left_can_be_taken_again_and_nothing_is_kept() {
        let places = Places::new(Limits { each: 3, all: 5 });
        for caller in 0..100 {
            let held: Vec<_> = (0..3).map(|_| places.take(caller).unwrap()).collect();
            drop(held);
        }
        assert!(places.taken.lock().unwrap().is_empty());
    }
}
