//! Classes and their fallbacks.

use super::names::Names;
use crate::config::document::Document;
use crate::config::findings::Findings;
use crate::config::nearest::cure;
use crate::config::problem::Problem;
use crate::config::value::Reason;
use crate::policy::{Class, ClassIndex, Fallback};

/// Every class; a fallback that names nobody, or leads round in a circle, is an error.
pub fn resolve(document: &Document, names: &Names<'_>, findings: &mut Findings<'_>) -> Vec<Class> {
    let mut classes: Vec<Class> = Vec::with_capacity(document.classes.len());
    for class in &document.classes {
        let fallback = match &class.fallback {
            None => Fallback::Block,
            Some(word) => match word.value.as_str() {
                "block" => Fallback::Block,
                "clear" => {
                    let (object, value) = (class.object.clone(), word.value.clone());
                    let cure = "an XFRM interface never sends in clear: take \"block\" or a class";
                    let reason = Reason::NotYet { value, cure };
                    findings.problem(word.spot, Problem::Value { object, key: "fallback", reason });
                    Fallback::Clear
                }
                name => match names.index(name) {
                    Some(index) => Fallback::Class(ClassIndex(index)),
                    None => {
                        let object = class.object.clone();
                        let cure = cure(name, "values", names.all().chain(["block"]));
                        let name = name.escape_debug().to_string();
                        let what = "class";
                        findings.problem(word.spot, Problem::UnknownName { object, what, name, cure });
                        Fallback::Block
                    }
                },
            },
        };
        classes.push(Class {
            name: class.name.as_ref().map(|name| name.value.clone()).unwrap_or_default(),
            lanes: class.lanes.as_ref().map_or(1, |lanes| u8::try_from(lanes.value).unwrap_or(1)),
            fallback,
            outer_dscp: class.outer_dscp.as_ref().map(|dscp| dscp.value),
            on_demand: class.start.as_ref().map(|start| start.value),
        });
    }
    for at in 0..classes.len() {
        if let Some(circle) = circle(&classes, at)
            // Each circle once, at its member that comes first in the file.
            && circle.iter().min() == Some(&at)
        {
            let name = |&at: &usize| classes[at].name.clone();
            let mut chain: Vec<String> = circle.iter().map(name).collect();
            chain.push(name(&at));
            let spot = document.classes[at].fallback.as_ref().map_or(document.classes[at].spot, |word| word.spot);
            findings.problem(spot, Problem::FallbackLoop { class: name(&at), chain: chain.join(" -> ") });
        }
    }
    classes
}

/// The circle that the class is a member of.
fn circle(classes: &[Class], start: usize) -> Option<Vec<usize>> {
    let mut way = vec![start];
    let mut at = start;
    while let Fallback::Class(next) = classes[at].fallback {
        if next.0 == start {
            return Some(way);
        }
        if way.contains(&next.0) {
            return None;
        }
        way.push(next.0);
        at = next.0;
    }
    None
}
