//! What was seen of a list, or of all.

use std::time::Duration;

/// Names of the columns of [`Tally::row`].
pub const HEAD: &str =
    "family         rules   packets  edits between  while packets run  wrong on host  wrong in kernel   seconds";

/// Counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Each judged by all three.
    pub packets: usize,
    /// Edits of the list between packets.
    pub edits_between: usize,
    /// Edits that began while packets were under way.
    pub edits_during: usize,
    /// Verdicts of the host that were not the oracle's.
    pub wrong_host: usize,
    /// Verdicts of the kernel that were not the oracle's, or not wholly the host's.
    pub wrong_kernel: usize,
}

impl Tally {
    /// Takes another's in.
    pub fn add(&mut self, other: &Self) {
        self.packets += other.packets;
        self.edits_between += other.edits_between;
        self.edits_during += other.edits_during;
        self.wrong_host += other.wrong_host;
        self.wrong_kernel += other.wrong_kernel;
    }

    /// What is wrong with a list: verdicts, or that something of what is to be seen was never tried. Empty where all is well.
    pub fn faults(&self) -> Vec<String> {
        let Self { packets, edits_between, edits_during, wrong_host, wrong_kernel } = *self;
        let tried = [
            (packets, "no packet was judged"),
            (edits_between, "no rule came, went or moved between packets"),
            (edits_during, "no rule came, went or moved while packets ran: take more of them"),
        ];
        let untried = tried.into_iter().filter(|(times, _)| *times == 0).map(|(_, fault)| fault.to_owned());
        let wrong = [(wrong_host, "host"), (wrong_kernel, "kernel")].into_iter().filter(|(verdicts, _)| *verdicts > 0);
        untried.chain(wrong.map(|(verdicts, whose)| format!("{verdicts} verdicts of the {whose} are wrong"))).collect()
    }

    /// A line of the table.
    pub fn row(&self, family: &str, rules: &str, took: Duration) -> String {
        let Self { packets, edits_between, edits_during, wrong_host, wrong_kernel } = self;
        format!(
            "{family:<10} {rules:>9} {packets:>9} {edits_between:>14} {edits_during:>18} {wrong_host:>14} {wrong_kernel:>16} {:>9.1}",
            took.as_secs_f64()
        )
    }
}
