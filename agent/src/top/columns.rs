//! The table: how wide each column is, and what stands in it.

use ratatui::text::Span;

use super::number::{known, percent};
use super::rates::Row;
use super::view::{Column, View};

/// The narrowest sparkline.
const HISTORY_LEAST: usize = 8;
/// The widest.
const HISTORY_MOST: usize = 60;
/// What is left of names before the sparkline goes.
const NAME_LEAST: usize = 16;
/// And before latencies do.
const NAME_SHORT: usize = 12;

/// What rows would like to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wish {
    /// The longest name.
    pub name: usize,
    /// The longest state.
    pub state: usize,
    /// Whether packets of any are timed.
    pub timed: bool,
}

impl Wish {
    /// Of these rows.
    pub fn of<'a>(rows: impl Iterator<Item = &'a Row> + Clone) -> Self {
        let widest = |of: fn(&Row) -> &str| rows.clone().map(|row| width(of(row))).max().unwrap_or(0);
        let timed = rows.clone().any(|row| row.latency.is_some());
        Self { name: widest(|row| &row.name), state: widest(|row| &row.state), timed }
    }
}

impl Column {
    /// Whether it is a number, which stands at the right.
    pub const fn is_number(self) -> bool {
        match self {
            Self::Name | Self::State | Self::Class | Self::History => false,
            Self::PacketsOut | Self::BitsOut | Self::PacketsIn | Self::BitsIn => true,
            Self::Share | Self::Fallback | Self::Errors | Self::Latency => true,
        }
    }

    /// What it says of a row; the sparkline is the history's.
    pub fn cell(self, row: &Row) -> String {
        match self {
            Self::Name => row.name.clone(),
            Self::PacketsOut => known(row.out.map(|rate| rate.packets)),
            Self::BitsOut => known(row.out.map(|rate| rate.bits)),
            Self::PacketsIn => known(row.into.map(|rate| rate.packets)),
            Self::BitsIn => known(row.into.map(|rate| rate.bits)),
            Self::Share => row.share.map_or_else(|| "-".to_owned(), percent),
            Self::Fallback => known(row.fallback),
            Self::Errors => known(row.errors),
            Self::Latency => row.latency.map_or_else(|| "-".to_owned(), |latency| latency.cell()),
            Self::State | Self::Class => row.state.clone(),
            Self::History => String::new(),
        }
    }
}

/// The columns of a view that fit into `room`, each with its width, one blank apart. Numbers are never cut: what is not
/// there for them is taken from the sparkline, from names, and from states. Latencies are there where packets are timed and names
/// do not suffer for it.
pub fn fit(view: View, room: usize, wish: Wish) -> Vec<(Column, usize)> {
    let has_state = view.columns().iter().any(|column| matches!(column, Column::State | Column::Class));
    let wish = Wish {
        name: wish.name.max(width(Column::Name.head(view))),
        state: if has_state { wish.state.max(width(Column::State.head(view))) + 1 } else { 0 },
        ..wish
    };
    let of_number = |column: &Column| if column.is_number() { number(*column, view) + 1 } else { 0 };
    let most: usize = view.columns().iter().map(of_number).sum();
    let timed = wish.timed && room >= most + wish.state + wish.name.min(NAME_SHORT);
    let is_there = |column: &Column| timed || *column != Column::Latency;
    let all: Vec<Column> = view.columns().iter().copied().filter(is_there).collect();
    let numbers: usize = all.iter().map(of_number).sum();
    let left = room.saturating_sub(numbers);
    let beside = left.saturating_sub(wish.state);
    let (name, history) = match beside {
        _ if beside > wish.name + HISTORY_LEAST => (wish.name, beside - wish.name - 1),
        _ if beside > NAME_LEAST + HISTORY_LEAST => (beside - HISTORY_LEAST - 1, HISTORY_LEAST),
        _ => (wish.name.min(beside).max(NAME_LEAST / 2), 0),
    };
    let state = wish.state.min(left.saturating_sub(name));
    let width_of = |column: Column| match column {
        Column::Name => name,
        Column::State | Column::Class => state.saturating_sub(1),
        Column::History => history.min(HISTORY_MOST),
        column => number(column, view),
    };
    all.iter().map(|&column| (column, width_of(column))).filter(|(_, width)| *width > 0).collect()
}

/// The width of a column of numbers, which have five characters at most.
fn number(column: Column, view: View) -> usize {
    width(column.head(view)).max(5)
}

/// Columns of a terminal that a text takes.
pub fn width(text: &str) -> usize {
    Span::raw(text).width()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(view: View, room: usize, wish: Wish) -> Vec<(Column, usize)> {
        let columns = fit(view, room, wish);
        let taken: usize = columns.iter().map(|(_, width)| width + 1).sum::<usize>() - 1;
        assert!(taken <= room, "{columns:?} in {room}");
        columns
    }

    fn width_of(columns: &[(Column, usize)], wanted: Column) -> Option<usize> {
        columns.iter().find(|(column, _)| *column == wanted).map(|(_, width)| *width)
    }

    #[test]
    fn see_numbers_stay_and_the_sparkline_gives_way_to_names() {
        for (room, name, state, history) in [
            (200, Some(16), Some(10), Some(HISTORY_MOST)),
            (84, Some(16), Some(10), Some(8)),
            (80, Some(16), Some(10), None),
            (70, Some(11), Some(10), None),
            (60, Some(8), Some(3), None),
        ] {
            let columns = of(View::Classes, room, Wish { name: 16, state: 10, timed: false });
            assert_eq!(
                [Column::Name, Column::State, Column::History].map(|column| width_of(&columns, column)),
                [name, state, history],
                "{room}"
            );
            assert_eq!(columns.iter().filter(|(column, _)| column.is_number()).count(), 7);
        }
    }

    #[test]
    fn see_everything_fits_whatever_the_names() {
        for view in View::ALL {
            for room in 60..250 {
                for (name, state) in [(0, 0), (7, 4), (31, 12), (63, 40)] {
                    for timed in [false, true] {
                        let columns = of(view, room, Wish { name, state, timed });
                        assert!(width_of(&columns, Column::Name).is_some());
                    }
                }
            }
        }
    }

    #[test]
    fn see_latencies_are_there_where_packets_are_timed_and_the_room_is() {
        let has = |view, room, timed| {
            let columns = of(view, room, Wish { name: 20, state: 9, timed });
            width_of(&columns, Column::Latency)
        };
        for view in [View::Classes, View::Lanes] {
            assert_eq!([80, 200].map(|room| has(view, room, true)), [Some(5); 2]);
            assert_eq!((has(view, 60, true), has(view, 200, false)), (None, None));
        }
        for view in [View::Tunnels, View::Tenants, View::Rules] {
            assert_eq!(has(view, 200, true), None);
        }
    }
}
