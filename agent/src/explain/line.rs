//! A verdict by the file's names, for `--json` and for eyes.

use std::fmt::Write;

use serde::Serialize;

use super::live::{self, Passage};
use super::near::Near;
use crate::model::Verdict;
use crate::policy::{Policy, Rule, TunnelIndex};

/// What becomes of one packet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    /// From 1.
    pub packet: u64,
    /// Whose it is; `null` for nobody's.
    pub tenant: Option<String>,
    /// What decided: a rule's name, or its place in the file where it has none; `null` where the default applied.
    pub rule: Option<String>,
    /// Its class.
    pub class: String,
    /// What it leaves with, bits of others as it came with them; `null` where it does not leave.
    pub mark: Option<u32>,
    /// The tunnel that its destination leads to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tunnel: Option<String>,
    /// `CLASS.INDEX`, of its own class or of one that this falls back to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lane: Option<String>,
    /// Why it was not wholly read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unparsed: Option<&'static str>,
    /// Why it is dropped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blocked: Option<&'static str>,
    /// Its way through this machine, where the file runs here.
    #[serde(flatten)]
    pub live: Option<Passage>,
    /// The rules that nearly decided, where they were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub near: Option<Vec<Near>>,
}

impl Line {
    /// By the names of the policy. Without a tunnel there is neither lane nor mark.
    pub fn new(policy: &Policy, packet: u64, tunnel: Option<TunnelIndex>, verdict: &Verdict) -> Self {
        let blocked = tunnel.and(verdict.blocked).map(|reason| reason.name());
        Self {
            packet,
            tenant: verdict.tenant.map(|tenant| policy.tenants[tenant.0].name.clone()),
            rule: verdict.rule.map(|rule| rule_name(&policy.rules[rule])),
            class: policy.classes[verdict.class.0].name.clone(),
            mark: tunnel.filter(|_| blocked.is_none()).map(|_| verdict.mark),
            tunnel: tunnel.map(|tunnel| policy.tunnels[tunnel.0].name.clone()),
            lane: tunnel.and(verdict.lane.as_ref()).map(|lane| format!("{}.{}", lane.class, lane.index)),
            unparsed: verdict.parse.map(|reason| reason.name()),
            blocked,
            live: None,
            near: None,
        }
    }

    /// One JSON object, without its newline.
    pub fn json(&self) -> String {
        serde_json::to_string(self).expect("our own types serialise")
    }

    /// One line of a table under [`head`], without its newline.
    pub fn row(&self) -> String {
        let cell = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        let mut row =
            format!("{:>6}  {:<10}  {:<20}  {:<10}  ", self.packet, cell(&self.tenant), cell(&self.rule), self.class);
        let _ = match &self.live {
            None => write!(row, "{:<10}  {}", cell(&self.lane), self.fate()),
            Some(live) => write!(row, "{:<10}  {:<16}  {}", cell(&self.lane), self.fate(), live.row()),
        };
        row
    }

    /// Several lines with their names in front.
    pub fn text(&self) -> String {
        let none = |text: &Option<String>, none: &str| text.clone().unwrap_or_else(|| none.to_owned());
        let mut text = String::new();
        let _ = writeln!(text, "tenant  {}", none(&self.tenant, "none"));
        let _ = writeln!(text, "rule    {}", none(&self.rule, "none matched: the default"));
        let _ = writeln!(text, "class   {}", self.class);
        let lost = match self.live {
            None => "none: no tunnel has a route to its destination",
            Some(_) => "none: it does not leave by the device of one",
        };
        let _ = writeln!(text, "tunnel  {}", none(&self.tunnel, lost));
        let _ = writeln!(text, "lane    {}", none(&self.lane, "none"));
        let _ = writeln!(text, "mark    {}", self.fate());
        if let Some(reason) = self.unparsed {
            let _ = writeln!(text, "unread  {reason}");
        }
        if let Some(live) = &self.live {
            text += &live.text();
        }
        for near in self.near.iter().flatten() {
            let _ = writeln!(text, "near    {near}");
        }
        text
    }

    fn fate(&self) -> String {
        match (self.mark, self.blocked) {
            (Some(mark), None) => format!("{mark:#x}"),
            (_, Some(reason)) => format!("dropped: {reason}"),
            (None, None) => "-".to_owned(),
        }
    }
}

/// Over the rows of [`Line::row`], of lines with or without their way through this machine.
pub fn head(live: bool) -> String {
    let head = "packet  tenant      rule                  class       lane        mark";
    if live { format!("{head:<82}  {}", live::HEAD) } else { head.to_owned() }
}

/// As a rule is called: by its name, or by its place where it has none.
pub fn rule_name(rule: &Rule) -> String {
    rule.name.clone().unwrap_or_else(|| rule.place.clone())
}

#[cfg(test)]
mod tests {
    use lanekeeper_common::verdict::{BlockReason, ParseReason};

    use super::*;
    use crate::lane::LaneId;
    use crate::policy::ClassIndex;
    use crate::status::tests::policy;

    fn named() -> Policy {
        let rule = |name: Option<&str>, place: &str| Rule {
            name: name.map(str::to_owned),
            place: place.to_owned(),
            ..Rule::default()
        };
        Policy { rules: vec![rule(Some("sip"), "a.toml:1:1"), rule(None, "a.toml:9:1")], ..policy() }
    }

    fn verdict() -> Verdict {
        Verdict {
            tenant: None,
            rule: Some(0),
            class: ClassIndex(1),
            lane: Some(LaneId { tunnel: "branch-7".into(), class: "bulk".into(), index: 1 }),
            mark: 3,
            parse: None,
            blocked: None,
            hash: 0,
        }
    }

    #[test]
    fn the_json_has_its_five_keys_first_and_the_rest_where_known() {
        let line = Line::new(&named(), 7, Some(TunnelIndex(0)), &verdict());
        assert_eq!(
            line.json(),
            r#"{"packet":7,"tenant":null,"rule":"sip","class":"bulk","mark":3,"tunnel":"branch-7","lane":"bulk.1"}"#,
        );
        let line = Line::new(&named(), 8, None, &Verdict { rule: None, ..verdict() });
        assert_eq!(line.json(), r#"{"packet":8,"tenant":null,"rule":null,"class":"bulk","mark":null}"#);
    }

    #[test]
    fn a_rule_without_a_name_goes_by_its_place() {
        let line = Line::new(&named(), 1, Some(TunnelIndex(0)), &Verdict { rule: Some(1), ..verdict() });
        assert_eq!(line.rule.as_deref(), Some("a.toml:9:1"));
    }

    #[test]
    fn what_is_dropped_or_not_read_says_why() {
        let verdict = Verdict {
            lane: None,
            mark: 0,
            parse: Some(ParseReason::Truncated),
            blocked: Some(BlockReason::NoLane),
            ..verdict()
        };
        let line = Line::new(&named(), 1, Some(TunnelIndex(0)), &verdict);
        assert!(
            line.json().ends_with(r#""mark":null,"tunnel":"branch-7","unparsed":"truncated","blocked":"no_lane"}"#)
        );
        assert!(line.text().contains("mark    dropped: no_lane\nunread  truncated\n"));
        assert!(line.row().ends_with("dropped: no_lane"));
    }

    #[test]
    fn rows_stand_under_their_head() {
        let row = Line::new(&named(), 1, Some(TunnelIndex(0)), &verdict()).row();
        for (word, cell) in [("rule", "sip"), ("class", "bulk "), ("lane", "bulk.1"), ("mark", "0x3")] {
            assert_eq!(head(false).find(word), row.find(cell), "{word}");
        }
    }
}
