//! A program that has the machine to itself: network, mount and process namespaces of its own, gone with all that is in
//! them when the program ends, or when this process does, however that is.

use std::process::Command;

/// Runs the program that is added to it as an argument, alone.
///
/// The kernel kills unshare when the thread that started it ends, and with it the first process of the namespace, and with
/// that all others: nothing is left to a signal handler, and SIGKILL of this process is no exception.
pub fn alone() -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--", "unshare", "--net", "--mount", "--pid", "--fork", "--kill-child"]);
    command.args(["--mount-proc", "sh", "-ec", include_str!("alone.sh"), "sh"]);
    command
}
