//! A file without what its author wrote for himself: comments are where old keys and passwords are kept.

/// Where in TOML text one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// Outside of strings.
    Plain,
    /// Behind `#`.
    Comment,
    /// In a string: its quote, and whether it has three of them.
    String(u8, bool),
}

/// The TOML text with every comment's words gone and every line in its place. For text that holds together.
pub fn without_comments(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut kept = Vec::with_capacity(bytes.len());
    let (mut at, mut n) = (At::Plain, 0);
    while let Some(&byte) = bytes.get(n) {
        let rest = &bytes[n..];
        let three = |quote: u8| rest.starts_with(&[quote; 3]);
        let (next, taken) = match (at, byte) {
            (At::Plain, b'#') => (At::Comment, 1),
            (At::Plain, b'"' | b'\'') if three(byte) => (At::String(byte, true), 3),
            (At::Plain, b'"' | b'\'') => (At::String(byte, false), 1),
            (At::Comment | At::String(_, false), b'\n') => (At::Plain, 1),
            (At::String(b'"', _), b'\\') => (at, 2),
            // One or two quotes of its own may stand before the three that end it.
            (At::String(quote, true), _) if three(quote) && rest.get(3) != Some(&quote) => (At::Plain, 3),
            (At::String(quote, false), _) if byte == quote => (At::Plain, 1),
            (At::Plain | At::Comment | At::String(..), _) => (at, 1),
        };
        if at != At::Comment || next == At::Plain {
            kept.extend_from_slice(&rest[..taken.min(rest.len())]);
        }
        (at, n) = (next, n + taken);
    }
    String::from_utf8(kept).expect("cut at ASCII alone")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_lose_their_words_and_lines_stay() {
        let text = "# old psk: hunter2\na = 1 # hunter2\n#\n[b]\n";
        assert_eq!(without_comments(text), "#\na = 1 #\n#\n[b]\n");
        assert_eq!(without_comments("a = 1 # über"), "a = 1 #");
    }

    #[test]
    fn a_hash_in_a_string_is_none() {
        for text in [
            "a = \"x # y\"\n",
            "a = 'x # y\\'\n",
            "a = \"x \\\" # y\"\n",
            "a = \"\"\"\nx # y\n\"\" z # \\\"\"\"\"\n",
            "a = '''x ' # y'''\n",
            "a = \"\"\"x\"\"\"\"\n",
            "ü = \"\\\\\"\n",
        ] {
            assert_eq!(without_comments(text), text);
            assert_eq!(without_comments(&format!("{text}b = 1 # z")), format!("{text}b = 1 #"));
        }
    }

    #[test]
    fn what_is_left_says_the_same() {
        let sample = include_str!("../../../config.sample.toml");
        let bare = without_comments(sample);
        assert_eq!(bare.lines().count(), sample.lines().count());
        let parse = |text: &str| text.parse::<toml::Table>().unwrap();
        assert_eq!(parse(&bare), parse(sample));
        assert!(bare.lines().all(|line| !line.starts_with('#') || line == "#"), "{bare}");
    }
}
