//! What has been, row by row, as sparklines.

use std::collections::{HashMap, HashSet, VecDeque};

use super::View;
use super::rates::Rates;

/// Samples that are remembered: as many as the widest sparkline shows.
pub const DEPTH: usize = 120;

/// Bits per second over the last samples.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct History {
    total_out: Line,
    total_into: Line,
    /// Of rows that have ever carried something.
    rows: [HashMap<String, Line>; View::ALL.len()],
    /// Samples taken; rows that came later have been silent before.
    taken: usize,
}

/// The newest is the last.
type Line = VecDeque<f32>;

impl History {
    /// Adds what is known of one sample.
    pub fn push(&mut self, rates: &Rates) {
        if rates.seconds.is_none() {
            return;
        }
        push(&mut self.total_out, rates.total.out.map_or(0.0, |rate| rate.bits));
        push(&mut self.total_into, rates.total.into.map_or(0.0, |rate| rate.bits));
        for (view, lines) in View::ALL.into_iter().zip(&mut self.rows) {
            let rows = rates.rows(view);
            let mut seen = 0;
            for row in rows {
                let bits = row.bits().unwrap_or(0.0);
                match lines.get_mut(&row.name) {
                    Some(line) => {
                        push(line, bits);
                        seen += 1;
                    }
                    None if bits > 0.0 => {
                        let mut line = Line::from(vec![0.0; self.taken.min(DEPTH - 1)]);
                        push(&mut line, bits);
                        lines.insert(row.name.clone(), line);
                        seen += 1;
                    }
                    None => {}
                }
            }
            if seen < lines.len() {
                let there: HashSet<&str> = rows.iter().map(|row| row.name.as_str()).collect();
                lines.retain(|name, _| there.contains(name.as_str()));
            }
        }
        self.taken += 1;
    }

    /// Of a row; as long as the time that is remembered.
    pub fn of(&self, view: View, name: &str) -> Vec<f32> {
        match self.rows[view as usize].get(name) {
            Some(line) => line.iter().copied().collect(),
            None => vec![0.0; self.taken.min(DEPTH)],
        }
    }

    /// Of all that goes out.
    pub fn total_out(&self) -> Vec<f32> {
        self.total_out.iter().copied().collect()
    }

    /// Of all that comes in.
    pub fn total_into(&self) -> Vec<f32> {
        self.total_into.iter().copied().collect()
    }
}

fn push(line: &mut Line, bits: f64) {
    if line.len() == DEPTH {
        line.pop_front();
    }
    line.push_back(bits as f32);
}

/// Levels from nothing to all.
const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// For terminals that have ASCII alone.
const LETTERS: [char; 8] = ['_', '.', ':', '-', '=', '+', '*', '#'];

/// The newest values, as many as there is room for, each as high as its part of the highest that is shown; what is not known
/// yet is blank.
pub fn sparkline(values: &[f32], width: usize, ascii: bool) -> String {
    let shown = &values[values.len().saturating_sub(width)..];
    let highest = shown.iter().copied().fold(0.0, f32::max);
    let levels = if ascii { LETTERS } else { BLOCKS };
    let level = |value: f32| match highest > 0.0 {
        true => ((value / highest) * 7.0).round() as usize,
        false => 0,
    };
    let line: String = shown.iter().map(|&value| levels[level(value)]).collect();
    format!("{}{line}", " ".repeat(width - shown.len()))
}

#[cfg(test)]
mod tests {
    use super::super::rates::{Rate, Row};
    use super::*;

    fn rates(rows: &[(&str, f64)]) -> Rates {
        let row = |(name, bits): &(&str, f64)| Row {
            name: (*name).to_owned(),
            out: Some(Rate { packets: 1.0, bits: *bits }),
            ..Row::default()
        };
        Rates { seconds: Some(1.0), classes: rows.iter().map(row).collect(), ..Rates::default() }
    }

    #[test]
    fn see_a_sparkline_is_as_high_as_its_highest_and_ends_with_the_newest() {
        assert_eq!(sparkline(&[0.0, 1.0, 2.0, 4.0, 7.0], 5, false), "▁▂▃▅█");
        assert_eq!(sparkline(&[9.0, 1.0, 2.0], 2, false), "▅█");
        assert_eq!(sparkline(&[0.0, 7.0], 4, true), "  _#");
        assert_eq!(sparkline(&[0.0, 0.0], 2, false), "▁▁");
        assert_eq!(sparkline(&[], 3, false), "   ");
        assert_eq!(sparkline(&[1.0], 0, false), "");
    }

    #[test]
    fn see_a_row_that_comes_late_was_silent_before() {
        let mut history = History::default();
        history.push(&rates(&[("a", 1.0)]));
        history.push(&rates(&[("a", 2.0), ("b", 3.0)]));
        assert_eq!(history.of(View::Classes, "a"), [1.0, 2.0]);
        assert_eq!(history.of(View::Classes, "b"), [0.0, 3.0]);
        assert_eq!(history.of(View::Classes, "c"), [0.0, 0.0]);
        history.push(&Rates { seconds: None, ..rates(&[("a", 9.0)]) });
        assert_eq!(history.of(View::Classes, "a"), [1.0, 2.0]);
    }

    #[test]
    fn see_what_is_gone_or_long_past_is_forgotten() {
        let mut history = History::default();
        history.push(&rates(&[("a", 1.0), ("b", 1.0)]));
        history.push(&rates(&[("a", 1.0)]));
        assert_eq!(history.rows[View::Classes as usize].len(), 1);
        for n in 0..DEPTH {
            history.push(&rates(&[("a", n as f64), ("late", 1.0)]));
        }
        let line = history.of(View::Classes, "a");
        assert_eq!((line.len(), line[0], line[DEPTH - 1]), (DEPTH, 0.0, (DEPTH - 1) as f32));
        assert_eq!(history.of(View::Classes, "late").len(), DEPTH);
    }
}
