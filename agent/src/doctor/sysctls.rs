//! Values below /proc/sys.

use std::collections::{BTreeMap, BTreeSet};

use super::mtu::Wan;
use super::{Finding, Scope};

const CHECK: &str = "sysctl";

/// By path below /proc/sys; what is not there is not known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sysctls(pub BTreeMap<String, String>);

impl Sysctls {
    fn number(&self, path: &str) -> Option<u32> {
        self.0.get(path)?.trim().parse().ok()
    }

    fn conf(&self, family: &str, device: &str, key: &str) -> Option<u32> {
        self.number(&format!("net/{family}/conf/{device}/{key}"))
    }

    /// No device of that family forwards.
    fn forwards_nothing(&self, family: &str) -> bool {
        let prefix = format!("net/{family}/conf/");
        let values: Vec<_> = self
            .0
            .iter()
            .filter(|(path, _)| path.starts_with(&prefix) && path.ends_with("/forwarding"))
            .filter(|(path, _)| !path.contains("/lo/") && !path.contains("/default/"))
            .collect();
        !values.is_empty() && values.iter().all(|(_, value)| value.trim() == "0")
    }
}

/// What drops packets without a word.
pub fn findings(sysctls: &Sysctls, scope: &Scope, wans: &[Wan]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let devices: BTreeSet<&str> =
        scope.devices.iter().map(String::as_str).chain(wans.iter().map(|wan| wan.device.as_str())).collect();
    for device in &devices {
        findings.extend(rp_filter(sysctls, device));
    }
    findings.extend(forwarding(sysctls, scope));
    for device in scope.tunnels.iter().filter(|tunnel| tunnel.routes.iter().any(|route| route.addr().is_ipv6())) {
        let device = &device.device;
        if sysctls.conf("ipv6", device, "disable_ipv6") == Some(1) {
            let problem = format!("IPv6 is disabled on {device}, which has IPv6 routes");
            findings.push(Finding::run(CHECK, problem, write(&format!("net/ipv6/conf/{device}/disable_ipv6"), 0)));
        }
    }
    if sysctls.number("net/core/bpf_jit_enable") == Some(0) {
        let problem = "BPF programs are interpreted: each packet costs several times as much".to_owned();
        findings.push(Finding::run(CHECK, problem, write("net/core/bpf_jit_enable", 1)));
    }
    findings
}

/// The kernel takes the greater of all's and the device's (Documentation/networking/ip-sysctl.rst).
fn rp_filter(sysctls: &Sysctls, device: &str) -> Option<Finding> {
    let (all, own) = (sysctls.conf("ipv4", "all", "rp_filter")?, sysctls.conf("ipv4", device, "rp_filter")?);
    // The way back is then looked for by the mark, as devices of lanes need it.
    let by_mark = sysctls.conf("ipv4", device, "src_valid_mark") == Some(1);
    (all.max(own) == 1 && !by_mark).then(|| {
        let problem = format!(
            "rp_filter is strict on {device} (all {all}, its own {own}): packets whose sources are not routed back by it are \
             dropped without a word"
        );
        Finding::run(CHECK, problem, write(&format!("net/ipv4/conf/{device}/rp_filter"), 2))
    })
}

fn forwarding(sysctls: &Sysctls, scope: &Scope) -> Vec<Finding> {
    let routes = || scope.tunnels.iter().flat_map(|tunnel| &tunnel.routes);
    let families = [
        ("ipv4", "IPv4", "net/ipv4/ip_forward", routes().any(|route| route.addr().is_ipv4())),
        ("ipv6", "IPv6", "net/ipv6/conf/all/forwarding", routes().any(|route| route.addr().is_ipv6())),
    ];
    let off = families.into_iter().filter(|(family, _, _, routed)| *routed && sysctls.forwards_nothing(family));
    off.map(|(_, name, path, _)| {
        let problem = format!("no interface forwards {name}: the tunnels carry only what this host itself sends");
        Finding::run(CHECK, problem, write(path, 1))
    })
    .collect()
}

/// With slashes: a device's name may have dots.
fn write(path: &str, value: u32) -> String {
    format!("sysctl -w {path}={value}")
}

#[cfg(test)]
mod tests {
    use super::super::tests::{said, scope};
    use super::*;

    fn sysctls(values: &[(&str, &str)]) -> Sysctls {
        Sysctls(values.iter().map(|(path, value)| ((*path).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn the_greater_of_all_and_the_device_is_what_counts() {
        for (all, own, strict) in
            [("0", "0", false), ("1", "0", true), ("0", "1", true), ("1", "2", false), ("2", "1", false)]
        {
            let sysctls = sysctls(&[("net/ipv4/conf/all/rp_filter", all), ("net/ipv4/conf/lk-b7/rp_filter", own)]);
            assert_eq!(!findings(&sysctls, &scope(), &[]).is_empty(), strict, "{all} {own}");
        }
        let by_mark = [("net/ipv4/conf/all/rp_filter", "1"), ("net/ipv4/conf/lk-b7/rp_filter", "0")];
        let by_mark = [&by_mark[..], &[("net/ipv4/conf/lk-b7/src_valid_mark", "1")]].concat();
        assert!(findings(&self::sysctls(&by_mark), &scope(), &[]).is_empty());
        let sysctls = sysctls(&[("net/ipv4/conf/all/rp_filter", "1"), ("net/ipv4/conf/eth0.12/rp_filter", "0")]);
        let wan = Wan { tunnel: "b7".into(), device: "eth0.12".into(), mtu: 1500 };
        assert_eq!(
            said(&findings(&sysctls, &scope(), &[wan])),
            [
                "rp_filter is strict on eth0.12 (all 1, its own 0): packets whose sources are not routed back by it are dropped \
              without a word -> sysctl -w net/ipv4/conf/eth0.12/rp_filter=2"
            ]
        );
    }

    #[test]
    fn what_switches_a_family_or_the_jit_off_is_said() {
        let sysctls = sysctls(&[("net/ipv6/conf/lk-b7/disable_ipv6", "1"), ("net/core/bpf_jit_enable", "0\n")]);
        assert_eq!(
            said(&findings(&sysctls, &scope(), &[])),
            [
                "IPv6 is disabled on lk-b7, which has IPv6 routes -> sysctl -w net/ipv6/conf/lk-b7/disable_ipv6=0",
                "BPF programs are interpreted: each packet costs several times as much -> sysctl -w net/core/bpf_jit_enable=1",
            ]
        );
    }

    #[test]
    fn one_interface_that_forwards_is_enough() {
        let off = [
            ("net/ipv4/conf/all/forwarding", "0"),
            ("net/ipv4/conf/lo/forwarding", "1"),
            ("net/ipv4/conf/lan0/forwarding", "0"),
        ];
        assert_eq!(
            said(&findings(&sysctls(&off), &scope(), &[])),
            [
                "no interface forwards IPv4: the tunnels carry only what this host itself sends -> sysctl -w net/ipv4/ip_forward=1"
            ]
        );
        let on = [off[0], ("net/ipv4/conf/lan0/forwarding", "1")];
        assert_eq!(findings(&sysctls(&on), &scope(), &[]), []);
    }
}
