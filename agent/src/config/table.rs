//! Reads a TOML table key by key: what is asked for is known, what is left over is an error.

use std::ops::RangeInclusive;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::findings::{At, Findings, Spot};
use super::nearest::nearest;
use super::problem::Problem;
use super::value::{Kind, Reason};

/// A table on its way to being read.
pub struct Table<'t, 'i, 'f, 's> {
    /// What messages call it: `rule "sip"`.
    pub object: String,
    /// Its head.
    pub spot: Spot,
    entries: &'t DeTable<'i>,
    asked: Vec<&'static str>,
    /// Keys of later versions: known, but no cure for a slip.
    later: Vec<&'static str>,
    /// Keys that must be there and are not, each with an example.
    missing: Vec<(&'static str, String)>,
    findings: &'f mut Findings<'s>,
}

impl<'t, 'i, 'f, 's> Table<'t, 'i, 'f, 's> {
    /// The table of a whole file.
    pub fn root(source: usize, entries: &'t DeTable<'i>, findings: &'f mut Findings<'s>) -> Self {
        let spot = Spot { source, start: 0 };
        Self {
            object: "top level".to_owned(),
            spot,
            entries,
            asked: Vec::new(),
            later: Vec::new(),
            missing: Vec::new(),
            findings,
        }
    }

    /// Whether the key is written, well or badly.
    pub fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// Where the key is written, or the table's head.
    pub fn spot_of(&self, key: &str) -> Spot {
        match self.entries.get_key_value(key) {
            Some((key, _)) => Spot::new(self.spot.source, &key.span()),
            None => self.spot,
        }
    }

    /// Records an error.
    pub fn problem(&mut self, spot: Spot, problem: Problem) {
        self.findings.problem(spot, problem);
    }

    fn ask(&mut self, key: &'static str) -> Option<&'t Spanned<DeValue<'i>>> {
        self.asked.push(key);
        self.entries.get(key)
    }

    fn refuse(&mut self, spot: Spot, key: &'static str, reason: Reason) {
        let object = self.object.clone();
        self.findings.problem(spot, Problem::Value { object, key, reason });
    }

    /// Records an error at the end unless the key is there.
    pub fn require(&mut self, key: &'static str, example: &str) {
        if !self.has(key) {
            self.missing.push((key, format!("{key} = {example}")));
        }
    }

    /// One value; `None` where it is absent or, after recording why, refused.
    pub fn one<T>(&mut self, key: &'static str, kind: &Kind<T>) -> Option<At<T>> {
        let value = self.ask(key)?;
        self.word(key, value, kind)
    }

    /// One value that must be there.
    pub fn required<T>(&mut self, key: &'static str, kind: &Kind<T>) -> Option<At<T>> {
        self.require(key, kind.example);
        self.one(key, kind)
    }

    /// A name that must be there. One that is refused is still what others call the object, so it is returned too.
    pub fn name(&mut self, kind: &Kind<String>, example: &str) -> Option<At<String>> {
        self.require("name", example);
        let source = self.spot.source;
        let written = self.entries.get("name").and_then(|name| {
            let value = name.get_ref().as_str()?.to_owned();
            Some(At { value, spot: Spot::new(source, &name.span()) })
        });
        self.one("name", kind).or(written)
    }

    /// A list of values; a single one stands for a list of it. Refused elements are left out after recording why.
    pub fn many<T>(&mut self, key: &'static str, kind: &Kind<T>, empty: &'static str) -> Vec<At<T>> {
        let Some(value) = self.ask(key) else { return Vec::new() };
        match value.get_ref() {
            DeValue::Array(list) if list.is_empty() => {
                let spot = Spot::new(self.spot.source, &value.span());
                self.refuse(spot, key, Reason::EmptyList { cure: empty });
                Vec::new()
            }
            DeValue::Array(list) => list.iter().filter_map(|value| self.word(key, value, kind)).collect(),
            _ => self.word(key, value, kind).into_iter().collect(),
        }
    }

    fn word<T>(&mut self, key: &'static str, value: &Spanned<DeValue<'i>>, kind: &Kind<T>) -> Option<At<T>> {
        let spot = Spot::new(self.spot.source, &value.span());
        let wrong =
            || Reason::Type { wanted: kind.wanted, found: found(value.get_ref()), example: kind.example.to_owned() };
        let result = match value.get_ref() {
            DeValue::String(text) => (kind.text)(text),
            DeValue::Integer(number) => match kind.number {
                Some(of_number) => integer(number).ok_or_else(wrong).and_then(of_number),
                None => Err(wrong()),
            },
            _ => Err(wrong()),
        };
        match result {
            Ok(value) => Some(At { value, spot }),
            Err(reason) => {
                self.refuse(spot, key, reason);
                None
            }
        }
    }

    /// `true` or `false`.
    pub fn flag(&mut self, key: &'static str) -> Option<At<bool>> {
        let value = self.ask(key)?;
        let spot = Spot::new(self.spot.source, &value.span());
        match value.get_ref() {
            DeValue::Boolean(value) => Some(At { value: *value, spot }),
            other => {
                let wanted = "true or false";
                self.refuse(spot, key, Reason::Type { wanted, found: found(other), example: "true".to_owned() });
                None
            }
        }
    }

    /// An integer in a range.
    pub fn number(&mut self, key: &'static str, range: RangeInclusive<u32>) -> Option<At<u32>> {
        let value = self.ask(key)?;
        let spot = Spot::new(self.spot.source, &value.span());
        let number = match value.get_ref() {
            DeValue::Integer(number) => integer(number),
            _ => None,
        };
        let Some(number) = number else {
            let reason =
                Reason::Type { wanted: "a number", found: found(value.get_ref()), example: "42 or 0x2a".to_owned() };
            self.refuse(spot, key, reason);
            return None;
        };
        match u32::try_from(number) {
            Ok(value) if range.contains(&value) => Some(At { value, spot }),
            _ => {
                let (least, most) = ((*range.start()).into(), (*range.end()).into());
                self.refuse(spot, key, Reason::Range { value: number, least, most });
                None
            }
        }
    }

    /// Reads the table at `key`, if it is one.
    pub fn table<R>(
        &mut self,
        key: &'static str,
        object: String,
        read: impl FnOnce(&mut Table<'t, 'i, '_, 's>) -> R,
    ) -> Option<R> {
        let value = self.ask(key)?;
        let spot = Spot::new(self.spot.source, &value.span());
        match value.get_ref() {
            DeValue::Table(entries) => Some(self.sub(object, spot, entries, read)),
            other => {
                let example = match other {
                    DeValue::Array(_) => format!("[{key}] in single brackets"),
                    _ => format!("{key} = {{ ... }}"),
                };
                let reason = Reason::Type { wanted: "a table", found: found(other), example };
                self.refuse(spot, key, reason);
                None
            }
        }
    }

    /// Reads each of the tables at `key`; `read` is also given its position, from 1.
    pub fn tables<R>(
        &mut self,
        key: &'static str,
        mut read: impl FnMut(&mut Table<'t, 'i, '_, 's>, usize) -> R,
    ) -> Vec<R> {
        let Some(value) = self.ask(key) else { return Vec::new() };
        let mut all = Vec::new();
        let (list, single) = match value.get_ref() {
            DeValue::Array(list) => (list.iter().collect::<Vec<_>>(), false),
            _ => (vec![value], true),
        };
        for (at, value) in list.into_iter().enumerate() {
            let spot = Spot::new(self.spot.source, &value.span());
            match value.get_ref() {
                DeValue::Table(entries) if !single => {
                    let object = match entries.get("name").and_then(|name| name.get_ref().as_str()) {
                        Some(name) => format!("{key} \"{}\"", name.escape_debug()),
                        None => format!("{key} {}", at + 1),
                    };
                    all.push(self.sub(object, spot, entries, |table| read(table, at + 1)));
                }
                other => {
                    let example = format!("[[{key}]] in double brackets");
                    self.refuse(spot, key, Reason::Type { wanted: "a list of tables", found: found(other), example });
                }
            }
        }
        all
    }

    fn sub<R>(
        &mut self,
        object: String,
        spot: Spot,
        entries: &'t DeTable<'i>,
        read: impl FnOnce(&mut Table<'t, 'i, '_, 's>) -> R,
    ) -> R {
        let mut table = Table {
            object,
            spot,
            entries,
            asked: Vec::new(),
            later: Vec::new(),
            missing: Vec::new(),
            findings: self.findings,
        };
        let result = read(&mut table);
        table.finish();
        result
    }

    /// A key that the design has and this version has not.
    pub fn later(&mut self, key: &'static str, cure: &'static str) {
        if self.has(key) {
            let (spot, object) = (self.spot_of(key), self.object.clone());
            self.findings.problem(spot, Problem::NotYet { object, key: key.to_owned(), cure });
        }
        self.later.push(key);
    }

    /// Every key that nobody asked for is an error, and so is every missing one that none of those was meant to be.
    pub fn finish(&mut self) {
        let mut unknown = Vec::new();
        for key in self.entries.keys() {
            let name: &str = key.get_ref();
            if self.asked.contains(&name) || self.later.contains(&name) {
                continue;
            }
            let near = nearest(name, self.asked.iter().copied());
            unknown.extend(near);
            let cure = match near {
                Some(near) => format!("did you mean \"{near}\"?"),
                None => format!("keys here: {}", self.asked.join(", ")),
            };
            let problem =
                Problem::UnknownKey { object: self.object.clone(), key: name.escape_debug().to_string(), cure };
            self.findings.problem(Spot::new(self.spot.source, &key.span()), problem);
        }
        for (key, example) in std::mem::take(&mut self.missing) {
            if !unknown.contains(&key) {
                self.refuse(self.spot, key, Reason::Missing { example });
            }
        }
    }
}

fn integer(number: &toml::de::DeInteger<'_>) -> Option<i128> {
    i128::from_str_radix(&number.as_str().replace('_', ""), number.radix()).ok()
}

fn found(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a number with a point",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
