//! The files that are shipped: made of this source, and of nothing that the agent does not export.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use lanekeeper::metrics::{Kind, METRICS, Metric};
use lanekeeper_dashboards::query::TARGET;
use lanekeeper_dashboards::{boards, files, rules};
use serde_json::Value;

fn shipped(name: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

fn dashboards() -> Vec<Value> {
    let names = boards::all().into_iter().map(|board| format!("{}.json", board.name));
    names.map(|name| serde_json::from_str(&shipped(&name)).unwrap()).collect()
}

/// Metrics of the agent and recorded ones, with their labels.
fn exported() -> BTreeMap<String, BTreeSet<&'static str>> {
    let labels = |own: &[&'static str]| own.iter().copied().chain(TARGET).collect::<BTreeSet<_>>();
    let recorded = rules::recorded().into_iter().map(|rule| (rule.metric.name.to_owned(), labels(rule.metric.labels)));
    let series = |metric: &Metric| match metric.kind {
        Kind::Counter | Kind::Gauge => (metric.name.to_owned(), labels(metric.labels)),
        Kind::Histogram => {
            (format!("{}_bucket", metric.name), labels(metric.labels).into_iter().chain(["le"]).collect())
        }
    };
    METRICS.iter().map(series).chain(recorded).collect()
}

/// Each metric in the text, with what stands in the braces behind it.
fn metrics(text: &str) -> Vec<(&str, &str)> {
    let part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find("lanekeeper_") {
        let start = rest[..start].rfind(|c| !part(c)).map_or(0, |before| before + 1);
        let name = &rest[start..][..rest[start..].find(|c| !part(c)).unwrap_or(rest.len() - start)];
        rest = &rest[start + name.len()..];
        let braces = rest.strip_prefix('{').and_then(|rest| rest.split_once('}'));
        found.push((name, braces.map_or("", |(inside, _)| inside)));
    }
    found
}

/// Every string at a key of this name, at any depth.
fn strings<'a>(value: &'a Value, key: &str, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(map) => {
            found.extend(map.get(key).and_then(Value::as_str));
            map.values().for_each(|value| strings(value, key, found));
        }
        Value::Array(list) => list.iter().for_each(|value| strings(value, key, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn see_files_are_what_their_source_makes() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let stale: Vec<String> =
        files::all().into_iter().filter(|file| !file.is_in(folder)).map(|file| file.name).collect();
    assert!(stale.is_empty(), "{stale:?}: run `cargo xtask dashboards`");
}

#[test]
fn see_no_file_names_a_metric_or_a_label_that_is_not_exported() {
    let exported = exported();
    let mut seen = BTreeSet::new();
    let mut texts: Vec<String> = ["rules.yml", "rules.test.yml"].map(shipped).to_vec();
    for board in dashboards() {
        for key in ["expr", "query"] {
            let mut found = Vec::new();
            strings(&board, key, &mut found);
            texts.extend(found.into_iter().map(str::to_owned));
        }
    }
    for text in &texts {
        for (name, inside) in metrics(text) {
            let labels = exported.get(name).unwrap_or_else(|| panic!("{name} is not exported: {text}"));
            // Values hold no comma and no equals sign.
            for label in
                inside.split(',').filter_map(|matcher| matcher.split('=').next()).filter(|label| !label.is_empty())
            {
                assert!(labels.contains(label), "{name} has no label {label}: {text}");
            }
            seen.insert(name);
        }
    }
    let unseen: Vec<&str> = METRICS
        .iter()
        .map(|metric| metric.name)
        .filter(|name| !seen.iter().any(|seen| seen == name || seen.strip_suffix("_bucket") == Some(name)))
        .collect();
    assert!(unseen.is_empty(), "exported, and shown nowhere: {unseen:?}");
}

#[test]
fn see_links_lead_to_dashboards_that_are_there_and_set_variables_of_theirs() {
    let boards = dashboards();
    let variables = |uid: &str| {
        let board = boards.iter().find(|board| board["uid"] == uid).unwrap_or_else(|| panic!("no dashboard {uid}"));
        let list = board["templating"]["list"].as_array().unwrap();
        list.iter().map(|variable| variable["name"].as_str().unwrap().to_owned()).collect::<BTreeSet<_>>()
    };
    let mut links = 0;
    for board in &boards {
        assert_eq!(board["links"][0]["tags"][0], board["tags"][0]);
        let mut urls = Vec::new();
        strings(board, "url", &mut urls);
        for url in urls.into_iter().filter(|url| !url.is_empty()) {
            let (uid, query) = url.strip_prefix("/d/").and_then(|url| url.split_once('?')).unwrap();
            let there = variables(uid);
            let set: Vec<&str> =
                query.split('&').filter_map(|part| Some(part.strip_prefix("var-")?.split_once('=')?.0)).collect();
            assert!(!set.is_empty() && set.iter().all(|variable| there.contains(*variable)), "{url}: {there:?}");
            links += 1;
        }
    }
    assert!(links >= 3, "{links}");
}

#[test]
fn see_no_file_holds_an_id_of_a_site() {
    for board in dashboards() {
        assert!(board.get("id").is_none() && board.get("__inputs").is_none());
        let mut uids = Vec::new();
        strings(&board, "uid", &mut uids);
        for uid in uids {
            assert!(uid == "${datasource}" || uid.starts_with("lanekeeper-"), "{uid}");
        }
    }
}

#[test]
fn see_panels_do_not_cover_each_other() {
    for board in dashboards() {
        let panels = board["panels"].as_array().unwrap();
        let place = |panel: &Value| ["x", "y", "w", "h"].map(|key| panel["gridPos"][key].as_u64().unwrap());
        let mut taken = BTreeMap::new();
        for panel in panels {
            let [x, y, w, h] = place(panel);
            for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
                let other = taken.insert(cell, &panel["title"]);
                assert_eq!(other, None, "{} and {}", board["title"], panel["title"]);
            }
        }
    }
}
