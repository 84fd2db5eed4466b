//! The screen as cells.

use std::time::Duration;

use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};

use super::columns::{Wish, fit, width};
use super::help::HELP;
use super::history::sparkline;
use super::rates::Row;
use super::screen::{Mode, Screen};
use super::view::{Column, View};
use super::{Health, about, delay};
use crate::status::span;

/// Below that nothing can be read.
pub const LEAST: (u16, u16) = (60, 12);
/// Lines above the list: title, state, totals, tabs, heads.
const HEAD: u16 = 5;
/// Lines below it: three about the chosen row, one of keys.
const FOOT: u16 = 4;
/// Of the totals' sparklines.
const TOTALS: usize = 12;

const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);
const DIM: Style = Style::new().add_modifier(Modifier::DIM);
const REVERSED: Style = Style::new().add_modifier(Modifier::REVERSED);

impl Screen {
    /// Draws all of it as it is at `now`.
    pub fn draw(&mut self, frame: &mut Frame<'_>, now: Duration) {
        let area = frame.area();
        if area.width < LEAST.0 || area.height < LEAST.1 {
            return too_small(frame.buffer_mut(), area);
        }
        self.room = usize::from(area.height - HEAD - FOOT);
        self.scroll();
        let screen = &*self;
        let mut pen = Pen { buffer: frame.buffer_mut(), width: area.width, ascii: screen.options.look.ascii };
        screen.title(&mut pen, now);
        if screen.mode == Mode::Help {
            for (y, line) in (1..area.height - 1).zip(HELP.lines()) {
                pen.put(0, y, line, Style::new());
            }
            pen.put(0, area.height - 1, "any key goes back, q leaves", screen.options.look.quiet());
            return;
        }
        screen.standing(&mut pen);
        screen.totals(&mut pen);
        screen.tabs(&mut pen);
        let rows = screen.shown();
        screen.table(&mut pen, &rows);
        screen.foot(&mut pen, &rows, area.height);
        if screen.lost.is_some() {
            pen.buffer.set_style(Rect { y: HEAD, height: area.height - HEAD - FOOT, ..area }, DIM);
        }
    }

    /// Keeps the chosen row in sight.
    fn scroll(&mut self) {
        let (place, count) = {
            let rows = self.shown();
            (self.place(&rows), rows.len())
        };
        self.above = self.above.min(place).max((place + 1).saturating_sub(self.room));
        self.above = self.above.min(count.saturating_sub(self.room));
    }

    fn title(&self, pen: &mut Pen<'_>, now: Duration) {
        let age = now.saturating_sub(self.sampled);
        let right = match (&self.lost, self.paused) {
            (Some(_), _) => format!("numbers are {} old", span(age.as_secs())),
            (None, true) => "PAUSED, space goes on".to_owned(),
            // An answer is late.
            (None, false) if age > self.options.delay * 2 + Duration::from_secs(1) => {
                format!("no answer for {}", span(age.as_secs()))
            }
            (None, false) => format!("every {}", delay::show(self.options.delay)),
        };
        let style = if self.paused || self.lost.is_some() { BOLD } else { Style::new() };
        let room = pen.put_right(0, &right, style);
        let x = pen.put(0, 0, "lanekeeper top", BOLD);
        if let Some(sample) = &self.sample {
            let status = &sample.status;
            let text = format!("{}  generation {}", status.config, status.generation);
            pen.put_within(x + 2, 0, &text, usize::from(room.saturating_sub(x + 3)), Style::new());
        }
    }

    fn standing(&self, pen: &mut Pen<'_>) {
        let look = self.options.look;
        if self.lost.is_some() {
            pen.put(0, 1, "THE AGENT DOES NOT ANSWER, asking again; the numbers are its last", look.alarm());
            return;
        }
        let Some(sample) = &self.sample else {
            pen.put(0, 1, "waiting for the agent", Style::new());
            return;
        };
        let status = &sample.status;
        let mut x = 0;
        let mut say = |pen: &mut Pen<'_>, text: &str, style| x = pen.put(x, 1, text, style) + 2;
        let up = |states: &mut dyn Iterator<Item = bool>| {
            states.fold((0, 0), |(up, down), is| if is { (up + 1, down) } else { (up, down + 1) })
        };
        let tunnels = up(&mut status.tunnels.iter().map(|tunnel| tunnel.up));
        let lanes = up(&mut status.tunnels.iter().flat_map(|tunnel| &tunnel.lanes).map(|lane| lane.up));
        for (what, (up, down)) in [("tunnels", tunnels), ("lanes", lanes)] {
            say(pen, &format!("{what} {up} up"), Style::new());
            if down > 0 {
                say(pen, &format!("{down} DOWN"), look.health(Health::Bad));
            }
        }
        let off = self.rates.classes.iter().filter(|class| class.health != Health::Good).count();
        if off > 0 {
            say(pen, &format!("classes off their way {off}"), look.health(Health::Odd));
        }
        if !status.reload.success {
            say(pen, "file REFUSED", look.health(Health::Bad));
        }
        if let Some(left) = status.confirm_within {
            say(pen, &format!("goes back in {}", span(left)), look.health(Health::Odd));
        }
    }

    fn totals(&self, pen: &mut Pen<'_>) {
        let quiet = self.options.look.quiet();
        let mut x = 0;
        let lines = [self.history.total_out(), self.history.total_into()];
        for (text, line) in about::totals(&self.rates.total).iter().zip(lines) {
            x = pen.put(x, 2, text, Style::new()) + 1;
            x = pen.put(x, 2, &sparkline(&line, TOTALS, pen.ascii), quiet) + 2;
        }
    }

    fn tabs(&self, pen: &mut Pen<'_>) {
        let mut x = 0;
        for (number, view) in (1..).zip(View::ALL) {
            let style = if view == self.options.view { REVERSED.add_modifier(Modifier::BOLD) } else { Style::new() };
            x = pen.put(x, 3, &format!(" {number} {} ", view.name()), style);
        }
        let choice = &self.options.choice;
        let turned = if choice.reversed { " (R)" } else { "" };
        let mut text = format!("by {}{turned}", choice.sort.name());
        if !choice.filter.is_empty() {
            text = format!("{text}  /{}", choice.filter);
        }
        let room = usize::from(pen.width.saturating_sub(x + 1));
        let text_width = width(&text).min(room);
        pen.put_within(pen.width - text_width as u16, 3, &text, text_width, BOLD);
    }

    fn table(&self, pen: &mut Pen<'_>, rows: &[&Row]) {
        let (view, look) = (self.options.view, self.options.look);
        let columns = fit(view, usize::from(pen.width), Wish::of(rows.iter().copied()));
        pen.buffer.set_style(Rect::new(0, HEAD - 1, pen.width, 1), look.heads());
        let mut x = 0;
        for &(column, width) in &columns {
            let by_it = self.options.choice.sort.is_of(column);
            let style =
                if by_it { look.heads().add_modifier(Modifier::BOLD | Modifier::UNDERLINED) } else { look.heads() };
            pen.cell(x, HEAD - 1, column.head(view), width, column.is_number(), style);
            x += width as u16 + 1;
        }
        let place = self.place(rows);
        for (y, (at, row)) in (HEAD..).zip(rows.iter().enumerate().skip(self.above).take(self.room)) {
            let mut x = 0;
            for &(column, width) in &columns {
                let style = self.style(column, row);
                match column {
                    Column::History => {
                        let line = sparkline(&self.history.of(view, &row.name), width, pen.ascii);
                        pen.put_within(x, y, &line, width, style);
                    }
                    column => pen.cell(x, y, &column.cell(row), width, column.is_number(), style),
                }
                x += width as u16 + 1;
            }
            if at == place {
                pen.buffer.set_style(Rect::new(0, y, pen.width, 1), REVERSED);
            }
        }
        if rows.is_empty() {
            let why = match (self.options.choice.filter.is_empty(), view) {
                (false, _) => "nothing has the filter's letters; Esc shows all",
                (true, View::Rules) => "no rule has a name, and others are not counted",
                (true, View::Classes | View::Lanes | View::Tunnels | View::Tenants) => "there are none",
            };
            pen.put(0, HEAD, why, DIM);
        }
    }

    fn style(&self, column: Column, row: &Row) -> Style {
        let look = self.options.look;
        let lit = |number: Option<f64>, health| match number {
            Some(number) if number > 0.0 => look.health(health),
            Some(_) | None => Style::new(),
        };
        match column {
            Column::Name => BOLD,
            Column::State | Column::Class => look.health(row.health),
            Column::Fallback => lit(row.fallback, Health::Odd),
            Column::Errors => lit(row.errors, Health::Bad),
            Column::History => look.quiet(),
            Column::PacketsOut | Column::BitsOut | Column::PacketsIn | Column::BitsIn => Style::new(),
            Column::Share | Column::Latency => Style::new(),
        }
    }

    fn foot(&self, pen: &mut Pen<'_>, rows: &[&Row], height: u16) {
        let quiet = self.options.look.quiet();
        let first = height - FOOT;
        match (&self.lost, &self.sample) {
            (Some(error), _) => {
                for (y, line) in (first..height - 1).zip(wrapped(error, usize::from(pen.width))) {
                    pen.put(0, y, &line, self.options.look.health(Health::Bad));
                }
            }
            (None, Some(sample)) => {
                let chosen = rows.get(self.place(rows));
                let lines = chosen.map(|row| about::about(sample, self.options.view, row)).unwrap_or_default();
                for (y, line) in (first..height - 1).zip(lines) {
                    pen.put(0, y, &line, quiet);
                }
            }
            (None, None) => {}
        }
        let keys = "q leave  ? help  1-5 view  / filter  <> order  R turn  space hold  d delay";
        let (text, style) = match (&self.mode, &self.refusal) {
            (Mode::Filter(_), _) => (format!("filter: {}_", self.options.choice.filter), BOLD),
            (Mode::Delay(typed), _) => {
                (format!("delay in seconds [{}]: {typed}_", self.options.delay.as_secs_f64()), BOLD)
            }
            (Mode::Keys | Mode::Help, Some(why)) => (why.clone(), self.options.look.health(Health::Bad)),
            (Mode::Keys | Mode::Help, None) => (keys.to_owned(), quiet),
        };
        let more = match rows.len() {
            all if all > self.room => format!("{}-{} of {all}", self.above + 1, (self.above + self.room).min(all)),
            _ => String::new(),
        };
        let room = pen.put_right(height - 1, &more, Style::new());
        pen.put_within(0, height - 1, &text, usize::from(room.saturating_sub(1)), style);
    }
}

fn too_small(buffer: &mut Buffer, area: Rect) {
    let text = format!("{}x{} is too small: {}x{} at least", area.width, area.height, LEAST.0, LEAST.1);
    for (y, line) in (area.y..area.bottom()).zip(wrapped(&text, usize::from(area.width))) {
        buffer.set_stringn(area.x, y, line, usize::from(area.width), BOLD);
    }
}

/// Broken between words.
fn wrapped(text: &str, room: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if width(line) + 1 + width(word) <= room => *line = format!("{line} {word}"),
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// Puts texts where there is room for them, and says where they end.
struct Pen<'a> {
    buffer: &'a mut Buffer,
    width: u16,
    ascii: bool,
}

impl Pen<'_> {
    /// As much as there is room for on the line.
    fn put(&mut self, x: u16, y: u16, text: &str, style: Style) -> u16 {
        self.put_within(x, y, text, usize::from(self.width.saturating_sub(x)), style)
    }

    /// With a mark where it was cut.
    fn put_within(&mut self, x: u16, y: u16, text: &str, room: usize, style: Style) -> u16 {
        if room == 0 {
            return x;
        }
        if width(text) <= room {
            return self.buffer.set_stringn(x, y, text, room, style).0;
        }
        let (x, _) = self.buffer.set_stringn(x, y, text, room - 1, style);
        self.buffer.set_stringn(x, y, if self.ascii { "~" } else { "…" }, 1, style).0
    }

    /// At the end of the line; says where it begins.
    fn put_right(&mut self, y: u16, text: &str, style: Style) -> u16 {
        let x = self.width.saturating_sub(width(text) as u16);
        self.put(x, y, text, style);
        x
    }

    fn cell(&mut self, x: u16, y: u16, text: &str, room: usize, right: bool, style: Style) {
        let before = if right { room.saturating_sub(width(text)) } else { 0 };
        self.put_within(x + before as u16, y, text, room - before, style);
    }
}
