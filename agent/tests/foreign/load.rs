//! A set in the kernel, and what its tools dump of it.

use std::collections::{BTreeMap, BTreeSet};

use lanekeeper::import::{self, Imported, LeftOut, Traffic};
use serde_json::{Value, json};

use crate::imported::packet::INGRESS;
use crate::router::Router;
use crate::set::{Form, Set, Tool};

/// Marks that verdicts become: few, so that classes stay few.
const MARKS: usize = 13;

/// One form of a set, as a tool dumped it.
pub struct Copy {
    form: Form,
    tool: Tool,
    /// Programs and what they are given, that bring it into the kernel.
    steps: Vec<(String, String)>,
    dump: String,
}

impl Copy {
    pub fn form(&self) -> Form {
        self.form
    }

    pub fn dump(&self) -> &str {
        &self.dump
    }

    pub fn import(&self) -> Result<Imported, import::Error> {
        match self.tool {
            Tool::Iptables | Tool::Ip6tables => import::iptables::import("dump", &self.dump, Traffic::Forwarded),
            Tool::Nft => import::nft::import("dump", &self.dump, Traffic::Forwarded),
        }
    }

    /// How many rules it has.
    pub fn rules(&self) -> usize {
        match self.tool {
            Tool::Iptables | Tool::Ip6tables => self.dump.lines().filter(|line| line.starts_with("-A ")).count(),
            Tool::Nft => objects(&self.dump).iter().filter(|object| object.get("rule").is_some()).count(),
        }
    }

    /// The links that packets come in by: the two that the most rules ask for.
    pub fn links(&self) -> Vec<String> {
        let mut names: BTreeMap<String, usize> = BTreeMap::new();
        match self.tool {
            Tool::Iptables | Tool::Ip6tables => {
                let words: Vec<&str> = self.dump.split_whitespace().collect();
                for pair in words.windows(2).filter(|pair| pair[0] == "-i") {
                    *names.entry(pair[1].to_owned()).or_default() += 1;
                }
            }
            Tool::Nft => strings(&Value::Array(objects(&self.dump)), "iifname", &mut names),
        }
        let own = |name: &str| ["lo", "wan", "far"].contains(&name) || name.starts_with("peer");
        let whole = |name: &str| !name.contains(['+', '*', '"', '\'', '/']) && name.len() < 16;
        let mut names: Vec<(usize, String)> = names
            .into_iter()
            .filter(|(name, _)| !own(name) && whole(name))
            .map(|(name, times)| (times, name))
            .collect();
        names.sort_by(|one, other| other.cmp(one));
        names.into_iter().map(|(_, name)| name).chain(INGRESS.map(str::to_owned)).take(2).collect()
    }

    /// Loads it without the rules that are listed.
    pub fn take_out(&self, router: &Router, left_out: &[LeftOut]) {
        flush(router);
        match self.tool {
            Tool::Iptables | Tool::Ip6tables => {
                let lines: BTreeSet<usize> = left_out
                    .iter()
                    .filter(|lost| lost.rule.starts_with("-A "))
                    .map(|lost| lost.place.strip_prefix("dump:").unwrap().parse().unwrap())
                    .collect();
                let kept = self.dump.lines().enumerate().filter(|(place, _)| !lines.contains(&(place + 1)));
                let text: String = kept.map(|(_, line)| format!("{line}\n")).collect();
                router.pipe(&[&restore(self.tool)], &text);
            }
            Tool::Nft => {
                load(router, &self.steps).unwrap();
                let listed = left_out.iter().filter_map(|lost| handle(&lost.place));
                let listed: BTreeSet<(String, u64)> = listed.collect();
                let rules = objects(&self.dump).into_iter().filter_map(|object| object.get("rule").cloned());
                let taken = rules.filter(|rule| listed.contains(&place(rule)));
                commands(router, taken.map(|rule| json!({"delete": {"rule": rule}})).collect()).unwrap();
            }
        }
    }
}

/// Brings steps into a kernel that has nothing else.
fn load(router: &Router, steps: &[(String, String)]) -> Result<(), String> {
    flush(router);
    for (program, text) in steps {
        let words: Vec<&str> = program.split(' ').collect();
        router.try_pipe(&words, text)?;
    }
    Ok(())
}

fn commands(router: &Router, list: Vec<Value>) -> Result<String, String> {
    router.try_pipe(&NFT_JSON.split(' ').collect::<Vec<_>>(), &json!({ "nftables": list }).to_string())
}

const NFT_JSON: &str = "nft -j -f -";

/// `TABLE CHAIN` and handle of `dump: ip filter INPUT handle 7`.
fn handle(place: &str) -> Option<(String, u64)> {
    let (chain, handle) = place.strip_prefix("dump: ")?.split_once(" handle ")?;
    Some((chain.to_owned(), handle.parse().ok()?))
}

fn place(rule: &Value) -> (String, u64) {
    let text = |key: &str| rule[key].as_str().unwrap_or_default();
    (format!("{} {} {}", text("family"), text("table"), text("chain")), rule["handle"].as_u64().unwrap_or_default())
}

fn objects(dump: &str) -> Vec<Value> {
    let whole: Value = serde_json::from_str(dump).unwrap();
    whole["nftables"].as_array().unwrap().clone()
}

/// Strings beside what is looked at where that is this key.
fn strings(value: &Value, key: &str, names: &mut BTreeMap<String, usize>) {
    match value {
        Value::Array(list) => list.iter().for_each(|value| strings(value, key, names)),
        Value::Object(object) => {
            if object.get("left").is_some_and(|left| left["meta"]["key"] == key) {
                all_strings(&object["right"], names);
            }
            object.values().for_each(|value| strings(value, key, names));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn all_strings(value: &Value, names: &mut BTreeMap<String, usize>) {
    match value {
        Value::String(name) => *names.entry(name.clone()).or_default() += 1,
        Value::Array(list) => list.iter().for_each(|value| all_strings(value, names)),
        Value::Object(object) => object.values().for_each(|value| all_strings(value, names)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn restore(tool: Tool) -> String {
    match tool {
        Tool::Ip6tables => "ip6tables-legacy-restore".to_owned(),
        Tool::Iptables | Tool::Nft => "iptables-legacy-restore".to_owned(),
    }
}

/// Tables without rules or chains of anybody's.
const EMPTY: &str =
    "*filter\n:INPUT ACCEPT\n:FORWARD ACCEPT\n:OUTPUT ACCEPT\nCOMMIT\n*mangle\nCOMMIT\n*raw\nCOMMIT\n*nat\nCOMMIT\n";

fn flush(router: &Router) {
    for tool in [Tool::Iptables, Tool::Ip6tables] {
        router.pipe(&[&restore(tool)], EMPTY);
    }
    router.pipe(&["nft", "-f", "-"], "flush ruleset\n");
}

/// The dump of a set that the kernel took, without the lines that this machine's iptables or kernel refuses.
fn dumped(router: &Router, set: &Set, text: &str) -> Option<String> {
    let mut lines: Vec<&str> = text.lines().collect();
    let bound = lines.len() / 4;
    flush(router);
    for refused in 0..=bound {
        match router.try_pipe(&[&restore(set.tool)], &(lines.join("\n") + "\n")) {
            Ok(_) => {
                if refused > 0 {
                    println!("{}: {refused} lines are refused", set.name);
                }
                return Some(router.pipe(&[&restore(set.tool).replace("restore", "save")], ""));
            }
            Err(error) => {
                let Some(line) = failed(&error).filter(|line| (1..=lines.len()).contains(line)) else {
                    println!("{}: refused: {error}", set.name);
                    return None;
                };
                // A table is committed as a whole: which of its rules the kernel does not take, it does not say.
                if lines[line - 1] == "COMMIT" {
                    println!("{}: refused by the kernel: {error}", set.name);
                    return None;
                }
                lines.remove(line - 1);
            }
        }
    }
    println!("{}: more than {bound} lines are refused", set.name);
    None
}

/// The line that iptables-restore says it failed at.
fn failed(error: &str) -> Option<usize> {
    let after = |words: &str| error.split_once(words).map(|(_, rest)| rest);
    let rest = after("occurred at line: ").or_else(|| after("line "))?;
    rest.chars().take_while(char::is_ascii_digit).collect::<String>().parse().ok()
}

/// The forms that a set's dump has.
fn forms(dump: &str) -> Vec<(Form, String)> {
    let mut forms = Vec::new();
    let marking = tables(dump, &|lines| lines.iter().any(|line| line.contains("-j MARK ")));
    if !marking.is_empty() {
        let stateless = stateless(&marking);
        if stateless != marking {
            forms.push((Form::Stateless, stateless));
        }
        forms.push((Form::Whole, marking));
    }
    let filter = tables(dump, &|lines| lines[0] == "*filter");
    if !filter.is_empty() {
        forms.push((Form::Marked, marked(&stateless(&filter))));
    }
    forms
}

/// The tables that are wanted: one that drops packets leaves none to look at, and one that translates other ones.
fn tables(dump: &str, wanted: &dyn Fn(&[&str]) -> bool) -> String {
    let lines: Vec<&str> = dump.lines().filter(|line| !line.starts_with('#')).collect();
    let tables = lines.split_inclusive(|line| *line == "COMMIT").filter(|lines| !lines.is_empty() && wanted(lines));
    tables.map(|lines| lines.join("\n") + "\n").collect()
}

/// Rules as the first packet of a connection meets them: those for such packets ask no more for that, others are not there.
fn stateless(dump: &str) -> String {
    let mut out = String::new();
    'lines: for line in dump.lines() {
        let mut words: Vec<&str> = line.split(' ').collect();
        for (name, option) in [("state", "--state"), ("conntrack", "--ctstate")] {
            while let Some(place) = words
                .windows(4)
                .position(|four| four[..2] == ["-m", name] && (four[2] == option || four[2..] == ["!", option]))
            {
                if words[place + 2] == "!" || !words[place + 3].split(',').any(|state| state == "NEW") {
                    continue 'lines;
                }
                words.drain(place..place + 4);
            }
        }
        out += &words.join(" ");
        out.push('\n');
    }
    out
}

/// Rules that accept, drop or reject mark instead, and end the chain as they did.
fn marked(dump: &str) -> String {
    let mut out = String::new();
    let mut mark = 0;
    for line in dump.lines() {
        if let Some(chain) = line.strip_prefix(':') {
            out += &format!(":{}\n", chain.replace(" DROP ", " ACCEPT "));
            continue;
        }
        let verdict = ["-j ACCEPT", "-j DROP", "-j REJECT"].iter().find_map(|target| line.find(target));
        match verdict {
            Some(place) => {
                mark = mark % MARKS + 1;
                let asked = &line[..place];
                out += &format!("{asked}-j MARK --set-xmark {mark:#x}/0xffffffff\n{asked}-j ACCEPT\n");
            }
            None => out += &format!("{line}\n"),
        }
    }
    out
}

/// A set of iptables in its forms.
pub fn iptables(router: &Router, set: &Set) -> Vec<Copy> {
    let Some(dump) = dumped(router, set, &set.text) else { return Vec::new() };
    let copy = |(form, text): (Form, String)| {
        flush(router);
        router.pipe(&[&restore(set.tool)], &text);
        let dump = router.pipe(&[&restore(set.tool).replace("restore", "save")], "");
        Copy { form, tool: set.tool, steps: Vec::new(), dump: tables(&dump, &|_| true) }
    };
    // What the header says, which tells the two tools apart.
    let named = |mut copy: Copy| {
        let name = if set.tool == Tool::Ip6tables { "ip6tables-save" } else { "iptables-save" };
        copy.dump = format!("# Generated by {name}\n{}", copy.dump);
        copy
    };
    forms(&dump).into_iter().map(copy).map(named).collect()
}

/// A set of nft, or one of iptables in nft's own words as iptables itself translates it.
pub fn nft(router: &Router, set: &Set) -> Vec<Copy> {
    let copy = |form, steps: Vec<(String, String)>| match load(router, &steps) {
        Ok(()) => {
            let dump = router.pipe(&["nft", "-j", "list", "ruleset"], "");
            Some(Copy { form, tool: Tool::Nft, steps, dump })
        }
        Err(error) => {
            println!("{} ({form:?}): refused: {}", set.name, error.lines().next().unwrap_or_default());
            None
        }
    };
    if set.tool == Tool::Nft {
        let whole = vec![("nft -f -".to_owned(), set.text.clone())];
        let Some(mut first) = copy(Form::Whole, whole) else { return Vec::new() };
        let marked = json!({ "nftables": mark_verdicts(objects(&first.dump)) }).to_string();
        let steps = first.steps.iter().cloned().chain([(NFT_JSON.to_owned(), marked)]).collect();
        let mut copies = Vec::from_iter(copy(Form::Marked, steps));
        if first.dump.contains(r#""mangle""#) {
            // Where its filters drop, nothing is left to look at.
            let open = json!({ "nftables": policies(objects(&first.dump)) }).to_string();
            first.steps.push((NFT_JSON.to_owned(), open));
            copies.push(first);
        }
        return copies;
    }
    let Some(dump) = dumped(router, set, &set.text) else { return Vec::new() };
    let translate = match set.tool {
        Tool::Ip6tables => "ip6tables-restore-translate",
        Tool::Iptables | Tool::Nft => "iptables-restore-translate",
    };
    let translated = |text: &str| vec![("nft -f -".to_owned(), router.pipe(&[translate, "-f", "/dev/stdin"], text))];
    forms(&dump).into_iter().filter_map(|(form, text)| copy(form, translated(&text))).collect()
}

/// Commands that let each chain accept what its rules do not decide on.
fn policies(objects: Vec<Value>) -> Vec<Value> {
    let chains = objects.into_iter().filter_map(|object| object.get("chain").cloned());
    let open = chains.filter(|chain| chain["policy"] == "drop").map(|mut chain| {
        chain["policy"] = "accept".into();
        json!({"add": {"chain": chain}})
    });
    open.collect()
}

/// Commands that do what [`stateless`] and [`marked`] do.
fn mark_verdicts(objects: Vec<Value>) -> Vec<Value> {
    let mut commands = policies(objects.clone());
    let mut mark = 0;
    for mut rule in objects.into_iter().filter_map(|object| object.get("rule").cloned()) {
        let before = rule.clone();
        let list = rule["expr"].as_array_mut().unwrap();
        let asks = |part: &Value| part["match"]["left"]["ct"]["key"] == "state";
        if list.iter().any(|part| asks(part) && (part["match"]["op"] == "!=" || !part.to_string().contains("\"new\"")))
        {
            commands.push(json!({"delete": {"rule": rule}}));
            continue;
        }
        list.retain(|part| !asks(part));
        let ends = |part: &Value| ["accept", "drop", "reject"].iter().any(|verdict| part.get(verdict).is_some());
        if list.last().is_some_and(ends) {
            mark = mark % MARKS + 1;
            list.pop();
            list.push(json!({"mangle": {"key": {"meta": {"key": "mark"}}, "value": mark}}));
            list.push(json!({"accept": null}));
        }
        // nft cannot read all that it writes: what is as it was stays.
        if rule != before {
            commands.push(json!({"replace": {"rule": rule}}));
        }
    }
    commands
}
