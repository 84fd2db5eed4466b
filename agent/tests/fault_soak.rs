//! Some steps of what `cargo xtask soak` does for as long as it is told to.

use std::path::Path;
use std::time::Duration;

use xtask::soak::event::Kind;
use xtask::soak::stage::{Order, soak};

/// What comes when is the same each time: a failure here can be had again.
const SEED: u64 = 6;

#[test]
fn fault_soak_short() {
    let order = Order { seed: SEED, kinds: Kind::ALL.into(), time: Duration::from_secs(45) };
    let report = soak(Path::new(env!("CARGO_BIN_EXE_lanekeeper")), order).unwrap();
    println!("{report}");
    assert_eq!(report.failures(), [] as [String; 0]);
}
