//! Rule sets that others wrote decide as the kernel does with them: what set-up unpacked below `target/foreign` is loaded,
//! what the kernel's tools dump of it is imported, and each packet that is forwarded has the mark of its class here.
//!
//! Few rule sets mark packets; most accept or drop them. Of such a set the conditions, chains and jumps are kept, and each
//! accept or drop is a mark instead. Rules that the import lists as left out are taken out of the kernel's copy, and only they:
//! no packet is excused.

#[allow(dead_code, reason = "each test target uses a part")]
#[path = "witness/random.rs"]
mod random;

#[path = "foreign/load.rs"]
mod load;
#[path = "foreign/set.rs"]
mod set;
#[path = "foreign/trace.rs"]
mod trace;

#[path = "imported/filters.rs"]
mod filters;
mod imported;
#[path = "imported/router.rs"]
mod router;

use std::collections::BTreeMap;

use lanekeeper::import::{Effect, Error, Reason};
use load::Copy;
use router::Router;
use set::{Form, Origin, Set};

/// Packets for each form of a set.
const PACKETS: u32 = 256;

/// What came of all sets of an origin.
#[derive(Debug, Default)]
struct Sum {
    /// Sets that the kernel took, by form.
    sets: BTreeMap<Form, usize>,
    /// Rules of theirs.
    rules: usize,
    /// Rules of theirs that are left out, by the reason's kind.
    left_out: BTreeMap<&'static str, usize>,
    /// Forms of which nothing was left to mark.
    nothing: usize,
    /// Those whose list would be longer than the import makes one.
    long: Vec<String>,
    /// Packets that agreed, and those that had a mark among them.
    packets: u32,
    marked: u32,
}

impl Sum {
    /// So many sets of each form, and packets of which most have a mark.
    fn is_at_least(&self, least: [usize; 3], packets: u32) {
        for (form, least) in [Form::Whole, Form::Stateless, Form::Marked].into_iter().zip(least) {
            assert!(self.sets.get(&form).is_some_and(|sets| *sets >= least), "{form:?}: {:?}, not {least}", self.sets);
        }
        assert!(self.packets >= packets && self.marked > packets / 5 * 4, "{} and {}", self.packets, self.marked);
    }

    fn check(&mut self, router: &mut Router, set: &Set, copy: &Copy) {
        let imported = match copy.import() {
            Ok(imported) => imported,
            Err(Error::Nothing { .. }) => {
                self.nothing += 1;
                return;
            }
            Err(Error::Long { .. }) => {
                self.long.push(set.name.clone());
                return;
            }
            Err(error) => panic!("{} ({:?}): {error}\n{}", set.name, copy.form(), copy.dump()),
        };
        for lost in &imported.left_out {
            *self.left_out.entry(kind(&lost.reason)).or_default() += 1;
            assert!(
                lost.effect != Effect::Changed || !lost.rule.contains("mangle"),
                "{}: a rule both marks and rewrites",
                set.name
            );
        }
        self.rules += copy.rules();
        let rules = imported.file.matches("\n[[rule]]").count();
        if rules == 0 {
            self.nothing += 1;
            return;
        }
        copy.take_out(router, &imported.left_out);
        let links = copy.links();
        links.iter().for_each(|link| router.link(link));
        let links: Vec<&str> = links.iter().map(String::as_str).collect();
        println!("{} {:?}: {rules} rules, {} left out", set.name, copy.form(), imported.left_out.len());
        let classes = router.agrees(&imported, &links, rules as u64, PACKETS);
        let packets: u32 = classes.values().sum();
        *self.sets.entry(copy.form()).or_default() += 1;
        self.packets += packets;
        self.marked += packets - classes.get("default").copied().unwrap_or_default();
    }
}

/// Reasons that a foreign rule may be left out for; any other is a fault of the reader.
fn kind(reason: &Reason) -> &'static str {
    match reason {
        Reason::Memory { .. } => "memory",
        Reason::Field { .. } => "field",
        Reason::Pattern { .. } => "pattern",
        Reason::Fragments => "fragments",
        Reason::IcmpCode => "icmp code",
        Reason::Ecn => "ecn",
        Reason::ForeignMark => "foreign mark",
        Reason::MarkFrom { .. } => "mark from elsewhere",
        Reason::Rewrites { .. } => "rewrites",
        Reason::OtherWay { .. } => "other way",
        Reason::Nat => "nat",
        Reason::NextHeader => "next header",
        Reason::Lively { .. } => "lively set",
        Reason::SamePlace { .. } => "same place",
        Reason::Ports { .. } => "ports",
        Reason::Compat { .. } => "compat",
        Reason::Unknown { what } if what.contains("QUEUE") => "queue",
        // What a connection's mark is set to is nothing of a packet, but the rule ends where the map has no value.
        Reason::Unknown { what } if what.contains("set by a map") => "connection's mark",
        reason @ (Reason::Unknown { .. }
        | Reason::Value { .. }
        | Reason::NoSet { .. }
        | Reason::NoChain { .. }
        | Reason::Flags { .. }) => panic!("{reason}"),
    }
}

/// A router that sends nothing of its own: names of hosts are asked of no resolver, which would be waited for.
fn silent(name: &str) -> Router {
    let router = Router::new(name);
    router.netns.sh("ip rule add pref 1 iif lo unreachable; ip -6 rule add pref 1 iif lo unreachable").unwrap();
    router
}

#[test]
fn classify_agrees_with_iptables_on_rule_sets_that_others_wrote() {
    let mut router = silent("lk-foreign-4");
    let mut sum = Sum::default();
    let mut sets = 0;
    for origin in [Origin::Fwbuilder, Origin::Firehol, Origin::Iptables] {
        for set in origin.sets() {
            let copies = load::iptables(&router, &set);
            sets += usize::from(!copies.is_empty());
            copies.iter().for_each(|copy| sum.check(&mut router, &set, copy));
        }
    }
    println!("{sets} sets: {sum:#?}");
    assert!(sets > 140 && sum.rules > 9_000, "the kernel took {sets} sets of {} rules", sum.rules);
    sum.is_at_least([1, 4, 120], 30_000);
    assert!(sum.long.is_empty(), "{:?}", sum.long);
}

#[test]
fn classify_agrees_with_nft_on_rule_sets_that_others_wrote() {
    let mut router = silent("lk-foreign-n");
    let mut sum = Sum::default();
    let mut sets = 0;
    for origin in [Origin::Foomuuri, Origin::Nftlb, Origin::Fwbuilder, Origin::Firehol, Origin::Iptables] {
        for set in origin.sets() {
            let copies = load::nft(&router, &set);
            sets += usize::from(!copies.is_empty());
            copies.iter().for_each(|copy| sum.check(&mut router, &set, copy));
        }
    }
    println!("{sets} sets: {sum:#?}");
    assert!(sets > 200 && sum.rules > 9_000, "the kernel took {sets} sets of {} rules", sum.rules);
    sum.is_at_least([1, 3, 110], 28_000);
    // nft says for each interface and address that it is another one; iptables' own dump of the two is imported.
    assert!(sum.long.len() <= 2, "{:?}", sum.long);
}
