//! Waiting for what comes by itself, in a machine of one emulated processor.

use std::thread;
use std::time::{Duration, Instant};

/// Whether `holds` does within `limit`.
pub fn until(limit: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    loop {
        let looked = Instant::now();
        if holds() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        thread::sleep(pause(looked.elapsed()));
    }
}

/// Between two looks, the last of which took `took`: who looks leaves half of a processor to who is waited for.
pub fn pause(took: Duration) -> Duration {
    took.clamp(Duration::from_millis(50), Duration::from_millis(500))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_is_seen_and_what_does_not_is_given_up() {
        let mut looks = 0;
        let third = || {
            looks += 1;
            looks == 3
        };
        assert!(until(Duration::from_secs(9), third));
        let start = Instant::now();
        assert!(!until(Duration::from_millis(80), || false));
        assert!(start.elapsed() >= Duration::from_millis(80));
    }
}
