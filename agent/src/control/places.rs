//! How many may be connected at a time, so that nobody keeps the others out.

use std::collections::BTreeMap;

use super::Error;

/// Connections of one user. Whoever may make changes counts for himself alone, so there is always room for him.
pub const EACH: usize = 16;

/// Connections of all users who may only read.
pub const READERS: usize = 48;

/// Who is connected, and how often.
#[derive(Debug, Default)]
pub struct Places {
    operators: BTreeMap<u32, usize>,
    readers: BTreeMap<u32, usize>,
}

impl Places {
    /// One more connection of the user, to be given back with [`Places::leave`].
    pub fn take(&mut self, uid: u32, operator: bool) -> Result<(), Error> {
        if !operator && self.readers.values().sum::<usize>() >= READERS {
            return Err(Error::Full { limit: READERS });
        }
        let taken = self.of(operator).entry(uid).or_default();
        if *taken >= EACH {
            return Err(Error::TooMany { uid, limit: EACH });
        }
        *taken += 1;
        Ok(())
    }

    /// One connection less.
    pub fn leave(&mut self, uid: u32, operator: bool) {
        let of = self.of(operator);
        match of.get_mut(&uid) {
            Some(taken) if *taken > 1 => *taken -= 1,
            Some(_) | None => {
                of.remove(&uid);
            }
        }
    }

    fn of(&mut self, operator: bool) -> &mut BTreeMap<u32, usize> {
        if operator { &mut self.operators } else { &mut self.readers }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fault_no_user_keeps_another_out() {
        let mut places = Places::default();
        for uid in [1000, 0] {
            (0..EACH).for_each(|_| places.take(uid, uid == 0).unwrap());
            let error = places.take(uid, uid == 0).unwrap_err().to_string();
            assert_eq!(error, format!("uid {uid} has {EACH} connections already; end one of them, or try again"));
        }
        places.take(1001, false).unwrap();
    }

    #[test]
    fn fault_readers_together_leave_room_for_the_operator() {
        let mut places = Places::default();
        (0..READERS).for_each(|n| places.take(1000 + n as u32, false).unwrap());
        let error = places.take(5000, false).unwrap_err().to_string();
        assert_eq!(error, format!("{READERS} readers are connected already; end one of them, or try again"));
        places.take(0, true).unwrap();
    }

    #[test]
    fn fault_a_place_that_is_left_can_be_taken_again_and_nothing_is_kept() {
        let mut places = Places::default();
        for _ in 0..3 {
            (0..EACH).for_each(|_| places.take(1000, false).unwrap());
            (0..EACH).for_each(|_| places.leave(1000, false));
        }
        assert!(places.readers.is_empty());
    }
}
