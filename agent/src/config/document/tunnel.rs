//! `[[tunnel]]`, with its `device`, `ike` and `static` tables.

use std::net::IpAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use schemars::JsonSchema;

use super::FileKey;
use super::adopt::Adopt;
use super::shape::{Consent, Distincts, Duration, IfId, Many, Offloads, Starts};
use crate::config::findings::{At, Spot};
use crate::config::problem::Problem;
use crate::config::table::Table;
use crate::config::value::{self, DeviceType};
use crate::policy::{Distinct, Start};

/// One IPsec peer, and the device that leads to it if any. It needs one of `ike`, `static` and `adopt`.
#[derive(Debug, JsonSchema)]
#[schemars(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Tunnel {
    /// Up to 31 letters, digits, `_`, `.` and `-`.
    #[schemars(with = "String", required)]
    pub name: Option<At<String>>,
    /// This gateway's outer address.
    #[schemars(with = "String", required)]
    pub local: Option<At<IpAddr>>,
    /// The peer's outer address; with `[tunnel.adopt]` also `any`: clients come from anywhere, and share the tunnel.
    #[schemars(with = "String", required)]
    pub remote: Option<At<IpAddr>>,
    /// Where it is `any`.
    #[schemars(skip)]
    pub(crate) any: Option<Spot>,
    /// The classes that it carries; the peer lists the same ones, and of a GRE device in the same order.
    #[schemars(with = "Many<String>", required)]
    pub classes: Vec<At<String>>,
    /// The device that leads to it, or that there is none.
    #[schemars(required)]
    pub device: Option<Device>,
    /// Prefixes behind the peer, routed into the device; with `[tunnel.adopt]` also `selectors`: what its CHILD_SAs are for there,
    /// while they are up.
    #[schemars(with = "Option<Many<String>>")]
    pub routes: Vec<At<IpNet>>,
    /// Where `selectors` is among them.
    #[schemars(skip)]
    pub(crate) selectors: Vec<At<()>>,
    /// Inner addresses on this side that its SAs are for. Without it: all, of both families. A tunnel without a device needs it.
    #[schemars(with = "Option<Many<String>>")]
    pub local_ts: Vec<At<IpNet>>,
    /// Inner addresses on the peer's side that its SAs are for. Without it: all, of both families. A tunnel without a device needs
    /// it, and is found by it.
    #[schemars(with = "Option<Many<String>>")]
    pub remote_ts: Vec<At<IpNet>>,
    /// Anti-replay window of each SA in packets; 0 turns the check off.
    #[schemars(with = "Option<u32>", range(min = 0, max = 4096), extend("default" = 128))]
    pub replay_window: Option<At<u32>>,
    /// Keys by IKE: strongSwan, managed over VICI.
    pub ike: Option<Ike>,
    /// Keys from a file, for labs and for peers that another program keys.
    #[schemars(rename = "static")]
    pub static_keys: Option<Static>,
    /// Keys by IKE: a connection of your own swanctl.conf.
    pub adopt: Option<Adopt>,
    #[schemars(skip)]
    pub(crate) object: String,
    #[schemars(skip)]
    pub(crate) spot: Spot,
    /// Which of `ike`, `static` and `adopt` are written at all.
    #[schemars(skip)]
    pub(crate) keyings: Vec<&'static str>,
}

impl Tunnel {
    pub(super) fn read(table: &mut Table<'_, '_, '_, '_>) -> Self {
        let object = table.object.clone();
        let all = "leave the key out for all addresses";
        let (routes, selectors) = split(table.many("routes", &value::ROUTE, "leave the key out for no routes"));
        let name = table.name(&value::NAME, "\"branch-7\"");
        let local = table.required("local", &value::ADDRESS);
        table.require("remote", "\"192.0.2.2\"");
        let (remote, any) = match table.one("remote", &value::REMOTE) {
            Some(At { value: Some(value), spot }) => (Some(At { value, spot }), None),
            Some(At { value: None, spot }) => (None, Some(spot)),
            None => (None, None),
        };
        let tunnel = Self {
            name,
            local,
            remote,
            any,
            classes: {
                table.require("classes", "[\"voice\", \"default\"]");
                table.many("classes", &value::TEXT, "name the classes whose packets it carries")
            },
            device: {
                table.require("device", "{ type = \"xfrm\", name = \"lk-branch7\", if-id = 42 }");
                table.table("device", format!("{object}: device"), Device::read)
            },
            routes,
            selectors,
            local_ts: table.many("local-ts", &value::PREFIX, all),
            remote_ts: table.many("remote-ts", &value::PREFIX, all),
            replay_window: table.number("replay-window", 0..=4096),
            ike: table.table("ike", format!("{object}: ike"), Ike::read),
            static_keys: table.table("static", format!("{object}: static"), Static::read),
            adopt: table.table("adopt", format!("{object}: adopt"), Adopt::read),
            keyings: ["ike", "static", "adopt"].into_iter().filter(|key| table.has(key)).collect(),
            object,
            spot: table.spot,
        };
        table.later("tenant", "the tenant names its tunnels: tunnels = [\"branch-7\"] in its [[tenant]]");
        tunnel
    }

    /// The files that it names.
    pub(crate) fn files(&self) -> impl Iterator<Item = FileKey<'_>> {
        let auth = self.ike.as_ref().and_then(|ike| ike.auth.as_ref());
        [
            auth.and_then(|auth| auth.psk_file.as_ref()).map(|file| ("psk-file", file, true)),
            auth.and_then(|auth| auth.certificate.as_ref()).map(|file| ("certificate", file, false)),
            auth.and_then(|auth| auth.key.as_ref()).map(|file| ("key", file, true)),
            auth.and_then(|auth| auth.ca.as_ref()).map(|file| ("ca", file, false)),
            self.static_keys.as_ref().and_then(|keys| keys.key_file.as_ref()).map(|file| ("key-file", file, true)),
        ]
        .into_iter()
        .flatten()
    }
}

/// What is written out, and where a word stands for what is not.
fn split(written: Vec<At<Option<IpNet>>>) -> (Vec<At<IpNet>>, Vec<At<()>>) {
    let (mut nets, mut words) = (Vec::new(), Vec::new());
    for At { value, spot } in written {
        match value {
            Some(value) => nets.push(At { value, spot }),
            None => words.push(At { value: (), spot }),
        }
    }
    (nets, words)
}

/// The device that leads to a peer.
#[derive(Debug, JsonSchema)]
#[schemars(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Device {
    /// Its kind.
    #[schemars(rename = "type", with = "DeviceType", required)]
    pub kind: Option<At<DeviceType>>,
    /// Its name, up to 15 bytes; no other program's device. Every device needs one. Several tunnels have an XFRM interface together
    /// where they give it the same name, and the same if-id or `external`. With if-id `%unique` it has a `%d`, for the
    /// if_id.
    #[schemars(with = "Option<String>")]
    pub name: Option<At<String>>,
    /// Of an XFRM interface, which needs it: what ties device, SAs and policies together; another one in each tunnel, unless several
    /// have one device. With
    /// `[tunnel.adopt]` also `%unique`: each IKE_SA has a device of its own, while it is there.
    #[schemars(with = "Option<IfId>")]
    pub if_id: Option<At<u32>>,
    /// Where that, or `key`, is `%unique`.
    #[schemars(skip)]
    pub(crate) each: Option<Spot>,
    /// Of a VTI, which needs it or both of the next two: the mark of its policies; another one in each tunnel. Of a GRE device:
    /// what stands in its packets, the same on both ends; of several classes the first one's device has it, the next ones those
    /// behind it.
    /// With `[tunnel.adopt]` a VTI's also `%unique`: each IKE_SA has a VTI of its own.
    #[schemars(with = "Option<IfId>")]
    pub key: Option<At<u32>>,
    /// A VTI's key for what comes in alone.
    #[schemars(with = "Option<u32>", range(min = 1))]
    pub ikey: Option<At<u32>>,
    /// A VTI's key for what leaves alone.
    #[schemars(with = "Option<u32>", range(min = 1))]
    pub okey: Option<At<u32>>,
    /// Of a GRE device: TTL of its outer packets.
    #[schemars(with = "Option<u32>", range(min = 1, max = 255), extend("default" = 64))]
    pub ttl: Option<At<u32>>,
    /// Inner MTU in bytes: the WAN's, less what ESP adds (80 covers AES-GCM over IPv6).
    #[schemars(with = "Option<u32>", range(min = 576, max = 65535), extend("default" = 1400))]
    pub mtu: Option<At<u32>>,
    /// Its own addresses; with `[tunnel.adopt]` also `virtual`: the virtual IPs that the peer gives.
    #[schemars(with = "Option<Many<String>>")]
    pub addresses: Vec<At<IpNet>>,
    /// Where `virtual` is among them.
    #[schemars(skip)]
    pub(crate) virtual_ips: Vec<At<()>>,
    /// Of an XFRM interface or a tunnel's one GRE device: the VRF that it is in, a device of yours. The tunnel's routes are in its
    /// table.
    #[schemars(with = "Option<String>")]
    pub vrf: Option<At<String>>,
    /// The network namespace that it is taken to, by its name below /run/netns; its SAs stay here. Its addresses and routes are that
    /// namespace's own. Linux 6.6 or later. Not of a GRE tunnel of several classes.
    #[schemars(with = "Option<String>")]
    pub namespace: Option<At<String>>,
    /// Of an XFRM interface: `true` for one that takes the if_id from the route of each packet. All tunnels with `external` have one
    /// device, each with an if-id of its own.
    #[schemars(with = "Option<bool>", extend("default" = false))]
    pub external: Option<At<bool>>,
    /// Of an XFRM interface: its underlying device. Where that is in a VRF, ESP packets are routed in the VRF's table.
    #[schemars(with = "Option<String>")]
    pub link: Option<At<String>>,
}

impl Device {
    fn read(table: &mut Table<'_, '_, '_, '_>) -> Self {
        let kind = table.required("type", &value::DEVICE_TYPE);
        let is_device = kind.as_ref().is_none_or(|kind| kind.value != DeviceType::Bare);
        let name = match is_device {
            true => table.required("name", &value::DEVICE),
            false => table.one("name", &value::DEVICE),
        };
        let none = "leave the key out for no addresses";
        let (addresses, virtual_ips) = split(table.many("addresses", &value::DEVICE_ADDRESS, none));
        let number = |of: Option<At<Option<u32>>>| match of {
            Some(At { value: Some(value), spot }) => (Some(At { value, spot }), None),
            Some(At { value: None, spot }) => (None, Some(spot)),
            None => (None, None),
        };
        let (if_id, each) = number(table.one("if-id", &value::IF_ID));
        let (key, each_key) = number(table.one("key", &value::IF_ID));
        if let Some(spot) = each_key.filter(|_| kind.as_ref().is_some_and(|kind| kind.value == DeviceType::Gre)) {
            let object = table.object.clone();
            table.problem(spot, Problem::EachOfGre { object });
        }
        Self::check_keys(kind.as_ref().map_or(DeviceType::Xfrm, |kind| kind.value), table);
        Self {
            kind,
            name,
            if_id,
            each: each.or(each_key),
            key,
            ikey: table.number("ikey", 1..=u32::MAX),
            okey: table.number("okey", 1..=u32::MAX),
            ttl: table.number("ttl", 1..=255),
            mtu: table.number("mtu", 576..=65535),
            addresses,
            virtual_ips,
            vrf: table.one("vrf", &value::INTERFACE),
            namespace: table.one("namespace", &value::NAMESPACE),
            external: table.flag("external"),
            link: table.one("link", &value::INTERFACE),
        }
    }

    /// What each kind needs, and what is another's.
    fn check_keys(kind: DeviceType, table: &mut Table<'_, '_, '_, '_>) {
        let of_others: &[(&'static str, &'static str)] = match kind {
            DeviceType::Bare => {
                for key in [
                    "name",
                    "if-id",
                    "key",
                    "ikey",
                    "okey",
                    "ttl",
                    "mtu",
                    "addresses",
                    "vrf",
                    "namespace",
                    "external",
                    "link",
                ] {
                    if table.has(key) {
                        let (spot, object) = (table.spot_of(key), table.object.clone());
                        table.problem(spot, Problem::NoDevice { object, key });
                    }
                }
                &[]
            }
            DeviceType::Xfrm => {
                table.require("if-id", "42");
                &[("key", "vti"), ("ikey", "vti"), ("okey", "vti"), ("ttl", "gre")]
            }
            DeviceType::Gre => {
                &[("if-id", "xfrm"), ("ikey", "vti"), ("okey", "vti"), ("external", "xfrm"), ("link", "xfrm")]
            }
            DeviceType::Tun => {
                for key in ["mtu", "addresses"] {
                    if table.has(key) {
                        let (spot, object) = (table.spot_of(key), table.object.clone());
                        table.problem(spot, Problem::OfCharon { object, key });
                    }
                }
                &[
                    ("if-id", "xfrm"),
                    ("key", "vti"),
                    ("ikey", "vti"),
                    ("okey", "vti"),
                    ("ttl", "gre"),
                    ("vrf", "xfrm"),
                    ("namespace", "xfrm"),
                    ("external", "xfrm"),
                    ("link", "xfrm"),
                ]
            }
            DeviceType::Vti => {
                match (table.has("key"), table.has("ikey"), table.has("okey")) {
                    (true, false, false) | (false, true, true) => {}
                    (false, false, false) => table.require("key", "42"),
                    (false, true, false) => table.require("okey", "42"),
                    (false, false, true) => table.require("ikey", "42"),
                    (true, _, _) => {
                        let (spot, object) = (table.spot_of("key"), table.object.clone());
                        table.problem(spot, Problem::KeyTwice { object });
                    }
                }
                // With the VRF of the device its ESP packets would be routed in the VRF's table (xfrm_dst_lookup takes the VTI for the
                // output device).
                &[("if-id", "xfrm"), ("ttl", "gre"), ("vrf", "xfrm"), ("external", "xfrm"), ("link", "xfrm")]
            }
        };
        for &(key, of) in of_others {
            if !table.has(key) {
                continue;
            }
            let (spot, object) = (table.spot_of(key), table.object.clone());
            table.problem(spot, Problem::OfOtherDevice { object, key, kind: kind.name(), of });
        }
    }

    /// The keys of a VTI: for what comes in, and for what leaves.
    pub(crate) fn keys(&self) -> (Option<&At<u32>>, Option<&At<u32>>) {
        match self.kind.as_ref().map(|kind| kind.value) {
            Some(DeviceType::Vti) => {}
            Some(DeviceType::Xfrm | DeviceType::Gre | DeviceType::Tun | DeviceType::Bare) | None => {
                return (None, None);
            }
        }
        (self.ikey.as_ref().or(self.key.as_ref()), self.okey.as_ref().or(self.key.as_ref()))
    }
}

/// A connection that the agent loads into strongSwan, with one CHILD_SA for each lane.
#[derive(Debug, JsonSchema)]
#[schemars(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Ike {
    /// Our identity; without it the outer address.
    #[schemars(with = "Option<String>")]
    pub local_id: Option<At<String>>,
    /// The peer's identity; without it the outer address.
    #[schemars(with = "Option<String>")]
    pub remote_id: Option<At<String>>,
    /// What tells lanes apart for the peer: `label`, a label on each CHILD_SA, all in one IKE_SA; `identity`, for peers that
    /// know no labels: each lane has an IKE_SA of its own, where both ends' identities have `CLASS.INDEX.` in front.
    #[schemars(with = "Option<Distincts>", extend("default" = "label"))]
    pub distinct: Option<At<Distinct>>,
    /// How both ends prove who they are.
    #[schemars(required)]
    pub auth: Option<Auth>,
    /// Who begins: `start` for this end, again and again until it works, `none` for the peer; `trap` for this end, each lane
    /// with its first packet. A class may say `start` or `trap` for itself.
    #[schemars(with = "Option<Starts>", extend("default" = "start"))]
    pub start: Option<At<Start>>,
    /// IKE proposals in strongSwan's notation; without it charon's own.
    #[schemars(with = "Option<Many<String>>")]
    pub proposals: Vec<At<String>>,
    /// ESP proposals in strongSwan's notation; without it charon's own.
    #[schemars(with = "Option<Many<String>>")]
    pub esp_proposals: Vec<At<String>>,
    /// What the WAN's network card does of IPsec: `crypto` for encryption, without which no lane comes up then. That of whole packets
    /// knows no lanes.
    #[schemars(with = "Option<Offloads>", extend("default" = "no"))]
    pub hw_offload: Option<At<bool>>,
    /// Time between the rekeys of each CHILD_SA, in seconds or as `30m`, `4h`; 0 for never, without it charon's own.
    #[schemars(with = "Option<Duration>")]
    pub rekey_time: Option<At<u32>>,
    /// Time without a packet after which a lane that came up with its first packet is let go, until the next one: from 10
    /// seconds, or as `10m`. Without it such lanes stay.
    #[schemars(with = "Option<Duration>")]
    pub idle_timeout: Option<At<u32>>,
}

impl Ike {
    fn read(table: &mut Table<'_, '_, '_, '_>) -> Self {
        table.require("auth", "{ psk-file = \"/etc/lanekeeper/branch-7.psk\" }");
        let object = table.object.clone();
        let own = "leave the key out for charon's own";
        let ike = Self {
            local_id: table.one("local-id", &value::IDENTITY),
            remote_id: table.one("remote-id", &value::IDENTITY),
            distinct: table.one("distinct", &value::DISTINCT),
            auth: table.table("auth", format!("{object}: auth"), Auth::read),
            start: table.one("start", &value::START),
            proposals: table.many("proposals", &value::PROPOSAL, own),
            esp_proposals: table.many("esp-proposals", &value::PROPOSAL, own),
            hw_offload: table.one("hw-offload", &value::OFFLOAD),
            rekey_time: table.one("rekey-time", &value::SECONDS),
            idle_timeout: table.one("idle-timeout", &value::IDLE),
        };
        let adopted = "for a connection of your own swanctl.conf take [tunnel.adopt] instead of [tunnel.ike]";
        table.later("adopt", adopted);
        table.later("mode", adopted);
        ike
    }
}

/// How both ends prove who they are: `psk-file`, or `certificate`, `key` and `ca`.
#[derive(Debug, JsonSchema)]
#[schemars(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Auth {
    /// A file with the pre-shared key, mode 0600; a newline at its end does not count.
    #[schemars(with = "Option<String>")]
    pub psk_file: Option<At<PathBuf>>,
    /// Our X.509 certificate, PEM or DER.
    #[schemars(with = "Option<String>")]
    pub certificate: Option<At<PathBuf>>,
    /// Its private key, mode 0600.
    #[schemars(with = "Option<String>")]
    pub key: Option<At<PathBuf>>,
    /// The CA that signs the peer's certificate.
    #[schemars(with = "Option<String>")]
    pub ca: Option<At<PathBuf>>,
}

impl Auth {
    fn read(table: &mut Table<'_, '_, '_, '_>) -> Self {
        let psk = table.has("psk-file");
        let parts = ["certificate", "key", "ca"];
        let there = parts.iter().filter(|key| table.has(key)).count();
        let found = match (psk, there) {
            (true, 0) | (false, 3) => None,
            (true, _) => Some("both a pre-shared key and a certificate"),
            (false, 0) => Some("neither a pre-shared key nor a certificate"),
            (false, _) => Some("a part of what a certificate takes: \"certificate\", \"key\" and \"ca\""),
        };
        if let Some(found) = found {
            let object = table.object.trim_end_matches(": auth").to_owned();
            table.problem(table.spot, Problem::Auth { object, found });
        }
        Self {
            psk_file: table.one("psk-file", &value::FILE),
            certificate: table.one("certificate", &value::FILE),
            key: table.one("key", &value::FILE),
            ca: table.one("ca", &value::FILE),
        }
    }
}

/// Keys from a file.
#[derive(Debug, JsonSchema)]
#[schemars(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Static {
    /// The file with the keys of each lane, mode 0600.
    #[schemars(with = "String", required)]
    pub key_file: Option<At<PathBuf>>,
    /// For keys of counter-mode ciphers (GCM, CTR, CCM, ChaCha20-Poly1305) only, which are not safe to use again after
    /// a reboot. The sentence is `static keys repeat nonces after a reboot`.
    #[schemars(with = "Option<Consent>")]
    pub i_know: Option<At<()>>,
}

impl Static {
    fn read(table: &mut Table<'_, '_, '_, '_>) -> Self {
        Self { key_file: table.required("key-file", &value::FILE), i_know: table.one("i-know", &value::CONSENT) }
    }
}
