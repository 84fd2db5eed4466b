//! What files say: the kernel's options, values below /proc/sys, systemd-networkd and strongswan.conf.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::socket::{getsockopt, sockopt};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

use crate::doctor::features::{Features, OPTIONS};
use crate::doctor::networkd::Networkd;
use crate::doctor::settings::Settings;
use crate::doctor::sysctls::Sysctls;

/// Options that may be modules, and the module's file.
const MODULES: [(&str, &str); 3] =
    [("CONFIG_INET_ESP", "esp4.ko"), ("CONFIG_INET6_ESP", "esp6.ko"), ("CONFIG_XFRM_INTERFACE", "xfrm_interface.ko")];

/// The kernel that runs.
pub(super) fn features(bpffs: &Path) -> Features {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").ok().map(|text| text.trim().to_owned());
    let folder = Path::new("/lib/modules").join(release.as_deref().unwrap_or_default());
    let listed = ["modules.builtin", "modules.dep"].map(|file| fs::read_to_string(folder.join(file)).ok());
    let config = config(release.as_deref().unwrap_or_default());
    let options = OPTIONS.iter().map(|(option, _)| (*option, has(option, config.as_deref(), &listed))).collect();
    let is_bpffs = statfs(bpffs).is_ok_and(|is| is.filesystem_type() == BPF_FS_MAGIC);
    Features { release, options, no_bpffs: (!is_bpffs).then(|| bpffs.display().to_string()), untimed: None }
}

/// Its config, wherever distributions leave it.
fn config(release: &str) -> Option<String> {
    let boot = fs::read_to_string(format!("/boot/config-{release}"));
    boot.ok().or_else(|| {
        let output = Command::new("zcat").arg("/proc/config.gz").output().ok()?;
        String::from_utf8(output.stdout).ok().filter(|text| !text.is_empty())
    })
}

/// A module that was not installed is as good as none.
fn has(option: &str, config: Option<&str>, listed: &[Option<String>; 2]) -> Option<bool> {
    let written = |value: &str| config.is_some_and(|text| text.lines().any(|line| line == format!("{option}={value}")));
    if written("y") {
        return Some(true);
    }
    let file = MODULES.iter().find(|(name, _)| *name == option).map(|(_, file)| format!("/{file}"));
    let in_list = |list: &String| {
        let modules = list.lines().filter_map(|line| line.split(':').next());
        file.as_deref().is_some_and(|file| modules.into_iter().any(|module| module.contains(file)))
    };
    match (config, &file) {
        _ if listed.iter().flatten().any(in_list) => Some(true),
        (Some(_), _) => Some(false),
        // Lists of modules are complete.
        (None, Some(_)) if listed.iter().all(Option::is_some) => Some(false),
        // What is no module, we would not run without.
        (None, Some(_)) => None,
        (None, None) => Some(true),
    }
}

/// Those that concern us, of this network namespace.
pub(super) fn sysctls() -> Sysctls {
    let root = Path::new("/proc/sys");
    let mut paths: Vec<String> = vec!["net/ipv4/ip_forward".to_owned(), "net/core/bpf_jit_enable".to_owned()];
    for (family, keys) in
        [("ipv4", &["rp_filter", "src_valid_mark", "forwarding"][..]), ("ipv6", &["forwarding", "disable_ipv6"])]
    {
        for device in fs::read_dir(root.join(format!("net/{family}/conf"))).into_iter().flatten().flatten() {
            let device = device.file_name();
            paths.extend(keys.iter().map(|key| format!("net/{family}/conf/{}/{key}", device.to_string_lossy())));
        }
    }
    let read = |path: String| fs::read_to_string(root.join(&path)).ok().map(|value| (path, value));
    Sysctls(paths.into_iter().filter_map(read).collect::<BTreeMap<_, _>>())
}

/// Its settings, where it runs.
pub(super) fn networkd(root: &Path) -> Option<Networkd> {
    // systemd's own sign of a unit that is active.
    fs::symlink_metadata(root.join("run/systemd/units/invocation:systemd-networkd.service")).ok()?;
    // The first folder has the last word, for the main file and for each drop-in by its name.
    let folders = ["etc", "run", "usr/local/lib", "usr/lib"].map(|folder| root.join(folder).join("systemd"));
    let main = folders.iter().find_map(|folder| fs::read_to_string(folder.join("networkd.conf")).ok());
    let mut drop_ins: BTreeMap<String, PathBuf> = BTreeMap::new();
    for folder in &folders {
        for file in fs::read_dir(folder.join("networkd.conf.d")).into_iter().flatten().flatten() {
            let name = file.file_name().to_string_lossy().into_owned();
            if name.ends_with(".conf") {
                drop_ins.entry(name).or_insert_with(|| file.path());
            }
        }
    }
    let drop_ins = drop_ins.values().filter_map(|path| fs::read_to_string(path).ok());
    let texts: Vec<String> = main.into_iter().chain(drop_ins).collect();
    Some(Networkd::of(texts.iter().map(String::as_str)))
}

/// strongswan.conf of the charon behind a socket: that of its environment, else the usual one.
pub(super) fn settings(vici: &Path) -> Option<Settings> {
    let named = environment(vici).unwrap_or_else(|| PathBuf::from("/etc/strongswan.conf"));
    let text = fs::read_to_string(&named).ok()?;
    let folder = named.parent().unwrap_or(Path::new("/")).to_owned();
    let mut settings = Settings::of(&named.display().to_string());
    let mut include = |pattern: &str| {
        let pattern = folder.join(pattern.trim_matches('"'));
        let paths = glob::glob(&pattern.to_string_lossy()).into_iter().flatten().flatten();
        paths.filter_map(|path| fs::read_to_string(path).ok()).collect()
    };
    settings.read(&text, &mut include);
    Some(settings)
}

/// STRONGSWAN_CONF of the process at the other end, which root may see.
fn environment(vici: &Path) -> Option<PathBuf> {
    let stream = UnixStream::connect(vici).ok()?;
    let peer = getsockopt(&stream, sockopt::PeerCredentials).ok()?;
    let environment = fs::read(format!("/proc/{}/environ", peer.pid())).ok()?;
    let mut variables = environment.split(|byte| *byte == 0);
    let value = variables.find_map(|variable| variable.strip_prefix(b"STRONGSWAN_CONF="))?;
    Some(PathBuf::from(String::from_utf8_lossy(value).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_is_there_built_in_or_as_an_installed_module() {
        let config = "CONFIG_INET_ESP=m\nCONFIG_XFRM_INTERFACE=y\n# CONFIG_INET6_ESP is not set\n";
        let lists = |dep: &str| [Some(String::new()), Some(dep.to_owned())];
        let modules = "kernel/net/ipv4/esp4.ko.xz: kernel/net/xfrm/xfrm_algo.ko.xz\n";
        assert_eq!(has("CONFIG_XFRM_INTERFACE", Some(config), &[None, None]), Some(true));
        assert_eq!(has("CONFIG_INET_ESP", Some(config), &lists(modules)), Some(true));
        assert_eq!(has("CONFIG_INET_ESP", Some(config), &lists("")), Some(false));
        assert_eq!(has("CONFIG_INET6_ESP", Some(config), &lists(modules)), Some(false));
        assert_eq!(has("CONFIG_INET_ESP", None, &lists(modules)), Some(true));
        assert_eq!(has("CONFIG_INET6_ESP", None, &lists(modules)), Some(false));
        assert_eq!(has("CONFIG_INET6_ESP", None, &[None, None]), None);
    }

    #[test]
    fn networkd_is_read_where_it_runs_and_etc_hides_what_usr_says() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("usr/lib/systemd/networkd.conf.d/10-a.conf", "[Network]\nManageForeignRoutes=yes\n");
        write("etc/systemd/networkd.conf.d/10-a.conf", "[Network]\nManageForeignRoutes=no\n");
        write("etc/systemd/networkd.conf", "[Network]\nManageForeignRoutingPolicyRules=no\n");
        assert_eq!(networkd(root.path()), None);
        write("run/systemd/units/invocation:systemd-networkd.service", "");
        assert_eq!(networkd(root.path()), Some(Networkd { routes: false, rules: false }));
    }
}
