//! Lanekeeper's set-up, builds, guests, tests and demo: `cargo xtask --help`.

pub mod alone;
pub mod apt;
pub mod artifact;
pub mod bench;
pub mod dashboards;
pub mod demo;
pub mod ebpf;
pub mod fuzz;
pub mod guest;
pub mod lab;
pub mod release;
pub mod setup;
pub mod shell;
pub mod soak;
pub mod test;
pub mod verifier;
pub mod witness;
pub mod workspace;
