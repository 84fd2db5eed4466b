//! YAML's text as a tree with places. What only programs write and nobody needs here is refused: anchors, tags, a second document.

use saphyr_parser::{Event, Marker, Parser, ScalarStyle};

use super::problem::Problem;

/// Levels of lists and mappings within one another; a web-config file has three.
const DEPTH: usize = 16;

/// Line and column, from 1.
pub type At = (usize, usize);

/// A value, or a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    pub at: At,
    pub value: Value,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Nothing, or `null`.
    Null,
    /// A scalar, and whether it stands there without quotes.
    Text(String, Plain),
    List(Vec<Node>),
    /// Keys that are not scalars are refused.
    Map(Vec<(Node, Node)>),
}

/// Whether a scalar is written without quotes, so that it may be a number or `true`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plain {
    Yes,
    No,
}

/// The text's only document.
pub fn parse(text: &str) -> Result<Node, (At, Problem)> {
    let mut reading = Reading { text, parser: Parser::new_from_str(text), at: (1, 1) };
    let mut root = None;
    loop {
        match reading.next()? {
            Event::DocumentStart(_) if root.is_some() => {
                return Err((reading.at, Problem::Feature { what: "a second document" }));
            }
            Event::StreamEnd => break,
            Event::Nothing | Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd => {}
            event => root = Some(reading.node(event, 0)?),
        }
    }
    Ok(root.unwrap_or(Node { at: (1, 1), value: Value::Null }))
}

struct Reading<'t> {
    text: &'t str,
    parser: Parser<'t, saphyr_parser::StrInput<'t>>,
    /// Of the event read last.
    at: At,
}

impl<'t> Reading<'t> {
    fn next(&mut self) -> Result<Event<'t>, (At, Problem)> {
        match self.parser.next_event() {
            Some(Ok((event, span))) => {
                self.at = self.place(&span.start);
                Ok(event)
            }
            Some(Err(error)) => Err((self.place(error.marker()), Problem::Syntax { reason: error.info().to_owned() })),
            None => Ok(Event::StreamEnd),
        }
    }

    /// In the text: behind one that does not end its last line the parser sees another.
    fn place(&self, marker: &Marker) -> At {
        let last = self.text.split('\n').count();
        let line = marker.line().min(last);
        let end = self.text.split('\n').nth(line - 1).map_or(0, |line| line.chars().count()) + 1;
        (line, if marker.line() > last { end } else { end.min(marker.col() + 1) })
    }

    fn node(&mut self, event: Event<'t>, depth: usize) -> Result<Node, (At, Problem)> {
        let at = self.at;
        let refuse = |what| Err((at, Problem::Feature { what }));
        if depth > DEPTH {
            return refuse("so deep a list");
        }
        let value = match event {
            Event::Alias(_) => return refuse("an alias"),
            Event::Scalar(_, _, anchor, _) | Event::SequenceStart(anchor, _) | Event::MappingStart(anchor, _)
                if anchor != 0 =>
            {
                return refuse("an anchor");
            }
            Event::Scalar(_, _, _, Some(_)) | Event::SequenceStart(_, Some(_)) | Event::MappingStart(_, Some(_)) => {
                return refuse("a tag");
            }
            Event::Scalar(text, ScalarStyle::Plain, ..) if matches!(&*text, "" | "~" | "null" | "Null" | "NULL") => {
                Value::Null
            }
            Event::Scalar(text, style, ..) => {
                let plain = if style == ScalarStyle::Plain { Plain::Yes } else { Plain::No };
                Value::Text(text.into_owned(), plain)
            }
            Event::SequenceStart(..) => {
                let mut list = Vec::new();
                loop {
                    match self.next()? {
                        Event::SequenceEnd => break Value::List(list),
                        event => list.push(self.node(event, depth + 1)?),
                    }
                }
            }
            Event::MappingStart(..) => {
                let mut map = Vec::new();
                loop {
                    match self.next()? {
                        Event::MappingEnd => break Value::Map(map),
                        event => {
                            let key = self.node(event, depth + 1)?;
                            if !matches!(key.value, Value::Text(..)) {
                                return Err((key.at, Problem::Feature { what: "a key that is no word" }));
                            }
                            let event = self.next()?;
                            map.push((key, self.node(event, depth + 1)?));
                        }
                    }
                }
            }
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd
            | Event::SequenceEnd
            | Event::MappingEnd => return refuse("no value where one belongs"),
        };
        Ok(Node { at, value })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(text: &str) -> (At, String) {
        let (at, problem) = parse(text).unwrap_err();
        (at, problem.to_string())
    }

    #[test]
    fn each_node_has_its_place() {
        let Value::Map(map) = parse("# ä\na:\n  b: \"c\"\n  d: [e, ~]\n").unwrap().value else { panic!() };
        let Value::Map(inner) = &map[0].1.value else { panic!() };
        let places: Vec<At> = inner.iter().flat_map(|(key, value)| [key.at, value.at]).collect();
        assert_eq!(places, [(3, 3), (3, 6), (4, 3), (4, 6)]);
        assert_eq!(inner[0].1.value, Value::Text("c".into(), Plain::No));
        let Value::List(list) = &inner[1].1.value else { panic!() };
        assert_eq!((&list[0].value, &list[1].value), (&Value::Text("e".into(), Plain::Yes), &Value::Null));
    }

    #[test]
    fn an_empty_text_is_nothing() {
        for text in ["", "\n# only\n", "---\n", "---\n...\n"] {
            assert_eq!(parse(text).unwrap().value, Value::Null, "{text:?}");
        }
    }

    #[test]
    fn fault_what_a_web_config_file_does_not_need_is_refused() {
        assert_eq!(wrong("a: &x 1\nb: *x\n"), ((1, 4), "an anchor is not taken here".to_owned()));
        assert_eq!(wrong("a: 1\nb: !!str 2\n").1, "a tag is not taken here");
        assert_eq!(wrong("a: 1\n---\nb: 2\n"), ((2, 1), "a second document is not taken here".to_owned()));
        assert_eq!(wrong("[a]: 1\n").1, "a key that is no word is not taken here");
        let deep = |levels| "[".repeat(levels) + &"]".repeat(levels);
        assert_eq!(wrong(&deep(DEPTH + 2)).1, "so deep a list is not taken here");
        wrong(&deep(100_000));
    }

    #[test]
    fn fault_broken_yaml_is_told_with_its_place() {
        for (text, line) in
            [("a: 1\nb: [1\n", 2..=3), ("a: 1\n  b: 2\n", 2..=2), ("a: \"x\n", 1..=2), ("a:\n\tb: 2\n", 2..=2)]
        {
            let ((at, _), said) = wrong(text);
            assert!(line.contains(&at), "{text:?}: {at} {said}");
            assert!(said.starts_with("not valid YAML: "), "{said}");
        }
    }
}
