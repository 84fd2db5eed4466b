//! The terminal: the screen's while it is there, and as it was once that is gone, however it goes.

use std::io::{self, stdout};

use nix::sys::signal::{Signal, raise};
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::execute;
use ratatui::{DefaultTerminal, Frame};

/// In raw mode, on the alternate screen. A panic gives it back before it says a word.
pub struct Terminal(DefaultTerminal);

impl Terminal {
    /// Takes it.
    pub fn take() -> io::Result<Self> {
        ratatui::try_init().inspect_err(|_| give_back()).map(Self)
    }

    /// Draws what has changed.
    pub fn draw(&mut self, picture: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        self.0.draw(picture)?;
        Ok(())
    }

    /// The next picture is drawn whole.
    pub fn forget(&mut self) -> io::Result<()> {
        self.0.clear()
    }

    /// Gives it back, stops until the shell goes on, and takes it again.
    pub fn suspend(&mut self) -> io::Result<()> {
        give_back();
        raise(Signal::SIGTSTP)?;
        self.0 = ratatui::try_init()?;
        self.forget()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // A panic has given the screen back: to leave it twice would put the cursor into what the panic says.
        match std::thread::panicking() {
            true => show_cursor(),
            false => give_back(),
        }
    }
}

/// What cannot be given back is gone.
fn give_back() {
    let _ = ratatui::try_restore();
    show_cursor();
}

fn show_cursor() {
    let _ = execute!(stdout(), Show);
}
