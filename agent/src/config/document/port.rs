//! `[[port]]`.

use schemars::JsonSchema;

use super::shape;
use crate::config::findings::{At, Spot};
use crate::config::table::Table;
use crate::config::value;
use crate::policy::Classify;

/// An interface whose packets get the mark of their class as they come in, before the route lookup.
#[derive(Debug, JsonSchema)]
#[schemars(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Port {
    /// The interface. It need not exist yet.
    #[schemars(with = "String", required)]
    pub name: Option<At<String>>,
    /// Where its packets are classified: `tc`, or before that by `xdp` (in the driver where it can) or by `xdp-generic`.
    #[schemars(with = "Option<shape::Classify>", extend("default" = "tc"))]
    pub classify: Option<At<Classify>>,
    #[schemars(skip)]
    pub(crate) object: String,
    #[schemars(skip)]
    pub(crate) spot: Spot,
}

impl Port {
    pub(super) fn read(table: &mut Table<'_, '_, '_, '_>) -> Self {
        Self {
            name: table.name(&value::PORT, "\"lan0\""),
            classify: table.one("classify", &value::CLASSIFY),
            object: table.object.clone(),
            spot: table.spot,
        }
    }
}
