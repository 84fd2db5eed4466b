//! Mirrored configurations for the two gateways.

use std::fmt::Write;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::Result;

use super::charon::vici;
use super::metrics::LISTEN;
use super::{Family, Side, certificates};
use crate::setup::strongswan::Version;

/// Name of the tunnel on both ends.
pub const TUNNEL: &str = "branch";

/// Name of the tunnel's device on both ends.
pub const DEVICE: &str = "lk-branch";

/// Name of the TUN device that charon makes first.
pub const TUN: &str = "ipsec0";

/// if_id or key of the tunnel on both ends.
pub const IF_ID: u32 = 42;

/// The pre-shared key of both ends, known to all.
pub const PSK: &str = "the lab's pre-shared key, known to all";

/// Classes, rules and keying of both gateways.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// In the file's order; each is carried by the tunnel, or the default one alone where its device has one lane.
    pub classes: Vec<Class>,
    /// The tunnel's device.
    pub device: Device,
    /// `[[rule]]` tables, TOML.
    pub rules: String,
    /// Class of what no rule matches.
    pub default: &'static str,
    /// Who makes the SAs.
    pub keying: Keying,
    /// Which strongSwan makes them.
    pub strongswan: Version,
    /// Family of the outer addresses.
    pub outer: Family,
    /// `[mark] mask`.
    pub mask: u32,
    /// `replay-window` of the tunnel.
    pub replay_window: Option<u32>,
    /// `rekey-time` of the tunnel, seconds.
    pub rekey_time: Option<u32>,
    /// How [`Side::A`] begins: lines of its `[tunnel.ike]`.
    pub begin: &'static str,
}

/// Kinds of device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Device {
    /// An XFRM interface.
    Xfrm,
    /// A VTI or VTI6.
    Vti,
    /// A GRE device.
    Gre,
    /// A GRE device for each class, by the mark that the LAN's port writes.
    GreLanes,
    /// The TUN device of charon's kernel-libipsec.
    Tun,
    /// None: marks alone, which the LAN's port writes, and sockets.
    Bare,
}

/// A `[[class]]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Class {
    /// Its name.
    pub name: &'static str,
    /// Lanes in the tunnel.
    pub lanes: u8,
    /// `fallback`.
    pub fallback: Option<&'static str>,
    /// `outer-dscp`.
    pub outer_dscp: Option<&'static str>,
}

/// Who makes the SAs, and from what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keying {
    /// strongSwan with a pre-shared key.
    Psk,
    /// strongSwan with certificates.
    Certificate,
    /// The agent, from a key file.
    Static,
}

impl Class {
    /// One lane, no fallback.
    pub const fn new(name: &'static str) -> Self {
        Self { name, lanes: 1, fallback: None, outer_dscp: None }
    }

    /// With that many lanes.
    pub const fn lanes(self, lanes: u8) -> Self {
        Self { lanes, ..self }
    }

    /// With that fallback.
    pub const fn fallback(self, fallback: &'static str) -> Self {
        Self { fallback: Some(fallback), ..self }
    }

    /// With that outer DSCP.
    pub const fn outer_dscp(self, dscp: &'static str) -> Self {
        Self { outer_dscp: Some(dscp), ..self }
    }
}

impl Scenario {
    /// The demo's: voice, video, bulk over two lanes, default; told apart by DSCP and ports.
    pub fn four_classes(keying: Keying) -> Self {
        Self {
            classes: vec![
                Class::new("voice").fallback("default"),
                Class::new("video").fallback("default"),
                Class::new("bulk").lanes(2).fallback("default"),
                Class::new("default"),
            ],
            rules: "[[rule]]\nname = \"voice\"\nclass = \"voice\"\nprotocol = \"udp\"\ndscp = [\"ef\"]\n\n\
                    [[rule]]\nname = \"video\"\nclass = \"video\"\nprotocol = \"udp\"\ndestination-port = [\"5004-5099\"]\n\n\
                    [[rule]]\nname = \"bulk\"\nclass = \"bulk\"\nprotocol = \"udp\"\ndestination-port = [\"9000-9999\"]\n"
                .to_owned(),
            default: "default",
            device: Device::Xfrm,
            keying,
            strongswan: Version::Machine,
            outer: Family::V4,
            mask: 0xff,
            replay_window: None,
            rekey_time: None,
            begin: "start = \"start\"",
        }
    }

    /// All traffic on one SA: what a gateway without lanes does.
    pub fn one_sa(keying: Keying) -> Self {
        Self { classes: vec![Class::new("default")], rules: String::new(), ..Self::four_classes(keying) }
    }

    /// Writes `config.toml` of `side`, and the secrets that it names, into `folder`.
    pub fn write(&self, side: Side, folder: &Path, shared: &Path) -> Result<()> {
        fs::create_dir_all(folder)?;
        match self.keying {
            Keying::Psk => secret(&folder.join("tunnel.psk"), &format!("{PSK}\n"))?,
            Keying::Certificate if !shared.join("ca.pem").exists() => {
                certificates::make(shared, &[Side::A.identity(), Side::B.identity()])?;
            }
            Keying::Certificate => {}
            Keying::Static => secret(&folder.join("tunnel.keys"), &self.static_keys(side))?,
        }
        fs::write(folder.join("config.toml"), self.toml(side, folder, shared))?;
        Ok(())
    }

    /// The file of `side`.
    pub fn toml(&self, side: Side, folder: &Path, shared: &Path) -> String {
        let mut toml = format!(
            "[mark]\nmask = {:#010x}\n\n[metrics]\nlisten = \"{LISTEN}\"\n\n[ike]\nvici = \"{}\"\n\n",
            self.mask,
            vici(folder).display()
        );
        for class in &self.classes {
            let _ = writeln!(toml, "[[class]]\nname = \"{}\"\nlanes = {}", class.name, class.lanes);
            if let Some(fallback) = class.fallback {
                let _ = writeln!(toml, "fallback = \"{fallback}\"");
            }
            if let Some(dscp) = class.outer_dscp {
                let _ = writeln!(toml, "outer-dscp = \"{dscp}\"");
            }
            toml.push('\n');
        }
        let _ = writeln!(
            toml,
            "[[tunnel]]\nname = \"{TUNNEL}\"\nlocal = \"{}\"\nremote = \"{}\"\nclasses = [{}]",
            side.outer(self.outer),
            side.other().outer(self.outer),
            self.carried().map(|class| format!("{:?}", class.name)).collect::<Vec<_>>().join(", ")
        );
        if let Some(window) = self.replay_window {
            let _ = writeln!(toml, "replay-window = {window}");
        }
        self.write_device(&mut toml, side);
        self.write_keying(&mut toml, side, folder, shared);
        let _ = writeln!(toml, "\n{}\n[default]\nclass = \"{}\"", self.rules, self.default);
        toml
    }

    fn write_device(&self, toml: &mut String, side: Side) {
        let lans = |side: Side| format!("\"{}\", \"{}\"", side.lan(Family::V4), side.lan(Family::V6));
        let kind = match self.device {
            Device::Xfrm => format!("type = \"xfrm\", if-id = {IF_ID}"),
            Device::Vti => format!("type = \"vti\", key = {IF_ID}"),
            Device::Gre | Device::GreLanes => format!("type = \"gre\", key = {IF_ID}, ttl = 32"),
            Device::Tun => {
                let (local, remote) = (lans(side), lans(side.other()));
                let _ = writeln!(
                    toml,
                    "device = {{ type = \"tun\", name = \"{TUN}\" }}\nlocal-ts = [{local}]\nremote-ts = [{remote}]\n\
                     routes = [{remote}]"
                );
                return;
            }
            Device::Bare => {
                let (local, remote) = (lans(side), lans(side.other()));
                let _ = writeln!(toml, "device = {{ type = \"none\" }}\nlocal-ts = [{local}]\nremote-ts = [{remote}]");
                return;
            }
        };
        let _ = writeln!(
            toml,
            "device = {{ {kind}, name = \"{DEVICE}\", mtu = 1400, addresses = [\"{}\", \"{}\"] }}\n\
             routes = [\"{}\", \"{}\"]",
            side.tunnel_address(Family::V4),
            side.tunnel_address(Family::V6),
            side.other().lan(Family::V4),
            side.other().lan(Family::V6)
        );
    }

    fn write_keying(&self, toml: &mut String, side: Side, folder: &Path, shared: &Path) {
        let (folder, shared) = (folder.display(), shared.display());
        if self.keying == Keying::Static {
            let _ = writeln!(
                toml,
                "[tunnel.static]\nkey-file = \"{folder}/tunnel.keys\"\n\
                 i-know = \"static keys repeat nonces after a reboot\""
            );
            return;
        }
        let (ours, theirs) = (side.identity(), side.other().identity());
        let auth = match self.keying {
            Keying::Psk | Keying::Static => format!("psk-file = \"{folder}/tunnel.psk\""),
            Keying::Certificate => {
                format!(
                    "certificate = \"{shared}/{ours}.pem\", key = \"{shared}/{ours}.key\", ca = \"{shared}/ca.pem\""
                )
            }
        };
        let start = match side {
            Side::A => self.begin,
            Side::B => "start = \"none\"",
        };
        let _ = writeln!(
            toml,
            "[tunnel.ike]\nlocal-id = \"{ours}\"\nremote-id = \"{theirs}\"\nauth = {{ {auth} }}\n{start}"
        );
        if let Some(seconds) = self.rekey_time {
            let _ = writeln!(toml, "rekey-time = {seconds}");
        }
    }

    /// In the order of classes.
    pub fn lanes(&self) -> impl Iterator<Item = (&'static str, u8)> {
        self.carried().flat_map(|class| (0..class.lanes).map(|index| (class.name, index)))
    }

    /// Their marks before they are shifted into the mask. Where ports mark for the tunnel a class's first lane has that of its class, and the
    /// others those behind.
    pub fn marks(&self) -> Vec<u32> {
        if !matches!(self.device, Device::Bare | Device::GreLanes) {
            return (1..).take(self.lanes().count()).collect();
        }
        let classes = self.classes.len() as u32;
        let mut behind = classes + 1..;
        let of_class = |(class, first): (u32, &Class)| -> Vec<u32> {
            std::iter::once(class).chain(behind.by_ref().take(usize::from(first.lanes) - 1)).collect()
        };
        (1..).zip(&self.classes).flat_map(of_class).collect()
    }

    /// The classes that the tunnel has lanes of.
    fn carried(&self) -> impl Iterator<Item = &Class> {
        let all = matches!(self.device, Device::Xfrm | Device::Bare | Device::GreLanes);
        self.classes.iter().filter(move |class| all || class.name == self.default)
    }

    /// Keys that both ends can write down by themselves, and that mean nothing outside the lab.
    fn static_keys(&self, side: Side) -> String {
        let mut text = String::new();
        for (position, (class, index)) in (1u32..).zip(self.lanes()) {
            for (from, direction) in [(side, "out"), (side.other(), "in")] {
                let spi = position | if from == Side::A { 0x1000 } else { 0x2000 };
                let _ = writeln!(
                    text,
                    "[[sa]]\nlane = \"{class}.{index}\"\ndirection = \"{direction}\"\nspi = {spi:#x}\n\
                     algorithm = \"aes128gcm16\"\nkey = \"{spi:040x}\"\n"
                );
            }
        }
        text
    }
}

/// Writes a file that only its owner reads.
fn secret(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(())
}
