//! Names and what they stand for.

use std::collections::HashMap;

use crate::config::findings::{At, Findings};
use crate::config::nearest::cure;
use crate::config::problem::Problem;

/// The names of one kind of object, each with its position in the file.
pub struct Names<'d> {
    order: Vec<&'d str>,
    index: HashMap<&'d str, usize>,
}

impl<'d> Names<'d> {
    /// All names of `objects`, each with what messages call it. A name that is taken is an error.
    pub fn gather(
        objects: impl Iterator<Item = (&'d Option<At<String>>, &'d String)>,
        findings: &mut Findings<'_>,
    ) -> Self {
        let mut names = Self { order: Vec::new(), index: HashMap::new() };
        let mut first = HashMap::new();
        for (at, (name, object)) in objects.enumerate() {
            let Some(name) = name else { continue };
            if let Some(&spot) = first.get(name.value.as_str()) {
                let first = findings.place(spot);
                findings.problem(name.spot, Problem::NameTaken { object: object.clone(), first });
                continue;
            }
            first.insert(name.value.as_str(), name.spot);
            names.order.push(&name.value);
            names.index.insert(&name.value, at);
        }
        names
    }

    /// Names that are known to be each another.
    pub fn known(names: impl Iterator<Item = &'d str> + Clone) -> Self {
        Self { order: names.clone().collect(), index: names.enumerate().map(|(at, name)| (name, at)).collect() }
    }

    /// The position of a name.
    pub fn index(&self, name: &str) -> Option<usize> {
        self.index.get(name).copied()
    }

    /// The position of the name that `object` gives; an error where there is none.
    pub fn find(
        &self,
        name: &At<String>,
        object: &str,
        what: &'static str,
        plural: &'static str,
        findings: &mut Findings<'_>,
    ) -> Option<usize> {
        let found = self.index(&name.value);
        if found.is_none() {
            let cure = cure(&name.value, plural, self.order.iter().copied());
            let (object, name_text) = (object.to_owned(), name.value.escape_debug().to_string());
            findings.problem(name.spot, Problem::UnknownName { object, what, name: name_text, cure });
        }
        found
    }

    /// Every name, in the order of the file.
    pub fn all(&self) -> impl Iterator<Item = &'d str> + Clone {
        self.order.iter().copied()
    }
}
