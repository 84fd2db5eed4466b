//! Debian packages: installed as root on a Debian; elsewhere what they would bring is looked for.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use super::lack::{self, Lack, Machine};
use super::{Need, cargo};
use crate::apt::Apt;
use crate::shell::{self, say, took};
use crate::workspace::Workspace;

/// A Debian package, and the sign elsewhere that what we want of it is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Package {
    /// Debian's name of it.
    pub name: &'static str,
    /// What shows that it is there.
    pub sign: Sign,
}

/// What shows that a package's content is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    /// A program in PATH or where only root looks.
    Program(&'static str),
    /// A file.
    File(&'static str),
    /// Only apt wants it.
    Debian,
}

impl fmt::Display for Sign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Program(EMULATOR_PROGRAM) => write!(f, "the program {EMULATOR_PROGRAM}, {OLDEST_EMULATOR} or newer"),
            Self::Program(program) => write!(f, "the program {program}"),
            Self::File(file) => write!(f, "the file {file}"),
            Self::Debian => f.write_str("nothing"),
        }
    }
}

/// The tests that have the kernel to themselves bring their loopback device up with ip; others make certificates with openssl.
const BUILD: &[Package] = &[
    program("gcc", "gcc"),
    file("libc6-dev", "/usr/include/stdio.h"),
    program("pkg-config", "pkg-config"),
    program("iproute2", "ip"),
    program("openssl", "openssl"),
];
/// bpf-linker links against this LLVM and what its libraries want.
const LLVM: &[Package] = &[
    file("llvm-22-dev", "/usr/lib/llvm-22/bin/llvm-config"),
    file("libzstd-dev", "/usr/include/zstd.h"),
    file("zlib1g-dev", "/usr/include/zlib.h"),
    file("libxml2-dev", "/usr/include/libxml2/libxml/parser.h"),
];
const GUEST: &[Package] = &[
    program(EMULATOR, EMULATOR_PROGRAM),
    file("busybox-static", "/bin/busybox"),
    program("kmod", "depmod"),
    program("cpio", "cpio"),
    program("zstd", "zstd"),
    program("xz-utils", "xz"),
    program("util-linux", "setpriv"),
    Package { name: "debian-archive-keyring", sign: Sign::Debian },
];
const LAB: &[Package] = &[
    program("iproute2", "ip"),
    program("iputils-ping", "ping"),
    program("tcpdump", "tcpdump"),
    // The terminal in which `top` is tested.
    program("tmux", "tmux"),
    program("nftables", "nft"),
    program("iptables", "iptables-legacy"),
    program("openssl", "openssl"),
    // Under it the packaged unit is tested.
    program("systemd", "systemd-analyze"),
    file("strongswan-charon", "/usr/lib/ipsec/charon"),
    file("strongswan-swanctl", "/usr/sbin/swanctl"),
    program("strongswan-pki", "pki"),
    file("libcharon-extra-plugins", "/usr/lib/ipsec/plugins/libstrongswan-lookip.so"),
    file("libstrongswan-extra-plugins", "/usr/lib/ipsec/plugins/libstrongswan-curve25519.so"),
    file("libstrongswan-standard-plugins", "/usr/lib/ipsec/plugins/libstrongswan-gcm.so"),
];
const BROWSER: &[Package] = &[program("chromium", "chromium"), program("chromium-driver", "chromedriver")];
const GRAFANA: &[Package] = &[program("nodejs", "node"), program(NPM, "npm")];
const BENCH: &[Package] = &[
    program("iproute2", "ip"),
    program("util-linux", "setpriv"),
    program("nftables", "nft"),
    // Brings the legacy programs for IPv6 too.
    program("iptables", "iptables-legacy-restore"),
    program("ipset", "ipset"),
];
/// What unpacks the sources of packages.
const FOREIGN: &[Package] = &[program("xz-utils", "xz"), program("tar", "tar")];
const NPM: &str = "npm";
const EMULATOR: &str = "qemu-system-x86";
const EMULATOR_PROGRAM: &str = "qemu-system-x86_64";
/// QEMU 7.2 crashes a guest kernel under software emulation; 10.0 runs it.
const OLDEST_EMULATOR: u32 = 10;

const fn program(name: &'static str, program: &'static str) -> Package {
    Package { name, sign: Sign::Program(program) }
}

const fn file(name: &'static str, file: &'static str) -> Package {
    Package { name, sign: Sign::File(file) }
}

/// Installs what is missing of the packages that `needs` name.
pub fn ensure(workspace: &Workspace, needs: &[Need]) -> Result<()> {
    let machine = Machine::this();
    let missing = missing(workspace, needs, machine.debian);
    let lacks: Vec<Lack> = missing.iter().copied().map(Lack::Package).collect();
    if let Some(refusal) = lack::refusal(&lacks, machine) {
        bail!(refusal);
    }
    if missing.is_empty() {
        return Ok(());
    }
    install(workspace, missing.into_iter().map(|package| package.name).collect())
}

/// All packages of `needs`.
pub fn of(needs: &[Need]) -> Vec<Package> {
    let of = |need: &Need| match need {
        Need::BuildPackages => [BUILD, LLVM].concat(),
        Need::GuestPackages => GUEST.to_vec(),
        Need::LabPackages => LAB.to_vec(),
        Need::BrowserPackages => BROWSER.to_vec(),
        Need::BenchPackages => BENCH.to_vec(),
        Need::FuzzPackages => vec![program("g++", "g++")],
        Need::ForeignRules => FOREIGN.to_vec(),
        Need::Grafana => GRAFANA.to_vec(),
        Need::Linker
        | Need::Compiler
        | Need::Deny
        | Need::Materials
        | Need::Prometheus
        | Need::ForeignStrongswan
        | Need::Kernel(_) => Vec::new(),
    };
    needs.iter().flat_map(of).collect()
}

/// Those of `needs` that are not there: asked of dpkg on a Debian, looked for by their signs elsewhere.
pub fn missing(workspace: &Workspace, needs: &[Need], debian: bool) -> Vec<Package> {
    let mut wanted = of(needs);
    if wanted.is_empty() {
        return wanted;
    }
    if debian {
        let names: Vec<&str> = wanted.iter().map(|package| package.name).collect();
        let present = installed(&names);
        // A Node.js that is not Debian's has npm in it, and lets no package of npm beside it.
        let brought = |package: &Package| package.name == NPM && is_there(package.sign);
        wanted.retain(|package| !is_installed(package, &present) && !brought(package));
    } else {
        let linker = cargo::has_linker(workspace);
        // What is only there to build bpf-linker is of no use where there is one.
        wanted.retain(|package| !(is_there(package.sign) || linker && LLVM.contains(package)));
    }
    wanted
}

fn is_installed(package: &Package, present: &[(String, String)]) -> bool {
    present.iter().any(|(name, version)| {
        name == package.name && (name != EMULATOR || major(version).is_some_and(|major| major >= OLDEST_EMULATOR))
    })
}

fn is_there(sign: Sign) -> bool {
    match sign {
        Sign::Program(EMULATOR_PROGRAM) => {
            let said = shell::read(Command::new(EMULATOR_PROGRAM).arg("--version")).unwrap_or_default();
            emulator(&said).is_some_and(|major| major >= OLDEST_EMULATOR)
        }
        Sign::Program(program) => shell::which(program).is_some(),
        Sign::File(file) => Path::new(file).exists(),
        Sign::Debian => true,
    }
}

fn install(workspace: &Workspace, mut missing: BTreeSet<&str>) -> Result<()> {
    let start = Instant::now();
    let apt = Apt::open(workspace)?;
    let emulator = missing.take(EMULATOR);
    let starter_is_new = missing.contains("strongswan-charon");
    if !missing.is_empty() {
        let names: Vec<&str> = missing.into_iter().collect();
        say(format!("installing {}", names.join(" ")));
        shell::run(&mut apt.install(&names, false))?;
    }
    if let Some(emulator) = emulator {
        let backports = apt.candidate(emulator).as_deref().and_then(major).is_none_or(|major| major < OLDEST_EMULATOR);
        say(format!("installing {emulator}{}", if backports { " from backports" } else { "" }));
        shell::run(&mut apt.install(&[emulator], backports))?;
        let version = installed(&[emulator]).into_iter().next().context("apt-get installed no QEMU")?.1;
        if major(&version).is_none_or(|major| major < OLDEST_EMULATOR) {
            bail!("QEMU {version} is installed; guests need {OLDEST_EMULATOR} or newer");
        }
    }
    if starter_is_new {
        // The lab starts charons of its own; a system-wide one would take their ports at the next boot.
        shell::succeeds(Command::new("systemctl").args(["disable", "strongswan-starter"]));
    }
    say(format!("packages installed ({})", took(start)));
    Ok(())
}

/// Name and version of those that are installed.
fn installed(names: &[&str]) -> Vec<(String, String)> {
    let mut query = Command::new("dpkg-query");
    query.args(["--show", "--showformat", "${db:Status-Status} ${Package} ${Version}\n"]).args(names);
    // It exits with 1 when it does not know one of them, and prints the others all the same.
    let Ok(output) = query.env("LC_ALL", "C.UTF-8").output() else { return Vec::new() };
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let parse = |line: &str| {
        let mut words = line.strip_prefix("installed ")?.split(' ');
        Some((words.next()?.to_string(), words.next()?.to_string()))
    };
    said.lines().filter_map(parse).collect()
}

/// The `10` of `QEMU emulator version 10.0.2 (Debian ...)`.
fn emulator(said: &str) -> Option<u32> {
    major(said.split_once("version ")?.1)
}

/// The `10` of `1:10.0.2+ds-2`.
fn major(version: &str) -> Option<u32> {
    let upstream = version.split_once(':').map_or(version, |(_, upstream)| upstream);
    upstream.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_emulators_epoch_is_not_its_version() {
        assert_eq!(major("1:10.0.2+ds-2+deb13u1~bpo12+1"), Some(10));
        assert_eq!(major("1:7.2+dfsg-7+deb12u18"), Some(7));
        assert_eq!(major("11.1"), Some(11));
        assert_eq!(major("(none)"), None);
        assert_eq!(emulator("QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2)\nCopyright"), Some(10));
        assert_eq!(emulator(""), None);
    }

    #[test]
    fn an_old_emulator_is_a_missing_one() {
        let emulator = program(EMULATOR, EMULATOR_PROGRAM);
        let present = |version: &str| [(EMULATOR.to_string(), version.to_string())];
        assert!(is_installed(&emulator, &present("1:10.0.2+ds-2")));
        assert!(!is_installed(&emulator, &present("1:7.2+dfsg-7")));
        assert!(!is_installed(&program("cpio", "cpio"), &present("1:10.0.2+ds-2")));
    }

    #[test]
    fn a_sign_is_a_program_in_path_or_a_file() {
        assert!(is_there(Sign::Program("sh")) && is_there(Sign::File("/etc/passwd")));
        assert!(!is_there(Sign::Program("lanekeeper-no-such")) && !is_there(Sign::File("/no/such/file")));
    }
}
