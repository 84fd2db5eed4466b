//! Guest kernels: Debian's, unpacked below `target/guest` and never installed.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result};
use clap::ValueEnum;

use crate::apt::Apt;
use crate::setup::{self, Need};
use crate::shell::{self, say, took};
use crate::workspace::Workspace;

/// What a gateway, its lab and the boot need of a kernel's modules; drivers of real hardware stay behind.
const MODULES: &[&str] = &[
    "arch/x86/crypto",
    "crypto",
    "drivers/block/loop",
    "drivers/char/hw_random",
    "drivers/crypto/virtio",
    "drivers/net/bareudp",
    "drivers/net/bonding",
    "drivers/net/dummy",
    "drivers/net/geneve",
    "drivers/net/ifb",
    "drivers/net/macsec",
    "drivers/net/macvlan",
    "drivers/net/macvtap",
    "drivers/net/net_failover",
    "drivers/net/netdevsim",
    "drivers/net/nlmon",
    "drivers/net/tap",
    "drivers/net/tun",
    "drivers/net/veth",
    "drivers/net/virtio_net",
    "drivers/net/vrf",
    "drivers/net/vxlan",
    "drivers/net/wireguard",
    "drivers/virtio",
    "fs/9p",
    "fs/fscache",
    "fs/netfs",
    "fs/overlayfs",
    "lib",
    "net/8021q",
    "net/802",
    "net/9p",
    "net/bridge",
    "net/core",
    "net/ipv4",
    "net/ipv6",
    "net/key",
    "net/l2tp",
    "net/llc",
    "net/mpls",
    "net/netfilter",
    "net/netlink",
    "net/packet",
    "net/psample",
    "net/sched",
    "net/sctp",
    "net/tls",
    "net/unix",
    "net/vmw_vsock",
    "net/xdp",
    "net/xfrm",
    "security",
];

/// The kernels that everything is tried on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Label {
    /// Debian 12's
    #[value(name = "6.1")]
    V6_1,
    /// Debian 13's
    #[value(name = "6.12")]
    V6_12,
    /// Debian sid's
    #[value(name = "7.2")]
    V7_2,
}

impl Label {
    /// All of them, oldest first.
    pub const ALL: [Self; 3] = [Self::V6_1, Self::V6_12, Self::V7_2];
    /// The one whose suite goes on to newer series.
    const SID: Self = Self::V7_2;
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V6_1 => "6.1",
            Self::V6_12 => "6.12",
            Self::V7_2 => "7.2",
        })
    }
}

/// An unpacked kernel: `vmlinuz`, and its modules below `lib/modules/RELEASE`.
#[derive(Debug, Clone)]
pub struct Kernel {
    /// Where it is.
    pub folder: PathBuf,
    /// What its `uname -r` says.
    pub release: String,
}

impl Kernel {
    /// The folder to be seen as the guest's `/lib/modules`.
    pub fn modules(&self) -> PathBuf {
        self.folder.join("lib/modules")
    }

    fn open(folder: PathBuf) -> Option<Self> {
        let made_of = fs::read_to_string(folder.join("recipe")).ok()?;
        if made_of != recipe() {
            return None;
        }
        let release = fs::read_to_string(folder.join("release")).ok()?.trim().to_string();
        Some(Self { folder, release })
    }
}

/// Tells a folder with other modules from one with these.
fn recipe() -> String {
    MODULES.join(" ")
}

fn folder(workspace: &Workspace, label: Label) -> PathBuf {
    workspace.target("guest").join(label.to_string())
}

/// Whether it is unpacked.
pub fn is_there(workspace: &Workspace, label: Label) -> bool {
    Kernel::open(folder(workspace, label)).is_some()
}

/// Finds the unpacked kernel or fetches it.
pub fn ensure(workspace: &Workspace, label: Label) -> Result<Kernel> {
    let folder = folder(workspace, label);
    match Kernel::open(folder.clone()) {
        Some(kernel) => Ok(kernel),
        None => {
            setup::packages::ensure(workspace, &[Need::GuestPackages])?;
            fetch(workspace, label, folder).with_context(|| format!("no guest kernel {label}"))
        }
    }
}

fn fetch(workspace: &Workspace, label: Label, folder: PathBuf) -> Result<Kernel> {
    let start = Instant::now();
    let apt = Apt::open(workspace)?;
    let (version, image) = package(&apt, label)?;
    let release = image.trim_start_matches("linux-image-").to_string();
    say(format!("fetching the guest kernel {release} ({version})"));

    // From 7 on the image is empty and its parts are packages of their own.
    let parts = ["linux-binary-", "linux-modules-", "linux-base-"].map(|part| format!("{part}{release}"));
    let depends = apt.depends(&image, &version)?;
    let wanted = parts.into_iter().filter(|part| depends.contains(part)).chain([image]);
    let wanted: Vec<String> = wanted.map(|package| format!("{package}={version}")).collect();
    let downloads = workspace.target("guest").join(format!("{label}.debs"));
    let files = apt.download(&wanted, &downloads)?;

    say(format!("unpacking {release}"));
    let (whole, part) = (shell::beside(&folder, "whole"), shell::beside(&folder, "part"));
    shell::remove_folder(&whole)?;
    shell::remove_folder(&part)?;
    for file in files {
        shell::run(Command::new("dpkg").arg("-x").arg(file).arg(&whole))?;
    }
    pick(&whole, &part, &release)?;
    shell::remove_folder(&whole)?;
    shell::remove_folder(&downloads)?;
    shell::remove_folder(&folder)?;
    fs::write(part.join("release"), &release)?;
    fs::write(part.join("recipe"), recipe())?;
    fs::rename(&part, &folder).with_context(|| format!("cannot make {}", folder.display()))?;
    say(format!("guest kernel {release} is ready ({})", took(start)));
    Kernel::open(folder).context("it vanished")
}

/// The package that stands for the label: its version and its image package.
fn package(apt: &Apt, label: Label) -> Result<(String, String)> {
    let versions = apt.versions("linux-image-amd64")?;
    let version = choose(&versions, label)?;
    if series(version) != series(&label.to_string()) {
        say(format!("Debian has no kernel {label} any more: taking {version} in its place"));
    }
    let depends = apt.depends("linux-image-amd64", version)?;
    let image = depends.into_iter().find(|name| name.starts_with("linux-image-"));
    Ok((version.to_string(), image.with_context(|| format!("linux-image-amd64 {version} depends on no image"))?))
}

/// The newest of the label's series among `versions`, newest first. sid moves on: there a newer series does as well.
fn choose(versions: &[String], label: Label) -> Result<&str> {
    let wanted = series(&label.to_string());
    let of_series = versions.iter().find(|version| series(version) == wanted);
    let newer = || versions.iter().find(|version| label == Label::SID && series(version) > wanted);
    of_series.or_else(newer).map(String::as_str).with_context(|| {
        let there = if versions.is_empty() { "no version".to_string() } else { versions.join(", ") };
        format!("Debian's suites have {there} of linux-image-amd64, none of {label}")
    })
}

/// The `(6, 12)` of `6.12.90-2~bpo12+1`.
fn series(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// Takes the image and the modules of use out of the unpacked packages, decompressed: software emulation is slow at that.
fn pick(whole: &Path, part: &Path, release: &str) -> Result<()> {
    let inside = |at: &str| whole.join(at).join(release);
    let from = [inside("lib/modules"), inside("usr/lib/modules")].into_iter().find(|folder| folder.is_dir());
    let from = from.context("the package holds no modules")?;
    let image = [whole.join(format!("boot/vmlinuz-{release}")), from.join("vmlinuz")];
    let image = image.iter().find(|file| file.is_file()).context("the package holds no vmlinuz")?;

    let to = part.join("lib/modules").join(release);
    fs::create_dir_all(to.join("kernel"))?;
    fs::copy(image, part.join("vmlinuz"))?;
    for name in ["modules.order", "modules.builtin", "modules.builtin.modinfo"] {
        fs::copy(from.join(name), to.join(name)).with_context(|| format!("cannot copy {name}"))?;
    }
    let listed = fs::read_to_string(from.join("modules.order"))?;
    for module in listed.lines().filter(|module| is_wanted(module)) {
        let target = to.join(module);
        fs::create_dir_all(target.parent().context("modules.order names a root")?)?;
        let name = |end: &str| from.join(format!("{module}{end}"));
        if let Some(end) = ["", ".xz", ".zst"].into_iter().find(|end| name(end).is_file()) {
            fs::rename(name(end), to.join(format!("{module}{end}")))?;
        }
    }
    let decompress = "find \"$0\" -name '*.ko.xz' -print0 | xargs -0r -P2 -n32 xz -dq && \
                      find \"$0\" -name '*.ko.zst' -print0 | xargs -0r -P2 -n32 zstd -dq --rm";
    shell::run(Command::new("sh").args(["-c", decompress]).arg(&to))?;
    let depmod = shell::which("depmod").context("there is no depmod (package kmod)")?;
    shell::run(Command::new(depmod).arg("-b").arg(part).arg(release))
}

/// Whether a line of `modules.order` (`kernel/net/xfrm/xfrm_user.ko`) is below one of the wanted folders or is one of them.
fn is_wanted(module: &str) -> bool {
    let path = module.trim_start_matches("kernel/");
    MODULES
        .iter()
        .any(|wanted| path.strip_prefix(wanted).is_some_and(|rest| rest.starts_with('/') || rest.starts_with(".ko")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_of_a_series_is_chosen() {
        let versions = ["7.2.3-1", "6.12.94-1~bpo12+1", "6.12.90-2", "6.1.170-3", "6.1.159-1"].map(String::from);
        assert_eq!(choose(&versions, Label::V6_1).unwrap(), "6.1.170-3");
        assert_eq!(choose(&versions, Label::V6_12).unwrap(), "6.12.94-1~bpo12+1");
        assert_eq!(choose(&versions, Label::V7_2).unwrap(), "7.2.3-1");
    }

    #[test]
    fn where_sid_has_moved_on_its_newest_kernel_is_chosen_and_no_other_series_gives_way() {
        let versions = ["7.10.1-1", "7.4.2-1", "6.13.4-1", "6.1.170-3"].map(String::from);
        assert_eq!(choose(&versions, Label::V7_2).unwrap(), "7.10.1-1");
        let error = choose(&versions, Label::V6_12).unwrap_err().to_string();
        assert!(error.contains("have 7.10.1-1, 7.4.2-1, 6.13.4-1, 6.1.170-3 of") && error.ends_with("none of 6.12"));
        assert!(choose(&versions[2..], Label::V7_2).is_err(), "an older one is no stand-in");
        assert!(choose(&[], Label::V7_2).unwrap_err().to_string().contains("have no version of"));
    }

    #[test]
    fn modules_of_a_gateway_are_taken_and_drivers_are_left() {
        let wanted = ["kernel/net/xfrm/xfrm_interface.ko", "kernel/drivers/net/veth.ko", "kernel/lib/libcrc32c.ko"];
        let left =
            ["kernel/drivers/net/ethernet/intel/igb/igb.ko", "kernel/net/mac80211/mac80211.ko", "kernel/net/sctpx.ko"];
        assert!(wanted.iter().all(|module| is_wanted(module)));
        assert!(!left.iter().any(|module| is_wanted(module)));
    }
}
