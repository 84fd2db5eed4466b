//! Debian packages: installed as root on a Debian, named with the command to run anywhere else.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use super::Need;
use crate::apt::{self, Apt};
use crate::shell::{self, say, took};
use crate::workspace::Workspace;

/// bpf-linker links against this LLVM and what its libraries want.
const BUILD: &[&str] = &["gcc", "libc6-dev", "pkg-config", "llvm-22-dev", "libzstd-dev", "zlib1g-dev", "libxml2-dev"];
const GUEST: &[&str] =
    &[EMULATOR, "busybox-static", "kmod", "cpio", "zstd", "xz-utils", "util-linux", "debian-archive-keyring"];
const LAB: &[&str] = &[
    "iproute2",
    "iputils-ping",
    "tcpdump",
    "nftables",
    "openssl",
    "strongswan-charon",
    "strongswan-swanctl",
    "strongswan-pki",
    "libcharon-extra-plugins",
    "libstrongswan-extra-plugins",
    "libstrongswan-standard-plugins",
];
const EMULATOR: &str = "qemu-system-x86";
/// QEMU 7.2 crashes a guest kernel under software emulation; 10.0 runs it.
const OLDEST_EMULATOR: u32 = 10;

/// Installs what is missing of the packages that `needs` name.
pub fn ensure(workspace: &Workspace, needs: &[Need]) -> Result<()> {
    let missing = missing(needs)?;
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = missing.iter().copied().collect();
    if apt::codename().is_none() {
        bail!(
            "missing: {}. Install what your system calls these Debian packages, then run this again",
            names.join(" ")
        );
    }
    if !shell::is_root() {
        bail!("missing packages; as root, run: cargo xtask setup (it would install: {})", names.join(" "));
    }
    install(workspace, missing)
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
        let version = installed(&[emulator])?.into_iter().next().context("apt-get installed no QEMU")?.1;
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

fn missing(needs: &[Need]) -> Result<BTreeSet<&'static str>> {
    let of = |need: &Need| match need {
        Need::BuildPackages => BUILD,
        Need::GuestPackages => GUEST,
        Need::LabPackages => LAB,
        Need::Linker | Need::Compiler | Need::Deny | Need::Kernel(_) => &[],
    };
    let wanted: Vec<&'static str> = needs.iter().flat_map(of).copied().collect();
    if wanted.is_empty() {
        return Ok(BTreeSet::new());
    }
    let present = installed(&wanted)?;
    let is_there = |name: &str| {
        present.iter().any(|(package, version)| {
            package == name && (name != EMULATOR || major(version).is_some_and(|major| major >= OLDEST_EMULATOR))
        })
    };
    Ok(wanted.into_iter().filter(|name| !is_there(name)).collect())
}

/// Name and version of those that are installed.
fn installed(names: &[&str]) -> Result<Vec<(String, String)>> {
    let mut query = Command::new("dpkg-query");
    query.args(["--show", "--showformat", "${db:Status-Status} ${Package} ${Version}\n"]).args(names);
    // It exits with 1 when it does not know one of them, and prints the others all the same.
    let Ok(output) = query.env("LC_ALL", "C.UTF-8").output() else { return Ok(Vec::new()) };
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let parse = |line: &str| {
        let mut words = line.strip_prefix("installed ")?.split(' ');
        Some((words.next()?.to_string(), words.next()?.to_string()))
    };
    Ok(said.lines().filter_map(parse).collect())
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
    }
}
