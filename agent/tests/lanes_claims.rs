//! Every class through its own CHILD_SA, and why.

use std::path::Path;

use xtask::demo::claims::{self, Claim};
use xtask::demo::stage::{Show, congested, four_classes};
use xtask::lab::Family;
use xtask::lab::gateways::Gateways;
use xtask::lab::scenario::{Keying, Scenario};

const BINARY: &str = env!("CARGO_BIN_EXE_lanekeeper");

fn assert_all_hold(claims: &[Claim]) {
    let report: Vec<String> = claims.iter().map(ToString::to_string).collect();
    println!("{}", report.join("\n"));
    assert!(!claims.is_empty() && claims.iter().all(|claim| claim.holds), "{}", report.join("\n"));
}

fn assert_own_sa_only(name: &str, scenario: Scenario) {
    let gateways = Gateways::start(name, scenario, Path::new(BINARY)).unwrap();
    assert_all_hold(&four_classes(&gateways, Show { live: false }).unwrap());
}

#[test]
fn lanes_carry_their_class_only_with_a_pre_shared_key() {
    assert_own_sa_only("psk", Scenario::four_classes(Keying::Psk));
}

#[test]
fn lanes_carry_their_class_only_with_certificates_over_ipv6() {
    let scenario = Scenario { outer: Family::V6, ..Scenario::four_classes(Keying::Certificate) };
    assert_own_sa_only("cert", scenario);
}

#[test]
fn lanes_carry_their_class_only_with_static_keys() {
    assert_own_sa_only("static", Scenario::four_classes(Keying::Static));
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
    assert_all_hold(&claims::congestion(&one, &lanes));
}
