//! What the data path has room for, said where it is exceeded. What depends on how rules share values, and on names of
//! earlier configs, only compiling can tell.

use lanekeeper_common::abi::{MAX_CLASSES, MAX_HOPS, MAX_LANES, MAX_STEERS, MAX_TENANTS, MAX_TUNNELS};

use crate::config::document::Document;
use crate::config::findings::{Findings, Spot};
use crate::config::problem::Problem;
use crate::policy::lanes::{REQID_FIRST, REQID_LAST};
use crate::policy::{Class, Fallback, Tunnel};

/// Every lane has a request id of its own.
const _: () = assert!(MAX_LANES <= (REQID_LAST - REQID_FIRST) as usize + 1);

/// Whether there is room for the lanes; reports whatever else there is none for, too.
pub fn check(document: &Document, tunnels: &[Tunnel], classes: &[Class], findings: &mut Findings<'_>) -> bool {
    let all = classes.len();
    let of_classes: Vec<_> = document.classes.iter().map(|class| (class.spot, class.object.as_str(), 1)).collect();
    let of_tunnels: Vec<_> = document.tunnels.iter().map(|tunnel| (tunnel.spot, tunnel.object.as_str(), 1)).collect();
    let of_tenants: Vec<_> = document.tenants.iter().map(|tenant| (tenant.spot, tenant.object.as_str(), 1)).collect();
    let times =
        |of: &[(Spot, _, usize)]| -> Vec<_> { of.iter().map(|&(spot, object, n)| (spot, object, n * all)).collect() };
    let mut within = |what, cure, limit, counted: &[(Spot, &str, usize)]| {
        let got = counted.iter().map(|(_, _, n)| n).sum::<usize>();
        let mut so_far = 0;
        let exceeds = |&&(_, _, n): &&(Spot, &str, usize)| {
            so_far += n;
            so_far > limit
        };
        let Some(&(spot, object, _)) = counted.iter().find(exceeds) else { return true };
        findings.problem(spot, Problem::TooMany { object: object.to_owned(), what, got, limit, cure });
        false
    };
    // One thing too many is not also said to be too many times another.
    let _ = within("classes", "take fewer classes", MAX_CLASSES, &of_classes)
        && within("tunnels", "take fewer tunnels", MAX_TUNNELS, &of_tunnels)
        && within("tenants", "take fewer tenants", MAX_TENANTS - 1, &of_tenants)
        && within("tunnels times classes", "take fewer of either", MAX_STEERS, &times(&of_tunnels));
    let lanes: Vec<_> = document
        .tunnels
        .iter()
        .zip(tunnels)
        .map(|(entry, tunnel)| {
            let lanes = tunnel.classes.iter().map(|class| usize::from(classes[class.0].lanes)).sum();
            (entry.spot, entry.object.as_str(), lanes)
        })
        .collect();
    let fit = within("lanes of all tunnels", "take fewer tunnels, classes or lanes", MAX_LANES, &lanes);
    chains(document, tunnels, classes, findings);
    fit
}

/// A chain that is too long is said of the first class that has one and the first tunnel.
fn chains(document: &Document, tunnels: &[Tunnel], classes: &[Class], findings: &mut Findings<'_>) {
    for (at, entry) in document.classes.iter().enumerate() {
        let chain = chain(classes, at);
        for (tunnel, of) in tunnels.iter().zip(&document.tunnels) {
            let length = chain.iter().filter(|at| tunnel.classes.iter().any(|class| class.0 == **at)).count();
            if length > MAX_HOPS {
                let names: Vec<&str> = chain.iter().map(|&at| classes[at].name.as_str()).collect();
                let spot = entry.fallback.as_ref().map_or(entry.spot, |word| word.spot);
                let problem = Problem::FallbackLong {
                    class: classes[at].name.clone(),
                    object: of.object.clone(),
                    length,
                    most: MAX_HOPS,
                    chain: names.join(" -> "),
                };
                findings.problem(spot, problem);
                return;
            }
        }
    }
}

/// A class, its fallback, that one's; once around where it is a circle.
fn chain(classes: &[Class], start: usize) -> Vec<usize> {
    let mut chain = vec![start];
    let mut at = start;
    while let Fallback::Class(next) = classes[at].fallback
        && !chain.contains(&next.0)
    {
        at = next.0;
        chain.push(at);
    }
    chain
}
