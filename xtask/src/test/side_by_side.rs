//! Several things at a time that take a core each, or wait most of their time.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::thread;

/// Cores of this machine.
pub fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// Works on `all`, as many at a time as there are cores; the answers in their order. `work` learns how many are not done, its own
/// included.
pub fn side_by_side<T: Send, R: Send>(all: Vec<T>, work: impl Fn(&T, usize) -> R + Sync) -> Vec<R> {
    in_slots(cores(), all, work)
}

fn in_slots<T: Send, R: Send>(slots: usize, all: Vec<T>, work: impl Fn(&T, usize) -> R + Sync) -> Vec<R> {
    let queue = Mutex::new(all.into_iter().enumerate().collect::<VecDeque<_>>());
    let next = || {
        let mut queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
        let left = queue.len();
        queue.pop_front().map(|(at, one)| (at, one, left))
    };
    let mut answers: Vec<(usize, R)> = thread::scope(|scope| {
        let worker = || {
            let mut answers = Vec::new();
            while let Some((at, one, left)) = next() {
                answers.push((at, work(&one, left)));
            }
            answers
        };
        let workers: Vec<_> = (0..slots).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("a panic has said why")).collect()
    });
    answers.sort_by_key(|(at, _)| *at);
    answers.into_iter().map(|(_, answer)| answer).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn works_run_side_by_side_and_answer_in_their_order() {
        let (running, most, both) = (AtomicUsize::new(0), AtomicUsize::new(0), Barrier::new(2));
        let answers = in_slots(2, vec!["first", "second", "third"], |&name, left| {
            most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            if name != "third" {
                // Neither ends before the other has begun.
                both.wait();
            }
            running.fetch_sub(1, Ordering::SeqCst);
            format!("{name} of {left}")
        });
        assert_eq!(answers, ["first of 3", "second of 2", "third of 1"]);
        assert_eq!(most.into_inner(), 2);
    }
}
