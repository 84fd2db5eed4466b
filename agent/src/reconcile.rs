//! The shell that joins the rooms: file -> policy -> tables and desired state -> plan -> kernel, charon and data path; and
//! then what happens, for as long as the agent runs. Only this room sees all the others.

pub mod lanes;
