//! What `lanes_claims` says of each kernel, of lanes that are set up otherwise; and what lanes are good for.

use std::path::Path;

use xtask::demo::claims;
use xtask::demo::stage::{Show, congested, four_classes};
use xtask::lab::Family;
use xtask::lab::gateways::Gateways;
use xtask::lab::scenario::{Keying, Scenario};

const BINARY: &str = env!("CARGO_BIN_EXE_lanekeeper");

fn assert_own_sa_only(name: &str, scenario: Scenario) {
    let gateways = Gateways::start(name, scenario, Path::new(BINARY)).unwrap();
    claims::assert_all_hold(&four_classes(&gateways, Show { live: false }).unwrap());
}

#[test]
fn lanes_carry_their_class_only_with_certificates_over_ipv6() {
    let scenario = Scenario { outer: Family::V6, ..Scenario::four_classes(Keying::Certificate) };
    assert_own_sa_only("cert", scenario);
}

#[test]
fn lanes_carry_their_class_only_with_a_mask_among_foreign_bits() {
    let scenario = Scenario { mask: 0x0000_7000, ..Scenario::four_classes(Keying::Static) };
    assert_own_sa_only("mask", scenario);
}

#[test]
fn lanes_lose_nothing_where_one_sa_loses_bulk() {
    let run = |name: &str, scenario: Scenario| congested(name, scenario, Path::new(BINARY)).unwrap();
    let one = run("one SA", Scenario::one_sa(Keying::Psk));
    let lanes = run("lanes", Scenario::four_classes(Keying::Psk));
    claims::assert_all_hold(&claims::congestion(&one, &lanes));
}
