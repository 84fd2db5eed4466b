//! strongSwan's charon, started by hand in a gateway's namespace with a configuration of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::netns::Ns;
use super::process::Process;

const BINARY: &str = "/usr/lib/ipsec/charon";

/// What it takes for PSK and certificates, labels and netlink, and no more.
const PLUGINS: &str = "random nonce aes sha1 sha2 gcm curve25519 gmp hmac kdf drbg pem pkcs1 pkcs8 x509 pubkey openssl \
                       kernel-netlink socket-default vici updown";

/// A running charon.
#[derive(Debug)]
pub struct Charon {
    process: Process,
    ns: Ns,
    folder: PathBuf,
}

impl Charon {
    /// Starts it in `ns` with its files in `folder`, and waits for its VICI socket.
    pub fn start(ns: &Ns, folder: &Path) -> Result<Self> {
        ensure!(Path::new(BINARY).exists(), "{BINARY} is not there: install strongswan-charon and charon-systemd");
        fs::create_dir_all(folder)?;
        let (conf, socket, log) = (folder.join("strongswan.conf"), vici(folder), folder.join("charon.log"));
        fs::write(&conf, configuration(&socket, &log))?;
        let _ = fs::remove_file(&socket);
        // /var/run is its own, for the pid file; the namespace stays reachable because it is entered first.
        let script = format!("mount -t tmpfs tmpfs /var/run && exec {BINARY}");
        let mut command = ns.command("unshare");
        command.args(["-m", "sh", "-c", &script]).env("STRONGSWAN_CONF", &conf);
        let mut process = Process::start("charon", &mut command, &folder.join("charon.out"))?;
        process.wait_until(Duration::from_secs(60), "charon answers on its VICI socket", || socket.exists())?;
        Ok(Self { process, ns: ns.clone(), folder: folder.to_owned() })
    }

    /// Ends it without a goodbye: its SAs and policies stay in the kernel.
    pub fn kill(mut self) -> Result<()> {
        self.process.kill()
    }

    /// Runs `swanctl` against it and returns what it printed.
    pub fn swanctl(&self, arguments: &str) -> Result<String> {
        self.ns.sh(&format!("swanctl {arguments} --uri unix://{}", vici(&self.folder).display()))
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

fn configuration(socket: &Path, log: &Path) -> String {
    format!(
        "charon {{
    load = {PLUGINS}
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
",
        socket = socket.display(),
        log = log.display()
    )
}
