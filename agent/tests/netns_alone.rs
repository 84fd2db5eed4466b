//! What runs alone leaves nothing: neither in this machine's namespaces, nor when whoever started it is killed.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use xtask::alone::alone;

#[test]
fn alone_has_namespaces_of_its_own_and_the_programs_exit_status() {
    let script = "test $$ -lt 10; test ! -e /sys/class/net/eth0; ip netns add lk-alone; ip netns list; exit 7";
    let output = alone().args(["sh", "-ec", script]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "lk-alone\n", "{output:?}");
    assert_eq!(output.status.code(), Some(7));
    let outside = Command::new("ip").args(["netns", "list"]).output().unwrap();
    assert!(!String::from_utf8_lossy(&outside.stdout).contains("lk-alone"));
}

#[test]
fn alone_ends_with_the_process_that_started_it_even_by_sigkill() {
    // A shell in our place. What it starts ignores the signals of a terminal and has a child, and both hold its stdout.
    let inner = "trap '' INT TERM HUP; setsid sleep 600 & echo up; sleep 600";
    let alone = alone();
    let mut parent = Command::new("sh");
    parent.args(["-c", "\"$@\" & wait", "sh"]).arg(alone.get_program()).args(alone.get_args());
    let mut parent = parent.args(["sh", "-c", inner]).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdout = BufReader::new(parent.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    assert_eq!(line, "up\n");

    parent.kill().unwrap();
    parent.wait().unwrap();
    let (sender, closed) = mpsc::channel();
    thread::spawn(move || sender.send(stdout.read_to_end(&mut Vec::new())));
    let end = closed.recv_timeout(Duration::from_secs(60)).expect("what it started still runs");
    assert_eq!(end.unwrap(), 0);
}
