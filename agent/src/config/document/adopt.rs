//! `[tunnel.adopt]`: a connection that the operator's own swanctl.conf has.

use schemars::JsonSchema;

use super::shape::Many;
use crate::config::findings::{At, Spot};
use crate::config::table::Table;
use crate::config::value;

/// A connection of your own swanctl.conf: nothing is loaded into strongSwan, begun or ended there. Lanes are the CHILD_SAs
/// that come up.
#[derive(Debug, JsonSchema)]
#[schemars(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Adopt {
    /// Its name in swanctl.conf. Where clients share the tunnel, it may be several: `*` stands for any characters, `?` for any one.
    #[schemars(with = "String", required)]
    pub connection: Option<At<String>>,
    /// Which CHILD_SAs are which class's; of two entries that fit one the first has it. Without any their labels say it,
    /// `CLASS.INDEX`.
    #[schemars(with = "Option<Vec<Children>>")]
    pub children: Vec<Children>,
    #[schemars(skip)]
    pub(crate) spot: Spot,
}

/// CHILD_SAs of one class.
#[derive(Debug, JsonSchema)]
#[schemars(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Children {
    /// Whose lanes they are.
    #[schemars(with = "String", required)]
    pub class: Option<At<String>>,
    /// Their names in swanctl.conf; `*` stands for any characters, `?` for any one.
    #[schemars(with = "Many<String>", required)]
    pub names: Vec<At<String>>,
    #[schemars(skip)]
    pub(crate) object: String,
}

impl Adopt {
    pub(super) fn read(table: &mut Table<'_, '_, '_, '_>) -> Self {
        let object = table.object.clone();
        Self {
            connection: table.required("connection", &value::CONNECTION),
            children: table.tables("children", |table, at| {
                table.object = format!("{object}: children {at}");
                Children::read(table)
            }),
            spot: table.spot,
        }
    }
}

impl Children {
    fn read(table: &mut Table<'_, '_, '_, '_>) -> Self {
        table.require("class", "\"voice\"");
        table.require("names", "[\"voice*\"]");
        Self {
            class: table.one("class", &value::TEXT),
            names: table.many("names", &value::CHILD, "name the CHILD_SAs of the class, or take the entry out"),
            object: table.object.clone(),
        }
    }
}
