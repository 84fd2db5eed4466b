//! One file for a bug report: what is known of an agent and its box, without secrets and on request without addresses.
//!
//! [`gather`] asks and reads; what becomes of it is decided here, and in [`comments`] and [`mask`]. No key is in it because
//! none is asked for: key files are named and not read, and the kernel's states, which have keys in them, are not listed.

pub mod comments;
pub mod gather;
pub mod mask;

use std::fmt::Write;

/// A part of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// What it is of.
    pub title: String,
    /// What was found, or why nothing was.
    pub body: Result<String, String>,
}

impl Section {
    /// Whose errors may quote what somebody wrote, a key in the wrong place included: what is in quotes is left out of them.
    pub fn new<E: ToString>(title: impl Into<String>, body: Result<String, E>) -> Self {
        Self { title: title.into(), body: body.map_err(|error| without_quoted(&error.to_string())) }
    }
}

/// The whole file.
pub fn render(sections: &[Section]) -> String {
    sections.iter().fold(String::new(), |mut text, Section { title, body }| {
        let _ = match body {
            Ok(body) => writeln!(text, "===== {title} =====\n{}\n", body.trim_end_matches('\n')),
            Err(error) => writeln!(text, "===== {title} =====\nnot there: {error}\n"),
        };
        text
    })
}

/// The text with `"..."` for all that each line has from its first quote on: what is quoted may have quotes in it, escaped or not,
/// and may stand again behind them without.
pub fn without_quoted(text: &str) -> String {
    let line = |line: &str| match line.split_once('"') {
        Some((before, _)) => format!("{before}\"...\""),
        None => line.to_owned(),
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_have_titles_and_say_why_they_are_empty() {
        let sections = [
            Section::new("kernel", Ok::<_, String>("6.12\n".into())),
            Section::new("status", Err("tunnel \"branch\": no agent")),
        ];
        let text = "===== kernel =====\n6.12\n\n===== status =====\nnot there: tunnel \"...\"\n\n";
        assert_eq!(render(&sections), text);
    }

    #[test]
    fn nothing_quoted_stays() {
        assert_eq!(without_quoted("a \"b\" c \"d\" e\ne \"f\ng"), "a \"...\"\ne \"...\"\ng");
        assert_eq!(without_quoted(r#"start "a\"b\"c" is none"#), "start \"...\"");
        assert_eq!(without_quoted(""), "");
    }
}
