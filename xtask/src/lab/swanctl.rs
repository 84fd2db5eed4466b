//! A swanctl.conf that somebody wrote by hand: the connection `office`, for an agent to adopt.

use anyhow::{Context as _, Result};

use super::scenario::{IF_ID, PSK};
use super::{Family, Side};

/// One child of the connection.
#[derive(Debug, Clone, Copy)]
pub struct Child<'a> {
    /// Its name.
    pub name: &'a str,
    /// What tells it from the others on the wire.
    pub label: &'a str,
    /// Value and mask.
    pub mark: &'a str,
    /// Traffic selectors of this end.
    pub local_ts: &'a str,
    /// Those of the other.
    pub remote_ts: &'a str,
}

/// A scenario's file with `[tunnel.adopt]` in the place of its `[tunnel.ike]`; `keys` are that table's.
pub fn adopting(toml: &str, keys: &str) -> Result<String> {
    let (head, rest) = toml.split_once("[tunnel.ike]").context("it has no [tunnel.ike]")?;
    let (_, tail) = rest.split_once("\n\n").context("nothing follows its [tunnel.ike]")?;
    Ok(format!("{head}[tunnel.adopt]\n{keys}\n\n{tail}"))
}

/// The connection with its secret. `more` is a line of the connection's own, or empty.
pub fn office(side: Side, more: &str, children: &[Child<'_>]) -> String {
    let (ours, theirs) = (side.outer(Family::V4), side.other().outer(Family::V4));
    let (id, other) = (side.identity(), side.other().identity());
    let child = |Child { name, label, mark, local_ts, remote_ts }: &Child<'_>| {
        format!(
            "            {name} {{
                local_ts = {local_ts}
                remote_ts = {remote_ts}
                label = {label}
                label_mode = simple
                if_id_in = {IF_ID}
                if_id_out = {IF_ID}
                mark_in = {mark}
                mark_out = {mark}
                set_mark_in = %same
            }}\n"
        )
    };
    let children: String = children.iter().map(child).collect();
    format!(
        "connections {{
    office {{
        version = 2
        local_addrs = {ours}
        remote_addrs = {theirs}
        mobike = no
        {more}
        local {{
            auth = psk
            id = {id}
        }}
        remote {{
            auth = psk
            id = {other}
        }}
        children {{
{children}        }}
    }}
}}
secrets {{
    ike-office {{
        id-1 = {id}
        id-2 = {other}
        secret = \"{PSK}\"
    }}
}}
"
    )
}
