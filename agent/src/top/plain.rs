//! The same as text for scripts and files: all rows, and no history.

use std::fmt::Write;

use super::about;
use super::columns::{Wish, fit, width};
use super::list::Choice;
use super::rates::Rates;
use super::sample::Sample;
use super::view::{Column, View};

/// One look: the gateway, then one view as a table.
pub fn plain(sample: &Sample, rates: &Rates, view: View, choice: &Choice) -> String {
    let rows = choice.of(rates.rows(view));
    let mut text = format!(
        "lanekeeper top  {}  generation {}  over {:.1} s\n{}\n\n",
        sample.status.config,
        sample.status.generation,
        rates.seconds.unwrap_or_default(),
        about::totals(&rates.total).join("   ")
    );
    let columns = fit(view, usize::MAX, Wish::of(rows.iter().copied()));
    let columns: Vec<(Column, usize)> = columns.into_iter().filter(|(column, _)| *column != Column::History).collect();
    let mut line = |cell: &dyn Fn(Column) -> String| {
        let cells: Vec<String> = columns
            .iter()
            .map(|&(column, room)| {
                let cell = cell(column);
                let blanks = " ".repeat(room.saturating_sub(width(&cell)));
                if column.is_number() { blanks + &cell } else { cell + &blanks }
            })
            .collect();
        let _ = writeln!(text, "{}", cells.join(" ").trim_end());
    };
    line(&|column| column.head(view).to_owned());
    for row in rows {
        line(&|column| column.cell(row));
    }
    text
}
