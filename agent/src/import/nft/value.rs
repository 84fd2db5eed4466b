//! Values on the right of a comparison and in sets: one, a range, a prefix.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::Value;

use crate::import::condition::{prefix, prefixes};

/// An inclusive range of numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    low: u32,
    high: u32,
}

impl Span {
    /// One number.
    pub fn single(self) -> Option<u32> {
        (self.low == self.high).then_some(self.low)
    }

    /// The part between these; `None` where there is none.
    pub fn within(self, least: u32, most: u32) -> Option<(u32, u32)> {
        let (low, high) = (self.low.max(least), self.high.min(most));
        (low <= high).then_some((low, high))
    }
}

/// A number, a name of one, or a range of those.
pub fn span(value: &Value, name: &dyn Fn(&str) -> Option<u32>) -> Option<Span> {
    if let Some([low, high]) = value.get("range").and_then(Value::as_array).map(Vec::as_slice) {
        let (low, high) = (span(low, name)?.single()?, span(high, name)?.single()?);
        return (low <= high).then_some(Span { low, high });
    }
    let one = match value {
        Value::Number(number) => u32::try_from(number.as_u64()?).ok()?,
        Value::String(text) => name(text).or_else(|| text.parse().ok())?,
        _ => return None,
    };
    Some(Span { low: one, high: one })
}

/// An address, a prefix or a range of addresses.
pub fn address(value: &Value) -> Option<Vec<IpNet>> {
    if let Some(of) = value.get("prefix") {
        let (address, length) = (of.get("addr")?.as_str()?, of.get("len")?.as_u64()?);
        return Some(vec![prefix(&format!("{address}/{length}"))?]);
    }
    if let Some([first, last]) = value.get("range").and_then(Value::as_array).map(Vec::as_slice) {
        let address = |value: &Value| value.as_str()?.parse::<IpAddr>().ok();
        return prefixes(address(first)?, address(last)?);
    }
    Some(vec![prefix(value.as_str()?)?])
}
