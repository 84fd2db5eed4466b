//! How much work strangers may make: bcrypt is slow by design, and whoever sends wrong passwords has us do it.
//!
//! One is asked at a time, and after a wrong password nobody is for [`PAUSE`] times as long as that took: a flood takes a fifth of
//! one CPU, whatever hash and flood are like. Each address has few places in the row, so that it keeps no other out for long;
//! whoever was right before does not stand in it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::Semaphore;

use super::Web;
use super::users::Credentials;
use crate::places::{Limits, Places};

/// Callers that wait for bcrypt, of one address and of all.
const ROW: Limits = Limits { each: 4, all: 16 };

/// How many times as long as the check of a wrong password nothing is checked after it.
const PAUSE: u32 = 4;

/// What becomes of a caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It may ask.
    Right,
    /// It may not.
    Wrong,
    /// Too many wait already.
    Busy,
}

/// The row before bcrypt.
pub struct Checks {
    row: Places<IpAddr>,
    desk: Arc<Semaphore>,
}

impl Default for Checks {
    fn default() -> Self {
        Self { row: Places::new(ROW), desk: Arc::new(Semaphore::new(1)) }
    }
}

impl Checks {
    /// Whether these are a user's, asked by that address.
    pub async fn judge(&self, web: &Arc<Web>, who: Credentials, from: IpAddr) -> Verdict {
        if web.users.remember(&who) {
            return Verdict::Right;
        }
        let Ok(place) = self.row.take(from) else { return Verdict::Busy };
        let Ok(desk) = Arc::clone(&self.desk).acquire_owned().await else { return Verdict::Busy };
        // Somebody else may have been right with the same meanwhile.
        if web.users.remember(&who) {
            return Verdict::Right;
        }
        let web = Arc::clone(web);
        // A caller that hangs up leaves the check behind, which goes on: it keeps the desk until it is done.
        let check = tokio::spawn(async move {
            let started = Instant::now();
            let right = tokio::task::spawn_blocking(move || web.users.check(&who)).await.unwrap_or(false);
            drop(place);
            if !right {
                let pause = started.elapsed() * PAUSE;
                tokio::spawn(async move {
                    tokio::time::sleep(pause).await;
                    drop(desk);
                });
            }
            right
        });
        if check.await.unwrap_or(false) { Verdict::Right } else { Verdict::Wrong }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use zeroize::Zeroizing;

    use super::*;
    use crate::web::Users;

    fn web(cost: u32) -> Arc<Web> {
        let hash = bcrypt::hash("right", cost).unwrap();
        Arc::new(Web { users: Users::new([("scraper".to_owned(), hash)].into()), ..Web::default() })
    }

    fn who(password: &str) -> Credentials {
        Credentials { name: "scraper".into(), password: Zeroizing::new(password.into()) }
    }

    fn from(last: u8) -> IpAddr {
        IpAddr::from([127, 0, 0, last])
    }

    #[tokio::test]
    async fn fault_a_flood_of_wrong_passwords_takes_little_time_and_keeps_no_other_address_out() {
        let (checks, web) = (Arc::new(Checks::default()), web(6));
        let once = Instant::now();
        assert_eq!(checks.judge(&web, who("wrong"), from(1)).await, Verdict::Wrong);
        let once = once.elapsed();
        let flood: Vec<_> = (0..40)
            .map(|n| {
                let (checks, web) = (Arc::clone(&checks), Arc::clone(&web));
                tokio::spawn(async move { checks.judge(&web, who(&format!("wrong {n}")), from(1)).await })
            })
            .collect();
        tokio::task::yield_now().await;
        let started = Instant::now();
        assert_eq!(checks.judge(&web, who("right"), from(2)).await, Verdict::Right);
        // Behind four others at most, each with its pause.
        let bound = once * (ROW.each as u32 + 2) * (PAUSE + 1) + Duration::from_secs(3);
        assert!(started.elapsed() < bound, "{:?} {once:?}", started.elapsed());
        let mut verdicts = Vec::new();
        for one in flood {
            verdicts.push(one.await.unwrap());
        }
        let busy = verdicts.iter().filter(|verdict| **verdict == Verdict::Busy).count();
        assert_eq!(busy, 40 - ROW.each, "{verdicts:?}");
        assert!(verdicts.iter().all(|verdict| *verdict != Verdict::Right), "{verdicts:?}");
    }

    #[tokio::test]
    async fn fault_whoever_was_right_before_does_not_wait_behind_wrong_ones() {
        let (checks, web) = (Checks::default(), web(8));
        assert_eq!(checks.judge(&web, who("right"), from(1)).await, Verdict::Right);
        // From here the desk is closed for a while.
        assert_eq!(checks.judge(&web, who("wrong"), from(1)).await, Verdict::Wrong);
        assert_eq!(checks.desk.available_permits(), 0);
        for _ in 0..100 {
            assert_eq!(checks.judge(&web, who("right"), from(1)).await, Verdict::Right);
        }
        assert_eq!(checks.desk.available_permits(), 0);
    }

    #[tokio::test]
    async fn fault_a_caller_that_hangs_up_leaves_neither_place_nor_desk_taken() {
        let (checks, web) = (Checks::default(), web(4));
        for n in 0..20 {
            let asked = checks.judge(&web, who(&format!("wrong {n}")), from(1));
            let _ = tokio::time::timeout(Duration::from_micros(50), asked).await;
        }
        let mut row = Vec::new();
        let mut tries = 0;
        while row.len() < ROW.each && tries < 200 {
            match checks.row.take(from(1)) {
                Ok(place) => row.push(place),
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
            tries += 1;
        }
        assert_eq!(row.len(), ROW.each);
        drop(row);
        assert_eq!(checks.judge(&web, who("right"), from(1)).await, Verdict::Right);
    }
}
