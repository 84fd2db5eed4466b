//! The parts of `benches/classify` that only think: frames, lists, the words of other engines, goals, the report.
#![allow(dead_code, reason = "the measuring parts are not here")]

#[path = "../witness/mod.rs"]
mod witness;

#[path = "../../benches/classify/bpf.rs"]
mod bpf;
#[path = "../../benches/classify/frame.rs"]
mod frame;
#[path = "../../benches/classify/goals.rs"]
mod goals;
#[path = "../../benches/classify/gro.rs"]
mod gro;
#[path = "../../benches/classify/lists.rs"]
mod lists;
#[path = "../../benches/classify/page.rs"]
mod page;
#[path = "../../benches/classify/peer.rs"]
mod peer;
#[path = "../../benches/classify/report.rs"]
mod report;
#[path = "../../benches/classify/stage.rs"]
mod stage;
#[path = "../../benches/classify/stats.rs"]
mod stats;

mod counting;
mod frames;
mod judging;
mod making;
mod printing;
mod wording;
