//! What this machine lacks, and what set-up says where it may not bring it.

use std::fmt::Write as _;

use anyhow::Result;

use super::packages::{self, Package};
use super::prometheus::{self, Release};
use super::{Need, cargo, compiler, foreign, grafana, strongswan};
use crate::guest::kernel::{self, Label};
use crate::workspace::Workspace;
use crate::{apt, shell};

/// What set-up may do here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machine {
    /// There is an archive to take packages, a compiler and kernels from.
    pub debian: bool,
    /// Packages may be installed.
    pub root: bool,
}

/// One thing that is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lack {
    /// A package, or what it would have brought.
    Package(Package),
    /// bpf-linker.
    Linker,
    /// A compiler for BPF, and why none was found.
    Compiler(String),
    /// cargo-deny.
    Deny,
    /// cargo-cyclonedx.
    Materials,
    /// Prometheus with its promtool.
    Prometheus,
    /// Grafana's components.
    Grafana,
    /// Rule sets in the source of this package.
    ForeignRules(&'static str),
    /// strongSwan of this release.
    ForeignStrongswan(&'static str),
    /// A guest kernel.
    Kernel(Label),
}

impl Machine {
    /// This one.
    pub fn this() -> Self {
        Self { debian: apt::codename().is_some(), root: shell::is_root() }
    }

    fn brings(self, lack: &Lack) -> bool {
        match lack {
            Lack::Package(_) => self.debian && self.root,
            Lack::Compiler(_)
            | Lack::Prometheus
            | Lack::ForeignRules(_)
            | Lack::ForeignStrongswan(_)
            | Lack::Kernel(_) => self.debian,
            Lack::Linker | Lack::Deny | Lack::Materials | Lack::Grafana => true,
        }
    }

    /// A line about it.
    fn describe(self, lack: &Lack) -> String {
        match lack {
            Lack::Package(package) if self.debian => format!("the package {}", package.name),
            Lack::Package(package) => format!("{}, in Debian's package {}", package.sign, package.name),
            Lack::Linker => format!("bpf-linker {} (set-up builds it)", cargo::LINKER),
            Lack::Compiler(_) if self.debian => "a compiler for BPF (set-up unpacks rustc-web)".to_string(),
            Lack::Compiler(why) => format!("a compiler for BPF: {why}"),
            Lack::Deny => format!("cargo-deny {} (set-up builds it)", cargo::DENY),
            Lack::Materials => format!("cargo-cyclonedx {} (set-up builds it)", cargo::MATERIALS),
            Lack::Prometheus if self.debian => "Prometheus 2.x and 3.x (set-up unpacks them)".to_string(),
            Lack::Prometheus => {
                "the programs prometheus and promtool, of 2.x in target/tools/prometheus-2/usr/bin and of 3.x in \
                                 target/tools/prometheus-3/usr/bin, as in Debian's packages prometheus and promtool"
                    .to_string()
            }
            Lack::Grafana => "Grafana's components (set-up fetches them by npm)".to_string(),
            Lack::ForeignRules(package) if self.debian => {
                format!("the rule sets of {package} (set-up unpacks its source)")
            }
            Lack::ForeignRules(package) => {
                format!("the rule sets of {package}: target/foreign/{package}, as set-up makes it on a Debian")
            }
            Lack::ForeignStrongswan(release) if self.debian => format!("strongSwan {release} (set-up unpacks it)"),
            Lack::ForeignStrongswan(release) => {
                format!("strongSwan {release}: target/foreign/strongswan-{release}, as set-up makes it on a Debian")
            }
            Lack::Kernel(label) if self.debian => format!("the guest kernel {label} (set-up unpacks it)"),
            Lack::Kernel(label) => {
                format!("the guest kernel {label}: target/guest/{label}, as set-up makes it on a Debian")
            }
        }
    }
}

/// All that is missing of `needs`.
pub fn lacks(workspace: &Workspace, needs: &[Need], machine: Machine) -> Result<Vec<Lack>> {
    let packages = packages::missing(workspace, needs, machine.debian);
    let mut lacks: Vec<Lack> = packages.into_iter().map(Lack::Package).collect();
    for need in needs {
        if *need == Need::ForeignRules {
            lacks.extend(foreign::missing(workspace).into_iter().map(|origin| Lack::ForeignRules(origin.package)));
        }
        if *need == Need::ForeignStrongswan {
            let missing = strongswan::missing(workspace);
            lacks.extend(missing.into_iter().map(|origin| Lack::ForeignStrongswan(origin.release)));
        }
        lacks.extend(match need {
            Need::BuildPackages
            | Need::GuestPackages
            | Need::LabPackages
            | Need::BrowserPackages
            | Need::BenchPackages
            | Need::FuzzPackages
            | Need::ForeignRules
            | Need::ForeignStrongswan => None,
            Need::Linker => (!cargo::has_linker(workspace)).then_some(Lack::Linker),
            Need::Compiler => compiler::lack(workspace, compiler::asked()?).map(Lack::Compiler),
            Need::Deny => (!cargo::has_deny(workspace)).then_some(Lack::Deny),
            Need::Materials => (!cargo::materials_program(workspace).is_file()).then_some(Lack::Materials),
            Need::Prometheus => Release::ALL
                .iter()
                .any(|release| prometheus::find(workspace, *release).is_none())
                .then_some(Lack::Prometheus),
            Need::Grafana => grafana::find(workspace).is_none().then_some(Lack::Grafana),
            Need::Kernel(label) => (!kernel::is_there(workspace, *label)).then_some(Lack::Kernel(*label)),
        });
    }
    Ok(lacks)
}

/// Every lack on a line of its own.
fn list(lacks: &[Lack], machine: Machine) -> String {
    let mut text = String::new();
    for lack in lacks {
        let _ = write!(text, "\n  {}", machine.describe(lack));
    }
    text
}

/// Why set-up cannot go on: all that is missing, where it may not bring some of it; nothing where it brings the whole.
pub fn refusal(lacks: &[Lack], machine: Machine) -> Option<String> {
    if lacks.iter().all(|lack| machine.brings(lack)) {
        return None;
    }
    let cure = if machine.debian {
        "as root, `cargo xtask setup` brings what is missing:"
    } else {
        "this is no Debian, where set-up would bring what is missing:"
    };
    Some(format!("{cure}{}", list(lacks, machine)))
}

/// Why a user runs no tests of programs and namespaces, and what is missing besides.
pub fn rootless(lacks: &[Lack], machine: Machine) -> String {
    let why = "it needs root: programs, namespaces and the host's files in a guest";
    if lacks.is_empty() { why.to_string() } else { format!("{why}; missing besides:{}", list(lacks, machine)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEBIAN: Machine = Machine { debian: true, root: true };
    const USER: Machine = Machine { debian: true, root: false };
    const OTHER: Machine = Machine { debian: false, root: true };

    fn everything() -> Vec<Lack> {
        let why = "there is no nightly compiler".to_string();
        let tcpdump = packages::of(&[Need::LabPackages]).into_iter().find(|package| package.name == "tcpdump").unwrap();
        vec![
            Lack::Package(tcpdump),
            Lack::Linker,
            Lack::Compiler(why),
            Lack::Deny,
            Lack::Materials,
            Lack::Prometheus,
            Lack::Grafana,
            Lack::ForeignRules("firehol"),
            Lack::ForeignStrongswan("6.0"),
            Lack::Kernel(Label::V6_12),
        ]
    }

    #[test]
    fn root_on_a_debian_is_refused_nothing() {
        assert_eq!(refusal(&everything(), DEBIAN), None);
        assert_eq!(refusal(&[], OTHER), None);
    }

    #[test]
    fn a_user_on_a_debian_is_told_all_that_root_would_bring() {
        let expected = "as root, `cargo xtask setup` brings what is missing:\n  the package tcpdump\n  \
                        bpf-linker 0.13.0 (set-up builds it)\n  a compiler for BPF (set-up unpacks rustc-web)\n  \
                        cargo-deny 0.20.2 (set-up builds it)\n  cargo-cyclonedx 0.5.9 (set-up builds it)\n  \
                        Prometheus 2.x and 3.x (set-up unpacks them)\n  \
                        Grafana's components (set-up fetches them by npm)\n  \
                        the rule sets of firehol (set-up unpacks its source)\n  \
                        strongSwan 6.0 (set-up unpacks it)\n  \
                        the guest kernel 6.12 (set-up unpacks it)";
        assert_eq!(refusal(&everything(), USER).unwrap(), expected);
        // What needs no package, a user's set-up brings as well.
        assert_eq!(refusal(&everything()[1..], USER), None);
    }

    #[test]
    fn a_user_who_runs_tests_is_told_what_is_missing_besides_root() {
        assert_eq!(rootless(&[], USER), "it needs root: programs, namespaces and the host's files in a guest");
        let told = rootless(&everything(), USER);
        assert!(told.contains("needs root") && told.contains("\n  the package tcpdump\n"), "{told}");
        assert!(told.ends_with("\n  the guest kernel 6.12 (set-up unpacks it)"), "{told}");
    }

    #[test]
    fn elsewhere_each_missing_program_and_file_is_named() {
        let expected = "this is no Debian, where set-up would bring what is missing:\n  \
                        the program tcpdump, in Debian's package tcpdump\n  bpf-linker 0.13.0 (set-up builds it)\n  \
                        a compiler for BPF: there is no nightly compiler\n  cargo-deny 0.20.2 (set-up builds it)\n  \
                        cargo-cyclonedx 0.5.9 (set-up builds it)\n  \
                        the programs prometheus and promtool, of 2.x in target/tools/prometheus-2/usr/bin and of 3.x in \
                        target/tools/prometheus-3/usr/bin, as in Debian's packages prometheus and promtool\n  \
                        Grafana's components (set-up fetches them by npm)\n  \
                        the rule sets of firehol: target/foreign/firehol, as set-up makes it on a Debian\n  \
                        strongSwan 6.0: target/foreign/strongswan-6.0, as set-up makes it on a Debian\n  \
                        the guest kernel 6.12: target/guest/6.12, as set-up makes it on a Debian";
        assert_eq!(refusal(&everything(), OTHER).unwrap(), expected);
        assert_eq!(refusal(&[Lack::Linker, Lack::Deny, Lack::Materials], OTHER), None);
    }
}
