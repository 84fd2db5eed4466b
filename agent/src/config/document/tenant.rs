//! `[[tenant]]`.

use ipnet::IpNet;
use schemars::JsonSchema;

use super::shape::Many;
use crate::config::findings::{At, Spot};
use crate::config::table::Table;
use crate::config::value;

/// Whose traffic it is: a packet is of the first tenant that names the interface it came in by, or a source prefix that
/// it is from.
#[derive(Debug, JsonSchema)]
#[schemars(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Tenant {
    /// Up to 31 letters, digits, `_`, `.` and `-`.
    #[schemars(with = "String", required)]
    pub name: Option<At<String>>,
    /// Ingress interfaces.
    #[schemars(with = "Option<Many<String>>")]
    pub interfaces: Vec<At<String>>,
    /// Source prefixes.
    #[schemars(with = "Option<Many<String>>")]
    pub sources: Vec<At<IpNet>>,
    #[schemars(skip)]
    pub(crate) object: String,
    #[schemars(skip)]
    pub(crate) spot: Spot,
    /// Neither key is written.
    #[schemars(skip)]
    pub(crate) bare: bool,
}

impl Tenant {
    pub(super) fn read(table: &mut Table<'_, '_, '_, '_>) -> Self {
        let empty = "leave the key out if there are none";
        let tenant = Self {
            name: table.name(&value::NAME, "\"acme\""),
            interfaces: table.many("interfaces", &value::INTERFACE, empty),
            sources: table.many("sources", &value::PREFIX, empty),
            object: table.object.clone(),
            spot: table.spot,
            bare: !table.has("interfaces") && !table.has("sources"),
        };
        table.later("vlans", "name the VLAN's interface: interfaces = [\"eth0.12\"]");
        table.later("vrfs", "name the interfaces of the VRF: interfaces = [\"eth1\", \"eth2\"]");
        tenant
    }
}
