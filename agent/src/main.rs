//! Lanekeeper's one program: the agent and the commands that speak to it.

use std::process::ExitCode;

fn main() -> ExitCode {
    lanekeeper::cli::main()
}
