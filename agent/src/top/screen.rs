//! The screen between two samples and two keys: what was seen, what was asked for. Knows neither clock nor terminal nor socket.

use std::time::Duration;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::history::History;
use super::list::Choice;
use super::rates::{Rates, Row};
use super::sample::Sample;
use super::view::{Sort, View};
use super::{Look, Minute, delay};

/// How it begins.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Options {
    /// What is listed.
    pub view: View,
    /// In which order, and what of it.
    pub choice: Choice,
    /// Between two samples.
    pub delay: Duration,
    /// What the terminal can show.
    pub look: Look,
}

/// All that is shown follows from it and the time.
#[derive(Debug, Default)]
pub struct Screen {
    pub(super) options: Options,
    pub(super) sample: Option<Sample>,
    pub(super) rates: Rates,
    pub(super) history: History,
    pub(super) minute: Minute,
    /// When the sample came.
    pub(super) sampled: Duration,
    /// Why there is no newer one.
    pub(super) lost: Option<String>,
    pub(super) paused: bool,
    pub(super) mode: Mode,
    /// The chosen row; `None` is the first one, whichever that is.
    pub(super) chosen: Option<String>,
    /// Rows that have been scrolled by.
    pub(super) above: usize,
    /// Rows that had room when it was drawn.
    pub(super) room: usize,
    /// What was wrong with the last thing typed.
    pub(super) refusal: Option<String>,
}

/// What keys mean.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum Mode {
    /// What the help says.
    #[default]
    Keys,
    /// The help is shown, until the next one.
    Help,
    /// Letters of the filter; with the one before, for Esc.
    Filter(String),
    /// Digits of the delay.
    Delay(String),
}

/// What is left to do after a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Show it.
    Show,
    /// Show it on a terminal of which nothing is known.
    Redraw,
    /// Stop until the shell lets it go on.
    Suspend,
    /// Leave.
    Leave,
}

impl Screen {
    /// Before the first sample.
    pub fn new(options: Options) -> Self {
        Self { options, ..Self::default() }
    }

    /// Between two samples, as it is asked for now.
    pub fn delay(&self) -> Duration {
        self.options.delay
    }

    /// The agent has answered. `now` counts from whenever, like all times here.
    pub fn on_sample(&mut self, sample: Sample, now: Duration) {
        self.lost = None;
        if self.paused {
            return;
        }
        self.rates = Rates::of(self.sample.as_ref(), &sample);
        self.minute.fill(&sample, &mut self.rates);
        self.minute.remember(&sample);
        self.history.push(&self.rates);
        self.sample = Some(sample);
        self.sampled = now;
    }

    /// It has not.
    pub fn on_lost(&mut self, error: String) {
        self.lost = Some(error);
    }

    /// A key was pressed.
    pub fn on_key(&mut self, key: KeyEvent) -> Act {
        if key.kind == KeyEventKind::Release {
            return Act::Show;
        }
        self.refusal = None;
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            match key.code {
                KeyCode::Char('c') => return Act::Leave,
                KeyCode::Char('z') => return Act::Suspend,
                KeyCode::Char('l') => return Act::Redraw,
                KeyCode::Char('u') => {
                    match &mut self.mode {
                        Mode::Filter(_) => self.options.choice.filter.clear(),
                        Mode::Delay(typed) => typed.clear(),
                        Mode::Keys | Mode::Help => {}
                    }
                    return Act::Show;
                }
                _ => return Act::Show,
            }
        }
        match std::mem::take(&mut self.mode) {
            Mode::Keys => return self.on_command(key.code),
            Mode::Help if matches!(key.code, KeyCode::Char('q')) => return Act::Leave,
            // Whatever it is, it has been read.
            Mode::Help => {}
            Mode::Filter(before) => self.on_filter(key.code, before),
            Mode::Delay(typed) => self.on_delay(key.code, typed),
        }
        Act::Show
    }

    fn on_command(&mut self, key: KeyCode) -> Act {
        match key {
            KeyCode::Char('q' | 'Q') | KeyCode::F(10) => return Act::Leave,
            KeyCode::Char('?' | 'h') | KeyCode::F(1) => self.mode = Mode::Help,
            KeyCode::Char('/') | KeyCode::F(4) => self.mode = Mode::Filter(self.options.choice.filter.clone()),
            KeyCode::Char('d' | 's') => self.mode = Mode::Delay(String::new()),
            KeyCode::Char(' ') => self.paused = !self.paused,
            KeyCode::Esc => self.options.choice.filter.clear(),
            KeyCode::Char(digit @ '1'..='5') => self.show(View::ALL[digit as usize - '1' as usize]),
            KeyCode::Tab | KeyCode::Right => self.show(self.options.view.step(1)),
            KeyCode::BackTab | KeyCode::Left => self.show(self.options.view.step(-1)),
            KeyCode::Char('B') => self.sort(Sort::Bits),
            KeyCode::Char('P') => self.sort(Sort::Packets),
            KeyCode::Char('E') => self.sort(Sort::Errors),
            KeyCode::Char('F') => self.sort(Sort::Fallback),
            KeyCode::Char('S') => self.sort(Sort::State),
            KeyCode::Char('N') => self.sort(Sort::Name),
            KeyCode::Char('O') => self.sort(Sort::File),
            KeyCode::Char('>' | '.') => self.sort(self.options.choice.sort.step(1)),
            KeyCode::Char('<' | ',') => self.sort(self.options.choice.sort.step(-1)),
            KeyCode::Char('R' | 'I') => self.options.choice.reversed = !self.options.choice.reversed,
            KeyCode::Up | KeyCode::Char('k') => self.move_by(-1),
            KeyCode::Down | KeyCode::Char('j') => self.move_by(1),
            KeyCode::PageUp => self.move_by(-self.room.cast_signed()),
            KeyCode::PageDown => self.move_by(self.room.cast_signed()),
            KeyCode::Home | KeyCode::Char('g') => self.chosen = None,
            KeyCode::End | KeyCode::Char('G') => self.move_by(isize::MAX),
            _ => {}
        }
        Act::Show
    }

    fn on_filter(&mut self, key: KeyCode, before: String) {
        match key {
            KeyCode::Enter => return,
            KeyCode::Esc => {
                self.options.choice.filter = before;
                return;
            }
            KeyCode::Char(letter) => self.options.choice.filter.push(letter),
            KeyCode::Backspace => drop(self.options.choice.filter.pop()),
            KeyCode::Up => self.move_by(-1),
            KeyCode::Down => self.move_by(1),
            _ => {}
        }
        self.mode = Mode::Filter(before);
    }

    fn on_delay(&mut self, key: KeyCode, mut typed: String) {
        match key {
            KeyCode::Enter => {
                match delay::parse(&typed) {
                    Ok(delay) => self.options.delay = delay,
                    Err(why) => self.refusal = Some(why),
                }
                return;
            }
            KeyCode::Esc => return,
            KeyCode::Char(letter) => typed.push(letter),
            KeyCode::Backspace => drop(typed.pop()),
            _ => {}
        }
        self.mode = Mode::Delay(typed);
    }

    fn show(&mut self, view: View) {
        if self.options.view != view {
            self.options.view = view;
            (self.chosen, self.above) = (None, 0);
        }
    }

    /// The highest first, until it is turned round.
    fn sort(&mut self, sort: Sort) {
        (self.options.choice.sort, self.options.choice.reversed) = (sort, false);
    }

    fn move_by(&mut self, by: isize) {
        let rows = self.shown();
        let last = rows.len().saturating_sub(1);
        let to = self.place(&rows).saturating_add_signed(by).min(last);
        self.chosen = rows.get(to).filter(|_| to > 0).map(|row| row.name.clone());
    }

    /// The rows that the view lists, in their order.
    pub(super) fn shown(&self) -> Vec<&Row> {
        self.options.choice.of(self.rates.rows(self.options.view))
    }

    /// Where the chosen row is among those; the first one where it is not there.
    pub(super) fn place(&self, rows: &[&Row]) -> usize {
        let chosen = self.chosen.as_deref();
        chosen.and_then(|name| rows.iter().position(|row| row.name == name)).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests;
