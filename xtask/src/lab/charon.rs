//! strongSwan's charon, started by hand in a gateway's namespace with a configuration of its own.

use std::ffi::CStr;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use anyhow::{Context, Result, bail};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::Signal;

use super::netns::Ns;
use super::process::Process;
use crate::setup::strongswan::Version;
use crate::shell;
use crate::workspace::Workspace;

const CHARON: &str = "/usr/lib/ipsec/charon";
const SWANCTL: &str = "/usr/sbin/swanctl";

/// What it takes for PSK and certificates, labels and netlink, and no more.
const PLUGINS: &str = "random nonce aes sha1 sha2 gcm curve25519 gmp hmac kdf drbg pem pkcs1 pkcs8 x509 pubkey openssl \
                       kernel-netlink socket-default vici updown";

/// What swanctl takes to read keys. Whatever else Debian has it load asks the kernel for a dozen ciphers that are in no module.
const READERS: &str = "random nonce sha1 sha2 hmac pem pkcs1 pkcs8 x509 pubkey openssl";

/// Who encrypts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plane {
    /// The kernel.
    Kernel,
    /// charon itself, in a TUN device.
    Libipsec,
}

/// A running charon.
#[derive(Debug)]
pub struct Charon {
    process: Process,
    ns: Ns,
    folder: PathBuf,
}

impl Charon {
    /// Starts that version in `ns` with its files in `folder`, and waits for its VICI socket. The kernel encrypts.
    pub fn start(ns: &Ns, folder: &Path, version: Version) -> Result<Self> {
        Self::begin(ns, folder, version, Plane::Kernel)
    }

    /// The same, and who encrypts.
    pub fn begin(ns: &Ns, folder: &Path, version: Version, plane: Plane) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let root = version.folder(&Workspace::find()?);
        let place = |program: &str| match &root {
            None => private(program, folder),
            Some(root) => unpacked(root, program, folder),
        };
        let charon = place(CHARON)?;
        place(SWANCTL)?;
        let (conf, socket, log) = (conf(folder), vici(folder), folder.join("charon.log"));
        fs::write(&conf, configuration(folder, &socket, &log, plane))?;
        let _ = fs::remove_file(&socket);
        // /var/run is its own, for the pid file; the namespace stays reachable because it is entered first.
        let mut command = ns.command(&charon.to_string_lossy());
        // SAFETY: both are system calls over constants; nothing is allocated between fork and exec.
        unsafe { command.pre_exec(own_run) };
        command.env("STRONGSWAN_CONF", &conf);
        let mut process = Process::start("charon", &mut command, &folder.join("charon.out"))?;
        process.wait_until(Duration::from_secs(60), "charon answers on its VICI socket", || socket.exists())?;
        Ok(Self { process, ns: ns.clone(), folder: folder.to_owned() })
    }

    /// Ends it without a goodbye: its SAs and policies stay in the kernel.
    pub fn kill(mut self) -> Result<()> {
        self.process.kill()
    }

    /// Has it stand still, or go on.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.process.signal(signal)
    }

    /// Runs `swanctl` against it and returns what it printed.
    pub fn swanctl(&self, arguments: &str) -> Result<String> {
        let (program, socket, conf) = (swanctl(&self.folder), vici(&self.folder), conf(&self.folder));
        let [program, socket, conf] = [&program, &socket, &conf].map(|path| path.display());
        self.ns.sh(&format!("STRONGSWAN_CONF={conf} {program} {arguments} --uri unix://{socket}"))
    }

    /// What it wrote to its log.
    pub fn log(&self) -> Result<String> {
        fs::read_to_string(self.folder.join("charon.log")).context("charon.log")
    }
}

/// The VICI socket of the charon whose files are in `folder`.
pub fn vici(folder: &Path) -> PathBuf {
    folder.join("charon.vici")
}

fn conf(folder: &Path) -> PathBuf {
    folder.join("strongswan.conf")
}

/// The `swanctl` that may reach it.
pub fn swanctl(folder: &Path) -> PathBuf {
    folder.join("swanctl")
}

/// Mounts a /var/run that only the caller and its children see.
fn own_run() -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount(None::<&CStr>, c"/", None::<&CStr>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&CStr>)?;
    mount(Some(c"tmpfs"), c"/var/run", Some(c"tmpfs"), MsFlags::empty(), None::<&CStr>)?;
    Ok(())
}

/// Debian's AppArmor profiles go by a program's path, and keep these two from files that are not in /etc and /run: a copy has
/// no profile. Its libraries it finds by its RUNPATH.
fn private(program: &str, folder: &Path) -> Result<PathBuf> {
    // The old copy may still run: it is unlinked, not written over.
    let copy = folder.join(Path::new(program).file_name().context("it has no name")?);
    let _ = fs::remove_file(&copy);
    fs::copy(program, &copy).context("install strongswan-charon and strongswan-swanctl")?;
    Ok(copy)
}

/// A script that runs a program of those that are unpacked at `root`, with that suite's loader and libraries, for the machine's may
/// be older. The plugins are looked for where Debian has them, and nowhere else: they are mounted there, for it alone to see.
fn unpacked(root: &Path, program: &str, folder: &Path) -> Result<PathBuf> {
    if !root.join("recipe").exists() {
        bail!("there is no strongSwan at {}: run `cargo xtask setup`", root.display());
    }
    let script = folder.join(Path::new(program).file_name().context("it has no name")?);
    let _ = fs::remove_file(&script);
    let root = shell::quote(&root.to_string_lossy());
    let text = format!(
        "#!/bin/sh\n\
         export root={root}\n\
         exec unshare --mount sh -c 'mount --bind \"$root/usr/lib/ipsec\" /usr/lib/ipsec && \
         exec \"$root/usr/lib64/ld-linux-x86-64.so.2\" \
         --library-path \"$root/usr/lib/ipsec:$root/usr/lib/x86_64-linux-gnu\" \"$root{program}\" \"$@\"' sh \"$@\"\n"
    );
    fs::write(&script, text)?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
    Ok(script)
}

/// What a test wants beside it comes from files below strongswan.d in `folder`.
fn configuration(folder: &Path, socket: &Path, log: &Path, plane: Plane) -> String {
    // Of two planes the first has the SAs.
    let before = match plane {
        Plane::Kernel => "",
        Plane::Libipsec => "kernel-libipsec ",
    };
    format!(
        "charon {{
    load = {before}{PLUGINS}
    install_routes = no
    install_virtual_ip = no
    retransmit_tries = 3
    retransmit_timeout = 2.0
    plugins {{
        vici {{
            socket = unix://{socket}
        }}
    }}
    filelog {{
        file {{
            path = {log}
            default = 1
            time_format = %H:%M:%S
            flush_line = yes
        }}
    }}
}}
swanctl {{
    load = {READERS}
}}
include {more}/*.conf
",
        more = folder.join("strongswan.d").display(),
        socket = socket.display(),
        log = log.display()
    )
}
