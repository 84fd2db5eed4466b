//! Which rows of a view are shown, in which order.

use std::cmp::Ordering;

use super::rates::Row;
use super::view::Sort;

/// What decides it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Choice {
    /// By what.
    pub sort: Sort,
    /// The other way round.
    pub reversed: bool,
    /// What a row's name or state has to contain, in whatever case; empty for all.
    pub filter: String,
}

impl Choice {
    /// Of these rows, those that are shown. Rows that are equal stay in the file's order.
    pub fn of<'a>(&self, rows: &'a [Row]) -> Vec<&'a Row> {
        let filter = self.filter.to_lowercase();
        let is_shown =
            |row: &&Row| row.name.to_lowercase().contains(&filter) || row.state.to_lowercase().contains(&filter);
        let mut shown: Vec<&Row> = rows.iter().filter(is_shown).collect();
        shown.sort_by(|one, other| self.sort.compare(one, other));
        if self.reversed {
            shown.reverse();
        }
        shown
    }
}

impl Sort {
    /// Numbers and states: the highest and the worst first. Names: from A to Z.
    fn compare(self, one: &Row, other: &Row) -> Ordering {
        let most = |of: fn(&Row) -> Option<f64>| of(other).unwrap_or(-1.0).total_cmp(&of(one).unwrap_or(-1.0));
        match self {
            Self::Bits => most(Row::bits),
            Self::Packets => most(Row::packets),
            Self::Errors => most(|row| row.errors),
            Self::Fallback => most(|row| row.fallback),
            Self::State => other.health.cmp(&one.health),
            Self::Name => one.name.cmp(&other.name),
            Self::File => Ordering::Equal,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::rates::{Health, Rate};
    use super::*;

    fn row(name: &str, packets: f64, bits: f64, health: Health) -> Row {
        Row {
            name: name.into(),
            out: Some(Rate { packets, bits }),
            into: Some(Rate { packets: 1.0, bits: 1.0 }),
            errors: Some(packets / 2.0),
            fallback: (name != "web").then_some(bits / 2.0),
            state: if health == Health::Good { "up".into() } else { "DOWN".into() },
            health,
            ..Row::default()
        }
    }

    fn order(sort: Sort, reversed: bool, filter: &str) -> String {
        let rows = [
            row("web", 3.0, 30.0, Health::Good),
            row("Voice", 5.0, 10.0, Health::Bad),
            row("idle", 0.0, 0.0, Health::Good),
            row("bulk", 1.0, 90.0, Health::Odd),
        ];
        let choice = Choice { sort, reversed, filter: filter.into() };
        choice.of(&rows).iter().map(|row| row.name.as_str()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn see_each_order_has_its_first() {
        for (sort, names) in [
            (Sort::Bits, "bulk web Voice idle"),
            (Sort::Packets, "Voice web bulk idle"),
            (Sort::Errors, "Voice web bulk idle"),
            (Sort::Fallback, "bulk Voice idle web"),
            (Sort::State, "Voice bulk web idle"),
            (Sort::Name, "Voice bulk idle web"),
            (Sort::File, "web Voice idle bulk"),
        ] {
            assert_eq!(order(sort, false, ""), names, "{sort:?}");
            let backwards: Vec<&str> = names.split(' ').rev().collect();
            if sort != Sort::State {
                assert_eq!(order(sort, true, ""), backwards.join(" "), "{sort:?}");
            }
        }
    }

    #[test]
    fn see_a_filter_takes_names_and_states_in_any_case() {
        assert_eq!(order(Sort::File, false, "VO"), "Voice");
        assert_eq!(order(Sort::File, false, "down"), "Voice bulk");
        assert_eq!(order(Sort::File, false, "no such"), "");
    }
}
