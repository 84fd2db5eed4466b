//! Every class through its own CHILD_SA; `lanes_variants` says so of other ways to set them up, and what it is good for.

use std::path::Path;

use xtask::demo::claims;
use xtask::demo::stage::{Show, four_classes};
use xtask::lab::gateways::Gateways;
use xtask::lab::scenario::{Keying, Scenario};

const BINARY: &str = env!("CARGO_BIN_EXE_lanekeeper");

fn assert_own_sa_only(name: &str, scenario: Scenario) {
    let gateways = Gateways::start(name, scenario, Path::new(BINARY)).unwrap();
    claims::assert_all_hold(&four_classes(&gateways, Show { live: false }).unwrap());
}

#[test]
fn lanes_carry_their_class_only_with_a_pre_shared_key() {
    assert_own_sa_only("psk", Scenario::four_classes(Keying::Psk));
}

#[test]
fn lanes_carry_their_class_only_with_static_keys() {
    assert_own_sa_only("static", Scenario::four_classes(Keying::Static));
}
