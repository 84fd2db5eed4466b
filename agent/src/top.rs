//! What the running agent hands out for `lanekeeper top`.

mod sample;

pub use sample::{ClassCount, Count, FallbackCount, LaneCount, RuleCount, Sample};
