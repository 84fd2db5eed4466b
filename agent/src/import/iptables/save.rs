//! Lines -> tables, chains and the words of rules.

use crate::import::Error;
use crate::import::condition::Version;

/// One table of one family.
#[derive(Debug)]
pub struct Section {
    /// `mangle` and so on.
    pub table: String,
    /// Of which of the two tools.
    pub version: Version,
    /// In order.
    pub chains: Vec<Named>,
    /// In order.
    pub rules: Vec<Rule>,
}

/// A chain's line.
#[derive(Debug)]
pub struct Named {
    /// Its name.
    pub name: String,
    /// It has a policy, so the kernel enters it.
    pub is_base: bool,
    /// `FILE:LINE`.
    pub place: String,
}

/// A rule's line.
#[derive(Debug)]
pub struct Rule {
    /// Its chain.
    pub chain: String,
    /// What stands behind that.
    pub words: Vec<String>,
    /// `FILE:LINE`.
    pub place: String,
    /// The line, without counters.
    pub text: String,
}

const FORM: &str = "a dump has lines *TABLE, :CHAIN POLICY, -A CHAIN RULE, COMMIT and # COMMENT";

/// Reads all tables.
pub fn parse(file: &str, text: &str) -> Result<Vec<Section>, Error> {
    let (mut sections, mut open): (Vec<Section>, bool) = (Vec::new(), false);
    let mut header = None;
    for (number, line) in text.lines().enumerate().map(|(place, line)| (place + 1, line.trim())) {
        let wrong = |found: String| Error::Line { file: file.to_owned(), line: number, found, wanted: FORM };
        let place = format!("{file}:{number}");
        if let Some(comment) = line.strip_prefix('#') {
            if comment.contains("ip6tables") {
                header = Some(Version::V6);
            } else if comment.contains("iptables") {
                header = Some(Version::V4);
            }
            continue;
        }
        if let Some(table) = line.strip_prefix('*') {
            let version = header.unwrap_or(Version::V4);
            sections.push(Section { table: table.to_owned(), version, chains: Vec::new(), rules: Vec::new() });
            open = true;
            continue;
        }
        if line.is_empty() {
            continue;
        }
        if line == "COMMIT" {
            open = false;
            continue;
        }
        let section = match sections.last_mut().filter(|_| open) {
            Some(section) => section,
            None => return Err(wrong(format!("\"{}\" stands in no table", shortened(line)))),
        };
        if let Some(chain) = line.strip_prefix(':') {
            let mut words = chain.split_whitespace();
            let name = words.next().unwrap_or_default().to_owned();
            let is_base = words.next().is_some_and(|policy| policy != "-");
            section.chains.push(Named { name, is_base, place });
            continue;
        }
        // [packets:bytes], with `iptables-save -c`.
        let rule = match line.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((_, rule)) => rule.trim_start(),
            None => line,
        };
        let words = words(rule).ok_or_else(|| wrong("a quote is not closed".to_owned()))?;
        match words.as_slice() {
            [append, chain, rest @ ..] if append == "-A" => {
                let (chain, words) = (chain.clone(), rest.to_vec());
                section.rules.push(Rule { chain, words, place, text: rule.to_owned() });
            }
            _ => return Err(wrong(format!("\"{}\" is no rule", shortened(line)))),
        }
    }
    if header.is_none() {
        // Without the tool's own words the addresses say which it was.
        for section in &mut sections {
            if section.rules.iter().any(is_v6) {
                section.version = Version::V6;
            }
        }
    }
    Ok(sections)
}

fn is_v6(rule: &Rule) -> bool {
    let after = |names: &[&str], is: &dyn Fn(&str) -> bool| {
        rule.words.windows(2).any(|pair| names.contains(&pair[0].as_str()) && is(&pair[1]))
    };
    after(&["-s", "-d", "--source", "--destination"], &|value| value.contains(':'))
        || after(&["-p", "--protocol"], &|value| value.starts_with("ipv6-icmp") || value.starts_with("icmpv6"))
}

fn shortened(line: &str) -> String {
    line.chars().take(40).collect()
}

/// Words as iptables-save quotes them: blanks within `"`, and `\` before `"`, `'` and itself.
fn words(line: &str) -> Option<Vec<String>> {
    let (mut words, mut word, mut quoted) = (Vec::new(), None::<String>, false);
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            '\\' if quoted => word.get_or_insert_default().push(chars.next()?),
            c if c.is_whitespace() && !quoted => words.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    (!quoted).then_some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_keep_a_comment_together() {
        let line = r#"-m comment --comment "a \"b\" c" -j MARK"#;
        assert_eq!(words(line).unwrap(), ["-m", "comment", "--comment", "a \"b\" c", "-j", "MARK"]);
        assert_eq!(words("--comment \"open"), None);
        assert_eq!(words("--comment \"\"").unwrap(), ["--comment", ""]);
    }

    #[test]
    fn the_family_is_that_of_the_header_or_of_the_addresses() {
        let version = |text: &str| parse("f", text).unwrap()[0].version;
        assert_eq!(version("# Generated by ip6tables-save\n*mangle\nCOMMIT\n"), Version::V6);
        assert_eq!(version("*mangle\n:A -\n-A A -s 2001:db8::/32 -j RETURN\nCOMMIT\n"), Version::V6);
        assert_eq!(version("*mangle\n:A -\n-A A -m comment --comment a:b -j RETURN\nCOMMIT\n"), Version::V4);
    }
}
