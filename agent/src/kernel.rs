//! The shell around this kernel: the only room that talks to it.

pub mod dataplane;
