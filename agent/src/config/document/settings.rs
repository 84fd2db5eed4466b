//! The tables that are there once: `[mark]`, `[metrics]`, `[ike]`, `[limits]`, `[host]`, `[default]`.

use std::net::SocketAddr;
use std::path::PathBuf;

use schemars::JsonSchema;

use super::shape::{self, Memory};
use crate::config::findings::{At, Spot};
use crate::config::table::Table;
use crate::config::value;
use crate::policy::Missing;

/// The fwmark bits that are ours.
#[derive(Debug, JsonSchema)]
#[schemars(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Mark {
    /// One row of bits, at least as many as number all lanes of a tunnel from 1. All other bits of a packet's mark pass
    /// through untouched.
    #[schemars(with = "Option<u32>", extend("default" = 255))]
    pub mask: Option<At<u32>>,
    /// Bits beside those of `mask` that IKE and ESP packets have as they leave, by `set_mark_out` in swanctl.conf and
    /// `charon.plugins.socket-default.fwmark` in strongswan.conf: they are not asked for routes around peers, wherever their peer
    /// is. Without it those routes know the peers' addresses that the file names.
    #[schemars(with = "Option<u32>", range(min = 1))]
    pub outer: Option<At<u32>>,
    #[schemars(skip)]
    pub(crate) spot: Spot,
}

impl Mark {
    pub(super) fn read(table: &mut Table<'_, '_, '_, '_>) -> Self {
        Self { mask: table.number("mask", 0..=u32::MAX), outer: table.number("outer", 1..=u32::MAX), spot: table.spot }
    }
}

/// Where counters are served: to Prometheus, and to a browser.
#[derive(Debug, JsonSchema)]
#[schemars(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Metrics {
    /// Address and port of `/metrics` and of the page at `/`, or `off`. Without `web-config` it speaks plain HTTP and asks for no
    /// password: keep it on addresses that you trust.
    #[schemars(with = "Option<String>", extend("default" = "127.0.0.1:9738"))]
    pub listen: Option<At<Option<SocketAddr>>>,
    /// A web-config file in the format of Prometheus's exporters: TLS, client certificates, passwords, headers.
    #[schemars(with = "Option<String>")]
    pub web_config: Option<At<PathBuf>>,
    /// One outgoing packet in so many, on average, is timed from its tunnel's device to the wire: through encryption and the
    /// queue of the device that it leaves by. Without it no packet is.
    #[schemars(with = "Option<u32>", range(min = 1, max = 1_000_000))]
    pub latency_every: Option<At<u32>>,
    #[schemars(skip)]
    pub(crate) spot: Spot,
}

impl Metrics {
    pub(super) fn read(table: &mut Table<'_, '_, '_, '_>) -> Self {
        Self {
            listen: table.one("listen", &value::LISTEN),
            web_config: table.one("web-config", &value::WEB_CONFIG),
            latency_every: table.number("latency-every", 1..=1_000_000),
            spot: table.spot,
        }
    }
}

/// How to reach strongSwan.
#[derive(Debug, JsonSchema)]
#[schemars(rename_all = "kebab-case", deny_unknown_fields)]
pub struct IkeDaemon {
    /// charon's VICI socket.
    #[schemars(with = "Option<String>", extend("default" = "/var/run/charon.vici"))]
    pub vici: Option<At<PathBuf>>,
    #[schemars(skip)]
    pub(crate) spot: Spot,
}

impl IkeDaemon {
    pub(super) fn read(table: &mut Table<'_, '_, '_, '_>) -> Self {
        Self { vici: table.one("vici", &value::SOCKET), spot: table.spot }
    }
}

/// What Lanekeeper may take of this machine.
#[derive(Debug, JsonSchema)]
#[schemars(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Limits {
    /// The most memory that the agent may take for compiling and keeping its rules, in bytes or as `256MiB`: a list that would
    /// take more is refused. 32MiB at least. Without it lists are bounded by what the data path holds.
    #[schemars(with = "Option<Memory>")]
    pub memory: Option<At<u64>>,
    #[schemars(skip)]
    pub(crate) spot: Spot,
}

impl Limits {
    pub(super) fn read(table: &mut Table<'_, '_, '_, '_>) -> Self {
        Self { memory: table.one("memory", &value::MEMORY), spot: table.spot }
    }
}

/// What this host itself sends.
#[derive(Debug, JsonSchema)]
#[schemars(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Host {
    /// Sockets of cgroups that rules name get the mark of their class, 1 under `[mark] mask` for the first one, when they are
    /// made and when they connect: before the route lookup. Only where it is certain by then which rule all that they send
    /// matches first.
    #[schemars(with = "Option<bool>", extend("default" = false))]
    pub mark_sockets: Option<At<bool>>,
    /// What becomes of a file whose rules name interfaces or cgroups that are not there: `refuse` has `plan`, `apply`, `reload`
    /// and `rules add` refuse it whole, `wait` has nothing match them until they are there. `run` waits when it starts, in any
    /// case.
    #[schemars(with = "Option<shape::Missing>", extend("default" = "refuse"))]
    pub missing: Option<At<Missing>>,
    #[schemars(skip)]
    pub(crate) spot: Spot,
}

impl Host {
    pub(super) fn read(table: &mut Table<'_, '_, '_, '_>) -> Self {
        Self {
            mark_sockets: table.flag("mark-sockets"),
            missing: table.one("missing", &value::MISSING),
            spot: table.spot,
        }
    }
}

/// What becomes of traffic that no rule matches.
#[derive(Debug, JsonSchema)]
#[schemars(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Default {
    /// Its class. Without this table it is the class named `default`.
    #[schemars(with = "String", required)]
    pub class: Option<At<String>>,
    #[schemars(skip)]
    pub(crate) spot: Spot,
}

impl Default {
    pub(super) fn read(table: &mut Table<'_, '_, '_, '_>) -> Self {
        Self { class: table.required("class", &value::TEXT), spot: table.spot }
    }
}
