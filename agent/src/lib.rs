//! Lanekeeper: keeps several identical CHILD_SAs per tunnel and steers each packet to the one of its QoS class.
//!
//! One direction: `config` -> `policy` -> `compile` -> `plan` -> `kernel`. Only `reconcile` sees all.

pub mod check;
pub mod checkup;
pub mod cli;
pub mod compile;
pub mod config;
pub mod control;
pub mod devices;
pub mod doctor;
pub mod explain;
pub mod failpoint;
pub mod ike;
pub mod import;
pub mod kernel;
pub mod keyfile;
pub mod lane;
pub mod metrics;
pub mod model;
pub mod observe;
mod places;
pub mod plan;
pub mod policy;
pub mod reconcile;
mod rest;
pub mod status;
pub mod sysdump;
pub mod top;
pub mod vici;
pub mod web;
