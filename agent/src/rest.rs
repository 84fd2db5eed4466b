//! Work that is done again at each event, and leaves others their share of the processor.

use std::time::{Duration, Instant};

/// How many times as long as the work took it rests: it has a tenth of the time.
const TIMES: u32 = 9;
/// At most: who waits for it waits no longer.
const MOST: Duration = Duration::from_secs(1);

/// Rests after each piece of work, the longer the longer that took.
#[derive(Debug, Clone)]
pub struct Rest {
    until: Instant,
}

impl Rest {
    /// Before any work.
    pub fn new() -> Self {
        Self { until: Instant::now() }
    }

    /// A piece of work has ended that began at `start`.
    pub fn since(&mut self, start: Instant) {
        let now = Instant::now();
        self.until = now + length(now.saturating_duration_since(start));
    }

    /// What is left of the rest.
    pub fn left(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }
}

fn length(work: Duration) -> Duration {
    work.saturating_mul(TIMES).min(MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_waits_longer_than_a_second() {
        let ms = Duration::from_millis;
        assert_eq!([0, 1, 5, 200].map(|work| length(ms(work))), [ms(0), ms(9), ms(45), ms(1000)]);
        assert_eq!(length(Duration::MAX), ms(1000));
    }

    #[test]
    fn the_first_work_is_done_at_once() {
        let mut rest = Rest::new();
        assert_eq!(rest.left(), Duration::ZERO);
        rest.since(Instant::now() - Duration::from_secs(5));
        assert!(rest.left() > Duration::from_millis(500), "{rest:?}");
    }
}
