//! What the terminal can show, as its environment says.

use ratatui::style::{Color, Modifier, Style};

use super::rates::Health;

/// Colours and letters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Look {
    /// Colours; without them bold, reverse and words say the same.
    pub colours: bool,
    /// Nothing but ASCII.
    pub ascii: bool,
}

/// The variables that say it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Environment {
    /// `TERM`.
    pub term: Option<String>,
    /// `NO_COLOR`.
    pub no_color: Option<String>,
    /// The first of `LC_ALL`, `LC_CTYPE` and `LANG` that is not empty.
    pub locale: Option<String>,
}

impl Environment {
    /// Of this process.
    pub fn read() -> Self {
        let is = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        Self {
            term: is("TERM"),
            no_color: is("NO_COLOR"),
            locale: ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(is),
        }
    }

    /// Whether the terminal can place its cursor, without which there is no screen.
    pub fn can_draw(&self) -> bool {
        self.term.as_deref().is_some_and(|term| term != "dumb" && term != "unknown")
    }

    /// What it can show.
    pub fn look(&self) -> Look {
        Look { colours: self.has_colours(), ascii: !self.is_utf8() }
    }

    /// Colours are there unless the terminal is one of those that had none, or somebody wants none (no-color.org).
    pub fn has_colours(&self) -> bool {
        let Some(term) = self.term.as_deref().filter(|_| self.can_draw()) else { return false };
        let had_none = ["vt1", "vt2", "vt3", "vt4", "vt5"].iter().any(|old| term.starts_with(old));
        self.no_color.is_none() && !had_none && !term.ends_with("-m") && !term.ends_with("-mono")
    }

    fn is_utf8(&self) -> bool {
        let locale = self.locale.as_deref().unwrap_or_default().to_lowercase();
        locale.ends_with("utf-8") || locale.ends_with("utf8")
    }
}

impl Look {
    /// Of a row.
    pub fn health(self, health: Health) -> Style {
        match health {
            Health::Good => Style::new(),
            Health::Odd => self.coloured(Color::Yellow, Modifier::BOLD),
            Health::Bad => self.coloured(Color::Red, Modifier::BOLD),
        }
    }

    /// Of what has to be seen.
    pub fn alarm(self) -> Style {
        self.coloured(Color::Red, Modifier::BOLD | Modifier::REVERSED)
    }

    /// Of what names or explains.
    pub fn quiet(self) -> Style {
        self.coloured(Color::Cyan, Modifier::empty())
    }

    /// Of the heads of columns.
    pub fn heads(self) -> Style {
        self.coloured(Color::Green, Modifier::REVERSED)
    }

    fn coloured(self, colour: Color, modifier: Modifier) -> Style {
        let style = Style::new().add_modifier(modifier);
        if self.colours { style.fg(colour) } else { style }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(term: &str, no_color: Option<&str>, locale: &str) -> Environment {
        Environment { term: Some(term.into()), no_color: no_color.map(Into::into), locale: Some(locale.into()) }
    }

    #[test]
    fn see_colours_where_the_terminal_has_them_and_nobody_minds() {
        for (term, colours) in [
            ("xterm-256color", true),
            ("tmux", true),
            ("linux", true),
            ("vt100", false),
            ("vt220", false),
            ("xterm-mono", false),
            ("dumb", false),
        ] {
            assert_eq!(environment(term, None, "C.UTF-8").has_colours(), colours, "{term}");
            assert!(!environment(term, Some("1"), "C.UTF-8").has_colours());
        }
        assert!(!Environment::default().has_colours() && !Environment::default().can_draw());
        let bad = |colours| Look { colours, ascii: false }.health(Health::Bad);
        assert_eq!((bad(true).fg, bad(false).fg), (Some(Color::Red), None));
        assert_eq!(bad(true).add_modifier, bad(false).add_modifier);
    }

    #[test]
    fn see_blocks_in_utf8_alone() {
        for (locale, ascii) in [("C.UTF-8", false), ("de_AT.utf8", false), ("C", true), ("de_AT@euro", true)] {
            assert_eq!(environment("xterm", None, locale).look().ascii, ascii, "{locale}");
        }
        assert!(Environment::default().look().ascii);
    }
}
