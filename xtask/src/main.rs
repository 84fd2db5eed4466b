//! Lanekeeper.
fn main() {}
