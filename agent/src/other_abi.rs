//! The agent with another version of the maps, which tests upgrade to and downgrade from.

use std::process::ExitCode;

fn main() -> ExitCode {
    lanekeeper::cli::main()
}
