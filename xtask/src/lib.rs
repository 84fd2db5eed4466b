//! Lanekeeper's set-up, builds, guests, tests and demo: `cargo xtask --help`.

pub mod lab;
