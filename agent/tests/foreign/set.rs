//! Rule sets as their files have them.

use std::fs;
use std::path::{Path, PathBuf};

/// The package of a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    Fwbuilder,
    Firehol,
    Iptables,
    Foomuuri,
    Nftlb,
}

/// What becomes of a set's verdicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Form {
    /// It is as it was written.
    Whole,
    /// Its rules do not ask for the state of a connection, which few marks are left without.
    Stateless,
    /// That, and a verdict is a mark.
    Marked,
}

/// One.
#[derive(Debug)]
pub struct Set {
    /// `PACKAGE/FILE`.
    pub name: String,
    /// What takes it.
    pub tool: Tool,
    /// For the tool's standard input.
    pub text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tool {
    Iptables,
    Ip6tables,
    Nft,
}

impl Origin {
    fn package(self) -> &'static str {
        match self {
            Self::Fwbuilder => "fwbuilder",
            Self::Firehol => "firehol",
            Self::Iptables => "iptables",
            Self::Foomuuri => "foomuuri",
            Self::Nftlb => "nftlb",
        }
    }

    /// All of its sets.
    pub fn sets(self) -> Vec<Set> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/foreign").join(self.package());
        let mut files = Vec::new();
        walk(&folder, &mut files);
        files.sort();
        assert!(!files.is_empty(), "{} is empty: `cargo xtask setup` fills it", folder.display());
        files.iter().flat_map(|file| self.read(&folder, file)).collect()
    }

    fn read(self, folder: &Path, file: &Path) -> Vec<Set> {
        let name = file.strip_prefix(folder).unwrap().display().to_string();
        let text = String::from_utf8_lossy(&fs::read(file).unwrap()).into_owned();
        let set = |tool, text: String| Set { name: format!("{}/{name}", self.package()), tool, text };
        let has_rules = |set: &Set| set.tool == Tool::Nft || set.text.contains("\n-A ");
        let sets = match self {
            Self::Fwbuilder if name.ends_with(".fw.orig") => {
                let both = [(Tool::Iptables, "$IPTABLES "), (Tool::Ip6tables, "$IP6TABLES ")];
                both.map(|(tool, word)| set(tool, script(&text, word, tool))).into()
            }
            Self::Fwbuilder => vec![set(Tool::Iptables, dump(&text))],
            Self::Firehol if name.ends_with(".aud4") => vec![set(Tool::Iptables, dump(&text))],
            Self::Firehol if name.ends_with(".aud6") => vec![set(Tool::Ip6tables, dump(&text))],
            Self::Iptables if name.contains("ip6tables") => vec![set(Tool::Ip6tables, dump(&text))],
            Self::Iptables if text.contains("<iptables-rules") => Vec::new(),
            Self::Iptables => vec![set(Tool::Iptables, dump(&text))],
            Self::Foomuuri | Self::Nftlb if name.ends_with("txt") || name.ends_with("nft") => {
                vec![set(Tool::Nft, text.clone())]
            }
            Self::Firehol | Self::Foomuuri | Self::Nftlb => Vec::new(),
        };
        sets.into_iter().filter(has_rules).collect()
    }
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().map(Result::unwrap) {
        match entry.file_type().unwrap().is_dir() {
            true => walk(&entry.path(), files),
            false => files.push(entry.path()),
        }
    }
}

/// Chains that each table has of the kernel's.
fn base(table: &str) -> &'static [&'static str] {
    match table {
        "mangle" => &["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"],
        "nat" => &["PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"],
        "raw" => &["PREROUTING", "OUTPUT"],
        _ => &["INPUT", "FORWARD", "OUTPUT"],
    }
}

/// The calls of iptables in a script, and what it writes for iptables-restore, as one dump. Calls with variables of the shell
/// are about addresses that the script finds out, and are no rules yet.
fn script(text: &str, word: &str, tool: Tool) -> String {
    let mut tables: Vec<(String, Vec<String>)> = Vec::new();
    let mut add = |table: &str, line: String| {
        let place = tables.iter().position(|(own, _)| own == table);
        let place = place.unwrap_or_else(|| {
            tables.push((table.to_owned(), Vec::new()));
            tables.len() - 1
        });
        tables[place].1.push(line);
    };
    let mut open = String::new();
    for line in text.lines().map(str::trim) {
        if let Some(rest) = line.strip_prefix(word).filter(|rest| !rest.contains(['$', '`', '|', ';', '>'])) {
            let (table, rest) = match rest.trim().strip_prefix("-t ") {
                Some(rest) => rest.trim().split_once(' ').unwrap_or((rest, "")),
                None => ("filter", rest.trim()),
            };
            let rest = rest.trim();
            if let Some(chain) = rest.strip_prefix("-N ") {
                add(table, format!(":{} - [0:0]", chain.split_whitespace().next().unwrap()));
            } else if rest.starts_with("-A ") {
                add(table, rest.to_owned());
            }
        } else if let Some(written) = line.strip_prefix("echo ").filter(|_| tool == Tool::Iptables) {
            let written = written.trim_matches(['"', '\'']).trim();
            if let Some(table) = written.strip_prefix('*') {
                open = table.to_owned();
            } else if (written.starts_with("-A ") || written.starts_with(':')) && !written.contains(['$', '`']) {
                add(&open, written.to_owned());
            }
        }
    }
    let mut out = String::new();
    for (table, lines) in &tables {
        out += &format!("*{table}\n");
        for chain in base(table) {
            out += &format!(":{chain} ACCEPT [0:0]\n");
        }
        let is_base = |line: &str| base(table).iter().any(|chain| line.starts_with(&format!(":{chain} ")));
        let mut named: Vec<&String> =
            lines.iter().filter(|line| line.starts_with(':') && !is_base(line.as_str())).collect();
        named.dedup();
        let rules = lines.iter().filter(|line| line.starts_with('-') && is_whole(line));
        for line in named.into_iter().chain(rules) {
            out += &modern(line);
            out.push('\n');
        }
        out += "COMMIT\n";
    }
    out
}

/// Not of hosts by name, which a resolver would be asked for, nor of the target ULOG, which the kernel has not had since 3.17.
fn is_whole(line: &str) -> bool {
    let words: Vec<&str> = line.split_whitespace().filter(|word| *word != "!").collect();
    let is_number = |word: &str| word.contains(':') || word.starts_with(|c: char| c.is_ascii_digit());
    !line.contains("-j ULOG") && words.windows(2).all(|pair| !["-s", "-d"].contains(&pair[0]) || is_number(pair[1]))
}

/// `-s ! NET` is how iptables had it before 1.4.3; its own programs read `! -s NET` alone today.
fn modern(line: &str) -> String {
    let mut words: Vec<&str> = line.split_whitespace().collect();
    for place in 1..words.len() {
        if words[place] == "!" && words[place - 1].starts_with('-') {
            words.swap(place - 1, place);
        }
    }
    words.join(" ")
}

/// A dump without what is about packets that were counted, and with no negation of old.
fn dump(text: &str) -> String {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#') && is_whole(line));
    let line = |line: &str| if line.contains(" ! ") { modern(line) } else { line.to_owned() };
    lines.map(|text| line(text) + "\n").collect()
}
