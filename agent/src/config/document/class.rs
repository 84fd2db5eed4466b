//! `[[class]]`.

use schemars::JsonSchema;

use super::shape::{ClassStarts, Dscp};
use crate::config::findings::{At, Spot};
use crate::config::table::Table;
use crate::config::value;

/// A QoS class.
#[derive(Debug, JsonSchema)]
#[schemars(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Class {
    /// Up to 31 letters, digits, `_`, `.` and `-`. Both ends of a tunnel call a class by the same name.
    #[schemars(with = "String", required)]
    pub name: Option<At<String>>,
    /// Identical CHILD_SAs of this class in each tunnel; flows are spread over them.
    #[schemars(with = "Option<u8>", range(min = 1, max = 32), extend("default" = 1))]
    pub lanes: Option<At<u32>>,
    /// Where its packets go while none of its lanes is up: a class, or `block` to drop and count them. `clear`, for leaving
    /// without IPsec, is refused.
    #[schemars(with = "Option<String>", extend("default" = "block"))]
    pub fallback: Option<At<String>>,
    /// The DSCP of the ESP packet; without it the inner packet's is copied, and before Linux 6.6 also where ESP leaves by the
    /// device of another tunnel.
    #[schemars(with = "Option<Dscp>")]
    pub outer_dscp: Option<At<u8>>,
    /// How its lanes come up in tunnels that this end begins: `start` at once, `trap` with their first packet. Without it as
    /// the tunnel's `start` says.
    #[schemars(with = "Option<ClassStarts>")]
    pub start: Option<At<bool>>,
    #[schemars(skip)]
    pub(crate) object: String,
    #[schemars(skip)]
    pub(crate) spot: Spot,
}

/// The most lanes that a class may have in a tunnel.
const LANES: std::ops::RangeInclusive<u32> = 1..=32;

impl Class {
    pub(super) fn read(table: &mut Table<'_, '_, '_, '_>) -> Self {
        Self {
            name: table.name(&value::CLASS, "\"voice\""),
            lanes: table.number("lanes", LANES),
            fallback: table.one("fallback", &value::TEXT),
            outer_dscp: table.one("outer-dscp", &value::DSCP),
            start: table.one("start", &value::CLASS_START),
            object: table.object.clone(),
            spot: table.spot,
        }
    }
}
