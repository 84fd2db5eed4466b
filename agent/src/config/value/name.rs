//! Names of classes, tunnels, tenants, rules, devices and cgroups.

use lanekeeper_common::abi::MAX_CGROUP_LEVELS;

use super::{Kind, Reason};
use crate::policy::cgroup::{LONGEST, names};
use crate::policy::{DEVICE_MOST, EACH};

/// A class: a name that is not one of the words that stand beside classes in `fallback`.
pub const CLASS: Kind<String> = Kind { wanted: "a name", example: "\"voice\"", text: class, number: None };

/// A tunnel or tenant: it becomes a metric's label and part of a CHILD_SA's name.
pub const NAME: Kind<String> = Kind { wanted: "a name", example: "\"voice\"", text: name, number: None };

/// A rule, which is only shown and counted.
pub const RULE_NAME: Kind<String> =
    Kind { wanted: "a name", example: "\"sip and rtp\"", text: rule_name, number: None };

/// A device that we make.
pub const DEVICE: Kind<String> =
    Kind { wanted: "a device name", example: "\"lk-branch7\"", text: device, number: None };

/// An interface that is there already.
pub const INTERFACE: Kind<String> =
    Kind { wanted: "an interface name", example: "\"lan0\"", text: interface, number: None };

/// A network namespace, by its name below /run/netns (ip-netns(8)).
pub const NAMESPACE: Kind<String> =
    Kind { wanted: "the name of a network namespace", example: "\"red\"", text: namespace, number: None };

/// A cgroup, by its path.
pub const CGROUP: Kind<String> =
    Kind { wanted: "the path of a cgroup", example: "\"/system.slice/backup.service\"", text: cgroup, number: None };

/// One whose packets are classified as they come in.
pub const PORT: Kind<String> = Kind { wanted: "an interface name", example: "\"lan0\"", text: port, number: None };

/// Longest name of a file.
const FILE_MOST: usize = 255;
/// Longest name of a class, tunnel or tenant.
const NAME_MOST: usize = 31;
/// Longest name of a rule.
const RULE_NAME_MOST: usize = 63;
/// Room for the if_ids of each IKE_SA's device: charon counts them from 1.
const EACH_DIGITS: usize = 6;

fn namespace(text: &str) -> Result<String, Reason> {
    const WHAT: &str = "namespaces are files below /run/netns";
    if let Some((_, name)) = text.rsplit_once('/') {
        let nearest = (!name.is_empty()).then(|| name.to_owned());
        return Err(Reason::Characters { value: text.to_owned(), found: "'/'".to_owned(), what: WHAT, nearest });
    }
    characters(text, |c| !c.is_control(), WHAT)?;
    match text {
        "." | ".." => Err(Reason::Reserved { value: text.to_owned(), why: "it is a folder" }),
        _ => length(text, FILE_MOST),
    }
}

fn class(text: &str) -> Result<String, Reason> {
    match text {
        "block" | "clear" => Err(Reason::Reserved { value: text.to_owned(), why: "fallback has a meaning for it" }),
        _ => name(text),
    }
}

fn name(text: &str) -> Result<String, Reason> {
    let good = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    characters(text, good, "names have letters, digits, \"_\", \".\" and \"-\"")?;
    length(text, NAME_MOST)
}

fn rule_name(text: &str) -> Result<String, Reason> {
    characters(text, |c| !c.is_control(), "names of rules have no control characters")?;
    length(text, RULE_NAME_MOST)
}

fn device(text: &str) -> Result<String, Reason> {
    if let Some((before, after)) = text.split_once(EACH) {
        let around = format!("{before}{after}");
        let most = DEVICE_MOST - EACH_DIGITS;
        return device(&around).and_then(|around| length(&around, most)).map(|_| text.to_owned());
    }
    let good = |c: char| c.is_ascii_alphanumeric() || "_.-@".contains(c);
    characters(text, good, "devices have letters, digits, \"_\", \".\" and \"-\"")?;
    length(text, DEVICE_MOST)?;
    match text {
        // Folders of /proc/sys/net/ipv4/conf.
        "all" | "default" => Err(Reason::Reserved { value: text.to_owned(), why: "the kernel's settings use it" }),
        "lo" => Err(Reason::Reserved { value: text.to_owned(), why: "it is the loopback device" }),
        // The kernel refuses these (dev_valid_name).
        "." | ".." => Err(Reason::Reserved { value: text.to_owned(), why: "it is a folder" }),
        _ => Ok(text.to_owned()),
    }
}

fn interface(text: &str) -> Result<String, Reason> {
    if text.contains(['*', '?', '+']) {
        let cure = "name each interface by itself: [\"lan0\", \"lan1\"]";
        return Err(Reason::NotYet { value: text.to_owned(), cure });
    }
    let good = |c: char| !c.is_whitespace() && !c.is_control() && !"/:".contains(c);
    characters(text, good, "interfaces have no spaces, \"/\" or \":\"")?;
    length(text, DEVICE_MOST)
}

fn cgroup(text: &str) -> Result<String, Reason> {
    if text.contains('*') {
        let cure = "name the cgroup that they are in, which is all of them: \"/user.slice\"";
        return Err(Reason::NotYet { value: text.to_owned(), cure });
    }
    characters(text, |c| !c.is_control(), "paths of cgroups have no control characters")?;
    // Where hierarchies are mounted.
    let hierarchy = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"].into_iter().find_map(|mount| text.strip_prefix(mount));
    let path = hierarchy.filter(|rest| rest.is_empty() || rest.starts_with('/')).unwrap_or(text);
    let whole: Vec<&str> = names(path).filter(|name| *name != ".").collect();
    let normal = format!("/{}", whole.join("/"));
    let wrong = |cure: String| Err(Reason::NotCgroup { value: text.to_owned(), cure });
    if whole.contains(&"..") {
        return wrong("write it from the root of the hierarchy on, like \"/system.slice/backup.service\"".to_owned());
    }
    if normal != text {
        return wrong(format!("did you mean \"{normal}\"?"));
    }
    let deepest = MAX_CGROUP_LEVELS as usize - 1;
    if whole.len() > deepest {
        let above = whole[..deepest].join("/");
        return wrong(format!("it is more than {deepest} levels deep: name one above it, like \"/{above}\""));
    }
    length(text, LONGEST)
}

fn port(text: &str) -> Result<String, Reason> {
    match text {
        "lo" => Err(Reason::Reserved { value: text.to_owned(), why: "it is the loopback device" }),
        _ => interface(text),
    }
}

fn characters(text: &str, good: impl Fn(char) -> bool, what: &'static str) -> Result<(), Reason> {
    if text.is_empty() {
        return Err(Reason::Empty);
    }
    let Some(bad) = text.chars().find(|&c| !good(c)) else { return Ok(()) };
    let found = match bad {
        ' ' => "a space".to_owned(),
        _ if bad.is_control() => "a control character".to_owned(),
        _ => format!("'{bad}'"),
    };
    let near: String = text.trim().chars().map(|c| if good(c) { c } else { '-' }).collect();
    let near = near.trim_matches('-');
    let nearest = (!near.is_empty()).then(|| near.to_owned());
    Err(Reason::Characters { value: text.escape_debug().to_string(), found, what, nearest })
}

fn length(text: &str, most: usize) -> Result<String, Reason> {
    match text.len() {
        length if length > most => Err(Reason::Long { value: text.to_owned(), length, most }),
        _ => Ok(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_to_their_characters_and_length() {
        assert_eq!(name("branch-7_a.b"), Ok("branch-7_a.b".to_owned()));
        assert_eq!(name(&"x".repeat(31)).map(|n| n.len()), Ok(31));
        assert!(matches!(name(&"x".repeat(32)), Err(Reason::Long { length: 32, most: 31, .. })));
        assert!(matches!(name(""), Err(Reason::Empty)));
        let Err(reason) = name("sip rtp") else { panic!("a space is no name") };
        assert_eq!(reason.cure().as_deref(), Some("did you mean \"sip-rtp\"?"));
    }

    #[test]
    fn devices_fit_the_kernel() {
        assert_eq!(device("lk-branch7-long"), Ok("lk-branch7-long".to_owned()));
        assert!(matches!(device("lk-branch7-longer"), Err(Reason::Long { most: 15, .. })));
        assert!(matches!(device("all"), Err(Reason::Reserved { .. })));
        assert!(matches!(device("a/b"), Err(Reason::Characters { .. })));
    }

    #[test]
    fn paths_of_cgroups_are_absolute_and_normal() {
        for good in ["/", "/system.slice/backup.service", "/a b/dev-disk\\x2d1.swap"] {
            assert_eq!(cgroup(good), Ok(good.to_owned()));
        }
        for (bad, meant) in [
            ("system.slice/backup.service", "/system.slice/backup.service"),
            ("/a//b/", "/a/b"),
            ("/a/./b", "/a/b"),
            ("/sys/fs/cgroup/system.slice", "/system.slice"),
            ("/sys/fs/cgroup/unified/", "/"),
        ] {
            let reason = cgroup(bad).expect_err(bad);
            assert_eq!(reason.cure(), Some(format!("did you mean \"{meant}\"?")));
        }
        assert!(matches!(cgroup("/a/../b"), Err(Reason::NotCgroup { .. })));
        assert!(matches!(cgroup("/user.slice/user-*.slice"), Err(Reason::NotYet { .. })));
        assert!(matches!(cgroup(""), Err(Reason::Empty)));
        assert!(cgroup(&"/a".repeat(15)).is_ok());
        assert!(matches!(cgroup(&"/a".repeat(16)), Err(Reason::NotCgroup { .. })));
        assert!(cgroup(&format!("/{}", "x".repeat(LONGEST - 1))).is_ok());
        assert!(matches!(cgroup(&format!("/{}", "x".repeat(LONGEST))), Err(Reason::Long { .. })));
    }

    #[test]
    fn a_pattern_is_no_interface() {
        assert!(matches!(interface("lan*"), Err(Reason::NotYet { .. })));
        assert_eq!(interface("eth0.12"), Ok("eth0.12".to_owned()));
    }
}
