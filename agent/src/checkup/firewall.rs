//! What firewalls write into marks, by their own programs' lists.

use std::process::Command;

use crate::doctor::Unseen;
use crate::doctor::mangling::{Writer, of_iptables, of_nft};

/// Of nft and of both forms of iptables. A program that is not there has no rules that it could list.
pub(super) fn writers(unseen: &mut Vec<Unseen>) -> Vec<Writer> {
    let mut writers = Vec::new();
    if let Some(list) = listed(unseen, "nft", &["-j", "list", "ruleset"]) {
        match serde_json::from_str(&list).ok().as_ref().and_then(of_nft) {
            Some(found) => writers.extend(found),
            None => {
                unseen.push(Unseen { what: "rules of nft".into(), why: "its list is no JSON that is known".into() })
            }
        }
    }
    for program in ["iptables", "ip6tables"] {
        for form in ["nft", "legacy"] {
            let save = format!("{program}-{form}-save");
            // The legacy form would load its modules to say that there is nothing.
            let names = format!("/proc/net/{}_tables_names", program.trim_end_matches("tables"));
            if form == "legacy" && std::fs::read_to_string(names).is_ok_and(|names| names.trim().is_empty()) {
                continue;
            }
            if let Some(dump) = listed(unseen, &save, &["-t", "mangle"]) {
                writers.extend(of_iptables(program, &dump));
            }
        }
    }
    writers
}

/// `None` where it is not there or fails; the latter is said.
fn listed(unseen: &mut Vec<Unseen>, program: &str, arguments: &[&str]) -> Option<String> {
    let mut fail = |why: String| {
        unseen.push(Unseen { what: format!("rules of {program}"), why });
        None
    };
    match Command::new(program).args(arguments).output() {
        Ok(output) if output.status.success() => Some(String::from_utf8_lossy(&output.stdout).into_owned()),
        Ok(output) => {
            fail(String::from_utf8_lossy(&output.stderr).trim().lines().next().unwrap_or_default().to_owned())
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && program != "nft" => None,
        Err(error) => fail(format!("cannot run it: {error}")),
    }
}
