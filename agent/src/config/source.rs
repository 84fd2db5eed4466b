//! A config file's text, and places in it.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// One file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// As the operator wrote it; what messages say.
    pub name: String,
    /// Relative paths in the file start here.
    pub folder: PathBuf,
    /// All of it.
    pub text: String,
    /// Byte offset of each line's start.
    lines: Vec<usize>,
}

impl Source {
    /// A file of this name and text.
    pub fn new(name: &str, text: &str) -> Self {
        let folder = Path::new(name).parent().map(Path::to_path_buf).unwrap_or_default();
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { name: name.to_owned(), folder, text: text.to_owned(), lines }
    }

    /// The line that an offset is on, without its line end.
    pub fn line(&self, at: usize) -> Range<usize> {
        let at = at.min(self.text.len());
        let line = self.lines.partition_point(|&first| first <= at) - 1;
        let end = self.lines.get(line + 1).map_or(self.text.len(), |next| next - 1);
        self.lines[line]..end
    }

    /// Where the span starts.
    pub fn place(&self, span: &Range<usize>) -> Place {
        let start = span.start.min(self.text.len());
        let line = self.lines.partition_point(|&first| first <= start) - 1;
        let before = self.text.as_bytes().get(self.lines[line]..start).unwrap_or_default();
        // Counted on bytes that start a character, so that a span inside one cannot panic.
        let column = before.iter().filter(|&&byte| byte & 0xc0 != 0x80).count();
        Place { file: self.name.clone(), line: line + 1, column: column + 1 }
    }
}

/// `FILE:LINE:COLUMN`, both counted from 1, columns in characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// As in [`Source::name`].
    pub file: String,
    /// From 1; 0 for a place in no line, such as a file that cannot be read.
    pub line: usize,
    /// From 1; 0 together with the line.
    pub column: usize,
}

impl Place {
    /// The file as a whole.
    pub fn whole(file: &str) -> Self {
        Self { file: file.to_owned(), line: 0, column: 0 }
    }

    /// The reverse of its text.
    pub fn read(text: &str) -> Self {
        let mut parts = text.rsplitn(3, ':');
        let (column, line) = (parts.next().map(str::parse), parts.next().map(str::parse));
        match (parts.next(), line, column) {
            (Some(file), Some(Ok(line)), Some(Ok(column))) => Self { file: file.to_owned(), line, column },
            _ => Self::whole(text),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(&self.file),
            _ => write!(f, "{}:{}:{}", self.file, self.line, self.column),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str, at: usize) -> (usize, usize) {
        let place = Source::new("f", text).place(&(at..at));
        (place.line, place.column)
    }

    #[test]
    fn places_count_lines_and_characters_from_one() {
        assert_eq!(place("", 0), (1, 1));
        assert_eq!(place("a\nb", 2), (2, 1));
        assert_eq!(place("a\nb", 1), (1, 2));
        assert_eq!(place("äb", 2), (1, 2));
    }

    #[test]
    fn a_place_is_read_from_its_text() {
        for text in ["gw.toml:3:8", "a:b.toml:10:1", "gw.toml"] {
            assert_eq!(Place::read(text).to_string(), text);
        }
        assert_eq!(Place::read("a:b.toml:10:1"), Place { file: "a:b.toml".into(), line: 10, column: 1 });
    }

    #[test]
    fn a_place_past_the_end_or_inside_a_character_does_not_panic() {
        assert_eq!(place("ab", 99), (1, 3));
        assert_eq!(place("ä", 1), (1, 2));
        assert_eq!(place("a\n", 2), (2, 1));
    }
}
