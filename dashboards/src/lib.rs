//! Dashboards and rules for what the agent exports. `boards` and `rules` are the source, `cargo xtask dashboards` writes the
//! JSON and the YAML beside this crate.
//!
//! Queries are made of the agent's own list of metrics, and never of text: one that names a metric or a label that the agent
//! does not export cannot be made.
#![forbid(unsafe_code)]

pub mod board;
pub mod boards;
pub mod files;
pub mod panel;
pub mod query;
pub mod rules;
pub mod variable;
