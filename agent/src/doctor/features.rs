//! The kernel, and what it is built with.

use super::Finding;

const CHECK: &str = "kernel";

/// What is known of it; `None` where nothing tells.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Features {
    /// `uname -r`.
    pub release: Option<String>,
    /// The options that we need, and whether it has each.
    pub options: Vec<(&'static str, Option<bool>)>,
    /// Where there is no bpffs though there should be.
    pub no_bpffs: Option<String>,
    /// Why packets cannot be timed, where they are to be.
    pub untimed: Option<String>,
}

/// Of the options, what each brings.
pub const OPTIONS: [(&str, &str); 5] = [
    ("CONFIG_INET_ESP", "ESP over IPv4"),
    ("CONFIG_INET6_ESP", "ESP over IPv6"),
    ("CONFIG_XFRM_INTERFACE", "XFRM interface"),
    ("CONFIG_BPF_SYSCALL", "BPF"),
    ("CONFIG_NET_CLS_ACT", "hook for programs"),
];

/// Too old, or built without.
pub fn findings(features: &Features) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(release) = features.release.as_ref().filter(|release| is_old(release)) {
        let problem = format!("Linux {release} is older than 6.1, the oldest that Lanekeeper is tested on");
        findings.push(Finding::advise(CHECK, problem, "install a newer kernel"));
    }
    for (option, _) in features.options.iter().filter(|(_, has)| *has == Some(false)) {
        let what = OPTIONS.iter().find(|(name, _)| name == option).map_or("such thing", |(_, what)| what);
        let problem = format!("this kernel has no {what}: it lacks {option}");
        findings.push(Finding::advise(CHECK, problem, "install a kernel with it (Debian's has it), or its modules"));
    }
    if let Some(path) = &features.no_bpffs {
        let problem = format!("no bpffs is mounted on {path}: programs and counters have no place to stay");
        findings.push(Finding::run(CHECK, problem, format!("mount -t bpf bpf {path}")));
    }
    if let Some(why) = &features.untimed {
        let problem = format!(
            "packets are not timed, as latency-every wants: where this kernel keeps timestamps is not known ({why}); the \
             histograms stay at zero"
        );
        let cure =
            "install a kernel with CONFIG_DEBUG_INFO_BTF (Debian's has it), or leave latency-every out of [metrics]";
        findings.push(Finding::advise(CHECK, problem, cure));
    }
    findings
}

/// A release that cannot be read is not called old.
fn is_old(release: &str) -> bool {
    let mut numbers = release.split(['.', '-']).map(|number| number.parse::<u32>().ok());
    match (numbers.next().flatten(), numbers.next().flatten()) {
        (Some(major), Some(minor)) => (major, minor) < (6, 1),
        (None, _) | (_, None) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::said;
    use super::*;

    #[test]
    fn what_is_missing_is_said_and_what_is_unknown_is_not() {
        let features = Features {
            release: Some("5.10.0-30-amd64".into()),
            options: vec![
                ("CONFIG_INET_ESP", Some(true)),
                ("CONFIG_INET6_ESP", None),
                ("CONFIG_XFRM_INTERFACE", Some(false)),
            ],
            no_bpffs: Some("/sys/fs/bpf".into()),
            untimed: Some("/sys/kernel/btf/vmlinux: No such file or directory (os error 2)".into()),
        };
        assert_eq!(
            said(&findings(&features)),
            [
                "Linux 5.10.0-30-amd64 is older than 6.1, the oldest that Lanekeeper is tested on -> install a newer kernel",
                "this kernel has no XFRM interface: it lacks CONFIG_XFRM_INTERFACE -> install a kernel with it (Debian's has it), or \
                 its modules",
                "no bpffs is mounted on /sys/fs/bpf: programs and counters have no place to stay -> mount -t bpf bpf /sys/fs/bpf",
                "packets are not timed, as latency-every wants: where this kernel keeps timestamps is not known (/sys/kernel/btf/vmlinux: \
                 No such file or directory (os error 2)); the histograms stay at zero -> install a kernel with CONFIG_DEBUG_INFO_BTF \
                 (Debian's has it), or leave latency-every out of [metrics]",
            ]
        );
    }

    #[test]
    fn releases_are_compared_as_numbers() {
        assert_eq!(["6.1.0", "6.12", "7.0-rc1", "strange", "5.19"].map(is_old), [false, false, false, false, true]);
    }
}
