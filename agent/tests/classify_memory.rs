//! What compiling a list takes of memory, counted by the allocator, against what is said of it before.
#![allow(unsafe_code)]

mod witness;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use lanekeeper::compile::{Registry, compile, memory};
use lanekeeper::policy::Policy;
use witness::list::{self, FAMILIES};

/// The system's, with a count of what is out.
struct Counting;

static OUT: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: all of it is the system's allocator; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let out = OUT.fetch_add(layout.size(), Ordering::SeqCst) + layout.size();
        MOST.fetch_max(out, Ordering::SeqCst);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        OUT.fetch_sub(layout.size(), Ordering::SeqCst);
        // SAFETY: the caller's promise, and `alloc` is the system's.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Makes a list.
type Make = Box<dyn FnOnce() -> Policy>;

/// What is out at most while tables are made beside those that packets go by, the policies included.
fn taken(make: impl FnOnce() -> Policy) -> (Policy, usize) {
    let before = OUT.load(Ordering::SeqCst);
    let policy = make();
    let mut registry = Registry::default();
    let live = compile(&policy, &mut registry).unwrap();
    MOST.store(OUT.load(Ordering::SeqCst), Ordering::SeqCst);
    let changed = policy.clone();
    let next = compile(&changed, &mut registry).unwrap();
    assert_eq!(live.digest, next.digest);
    (policy, MOST.load(Ordering::SeqCst) - before)
}

/// Alone in its binary: other tests would be counted.
#[test]
fn classify_takes_the_memory_that_is_said_of_a_list() {
    let long = |rules| move || list::policy(&FAMILIES[0], rules);
    let named = || {
        let mut policy = list::policy(&FAMILIES[4], 10_000);
        policy.rules.iter_mut().enumerate().for_each(|(place, rule)| rule.name = Some(format!("rule {place}")));
        policy
    };
    let combined = || {
        let mut policy = list::policy(&FAMILIES[0], 100);
        for rule in &mut policy.rules {
            rule.vlan = (0..20).collect();
            rule.length = (0..10).map(|at| (at * 100, at * 100 + 9)).collect();
        }
        policy
    };
    let cases: [(&str, Make); 5] = [
        ("no rules", Box::new(long(0))),
        ("1,000 rules", Box::new(long(1_000))),
        ("50,000 rules", Box::new(long(50_000))),
        ("10,000 names", Box::new(named)),
        ("20,000 combinations", Box::new(combined)),
    ];
    for (name, make) in cases {
        let (policy, taken) = taken(make);
        let said = memory::needed(&policy);
        println!("{name}: {taken} bytes, said to be {said}: {:.2}", said as f64 / taken as f64);
        let taken = taken as u64;
        assert!(said >= taken && said <= taken * 3 / 2, "{name}: {said} said, {taken} taken");
    }
}
