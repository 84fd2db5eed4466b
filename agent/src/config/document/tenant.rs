//! `[[tenant]]`.

use ipnet::IpNet;
use schemars::JsonSchema;

use super::shape::Many;
use crate::config::findings::{At, Spot};
use crate::config::table::Table;
use crate::config::value;

/// Whose traffic it is: a packet is of the first tenant that names the interface, the VLAN or the VRF it came in by, or a
/// source prefix that it is from. What comes in by a tunnel of its own is that tenant's alone.
#[derive(Debug, JsonSchema)]
#[schemars(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Tenant {
    /// Up to 31 letters, digits, `_`, `.` and `-`.
    #[schemars(with = "String", required)]
    pub name: Option<At<String>>,
    /// Ingress interfaces.
    #[schemars(with = "Option<Many<String>>")]
    pub interfaces: Vec<At<String>>,
    /// VLAN ids, 0 to 4094.
    #[schemars(with = "Option<Many<u16>>")]
    pub vlans: Vec<At<u16>>,
    /// VRF devices, for what comes in by their interfaces.
    #[schemars(with = "Option<Many<String>>")]
    pub vrfs: Vec<At<String>>,
    /// Source prefixes.
    #[schemars(with = "Option<Many<String>>")]
    pub sources: Vec<At<IpNet>>,
    /// The class of what none of its rules matches. Without it: that of `[default]`.
    #[schemars(with = "Option<String>")]
    pub default: Option<At<String>>,
    /// Tunnels of its own: nobody else's packets enter them, and its packets enter no other.
    #[schemars(with = "Option<Many<String>>")]
    pub tunnels: Vec<At<String>>,
    #[schemars(skip)]
    pub(crate) object: String,
    #[schemars(skip)]
    pub(crate) spot: Spot,
    /// None of the keys that say what is its traffic is written.
    #[schemars(skip)]
    pub(crate) bare: bool,
}

/// Keys that say what is a tenant's traffic.
const BELONGINGS: [&str; 4] = ["interfaces", "vlans", "vrfs", "sources"];

impl Tenant {
    pub(super) fn read(table: &mut Table<'_, '_, '_, '_>) -> Self {
        let empty = "leave the key out if there are none";
        Self {
            name: table.name(&value::NAME, "\"acme\""),
            interfaces: table.many("interfaces", &value::INTERFACE, empty),
            vlans: table.many("vlans", &value::VLAN, empty),
            vrfs: table.many("vrfs", &value::INTERFACE, empty),
            sources: table.many("sources", &value::PREFIX, empty),
            default: table.one("default", &value::TEXT),
            tunnels: table.many("tunnels", &value::TEXT, empty),
            object: table.object.clone(),
            spot: table.spot,
            bare: BELONGINGS.iter().all(|key| !table.has(key)),
        }
    }
}
