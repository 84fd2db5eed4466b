//! `lanekeeper top`: rates, shares, errors, latencies and what falls back, live.
//!
//! A [`Sample`] is what the agent hands out; two of them make [`Rates`]; a [`Screen`] takes samples and keys and draws what
//! follows from them. All of that is decided from values; [`terminal`] is what acts.

mod about;
mod columns;
pub mod delay;
mod draw;
mod help;
mod history;
mod latency;
mod list;
mod look;
mod number;
mod plain;
mod rates;
mod sample;
mod screen;
pub mod terminal;
mod view;

pub use draw::LEAST;
pub use latency::{Latency, Minute};
pub use list::Choice;
pub use look::{Environment, Look};
pub use plain::plain;
pub use rates::{Health, Rate, Rates, Row};
pub use sample::{ClassCount, Count, FallbackCount, LaneCount, RuleCount, Sample};
pub use screen::{Act, Options, Screen};
pub use view::{Sort, View};
