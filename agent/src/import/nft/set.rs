//! Named sets and maps, and those that stand in a rule.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::import::left_out::Reason;

/// Those of the dump, by table and name.
#[derive(Debug, Default)]
pub struct Sets {
    sets: BTreeMap<(String, String), Set>,
}

#[derive(Debug)]
struct Set {
    elements: Vec<Value>,
    is_lively: bool,
}

impl Sets {
    /// Adds one.
    pub fn add(&mut self, table: String, name: &str, object: &Map<String, Value>) {
        let list = |key: &str| match object.get(key) {
            Some(Value::Array(list)) => list.clone(),
            Some(one) => vec![one.clone()],
            None => Vec::new(),
        };
        let is_lively = object.contains_key("timeout")
            || list("flags").iter().any(|flag| matches!(flag.as_str(), Some("dynamic" | "timeout")));
        self.sets.insert((table, name.to_owned()), Set { elements: list("elem"), is_lively });
    }

    /// The elements of `{"set": [...]}` or `"@name"`; `None` of what is neither.
    pub fn elements<'a>(&'a self, table: &str, value: &'a Value) -> Result<Option<Vec<&'a Value>>, Reason> {
        if let Some(set) = value.get("set") {
            return Ok(Some(match set {
                Value::Array(list) => list.iter().map(bare).collect(),
                one => vec![bare(one)],
            }));
        }
        let Some(name) = value.as_str().and_then(|text| text.strip_prefix('@')) else { return Ok(None) };
        let set = self.sets.get(&(table.to_owned(), name.to_owned()));
        let set = set.ok_or_else(|| Reason::NoSet { name: name.to_owned() })?;
        if set.is_lively {
            return Err(Reason::Lively { name: name.to_owned() });
        }
        Ok(Some(set.elements.iter().map(bare).collect()))
    }

    /// The pairs of a map.
    pub fn pairs<'a>(&'a self, table: &str, value: &'a Value) -> Result<Vec<(&'a Value, &'a Value)>, Reason> {
        let unknown = || Reason::Unknown { what: format!("map {value}") };
        let elements = self.elements(table, value)?.ok_or_else(unknown)?;
        let pair = |element: &'a Value| match element {
            Value::Array(pair) if pair.len() == 2 => Ok((bare(&pair[0]), &pair[1])),
            _ => Err(unknown()),
        };
        elements.into_iter().map(pair).collect()
    }
}

/// An element without its comment and counter.
fn bare(element: &Value) -> &Value {
    element.get("elem").and_then(|elem| elem.get("val")).unwrap_or(element)
}
