//! Every panel of every dashboard, drawn by Grafana's own components in Debian's Chromium, of what Prometheus answers about a
//! day. The pictures stay in `target/panels`; README shows some of them.

mod history;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};
use xtask::lab::board::{Board, NAMES};
use xtask::lab::browser::{Browser, Log};
use xtask::lab::prometheus::{Asker, Prometheus};
use xtask::setup::grafana;
use xtask::setup::prometheus::{Programs, Release, find};
use xtask::workspace::Workspace;

use self::history::{CONGESTION, DAY, FAILURE, openmetrics};

/// What Grafana takes for four scrapes.
const RATE_INTERVAL: &str = "4m";

/// Between two points of a curve, in seconds.
const POINT: u64 = 120;

/// Until all panels are drawn: there is no graphics card, and builds may have the processors meanwhile.
const PATIENCE: Duration = Duration::from_secs(90);

/// What is seen of each panel: text, and how many points of its canvases are neither empty nor grey.
const SEEN: &str = r#"
return [...document.querySelectorAll("[data-panel]")].map((panel, index) => {
  let coloured = 0;
  for (const canvas of panel.querySelectorAll("canvas")) {
    if (canvas.width === 0 || canvas.height === 0) continue;
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    for (let at = 0; at < data.length; at += 4) {
      const [red, green, blue, alpha] = data.subarray(at, at + 4);
      if (alpha > 60 && Math.max(red, green, blue) - Math.min(red, green, blue) > 40) coloured += 1;
    }
  }
  const { panel: title, kind } = panel.dataset;
  const nothing = window.board.panels[index].fieldConfig?.defaults.noValue ?? null;
  const empty = [...panel.querySelectorAll("[role=cell]")].filter((cell) => cell.innerText.trim() === "").length;
  return { title, kind, coloured, nothing, empty, text: panel.innerText };
});
"#;

/// A Prometheus that has seen a day.
struct Past {
    prometheus: Prometheus,
    start: u64,
    folder: tempfile::TempDir,
}

impl Past {
    fn new(workspace: &Workspace) -> Self {
        let programs = find(workspace, Release::Three).expect("`cargo xtask setup` brings Prometheus");
        let folder = tempfile::tempdir().unwrap();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        // The last whole day.
        let start = now / DAY * DAY - DAY;
        fs::write(folder.path().join("day.om"), openmetrics(start)).unwrap();
        fs::create_dir(folder.path().join("tsdb")).unwrap();
        promtool(&programs, folder.path(), &["create-blocks-from", "openmetrics", "day.om", "tsdb"]);
        let prometheus = Prometheus::over(&programs, folder.path()).unwrap();
        // As if they had run all the while.
        let (from, to) = (format!("--start={start}"), format!("--end={}", start + DAY));
        let (url, rules) = (format!("--url={}", prometheus.url()), workspace.root().join("dashboards/rules.yml"));
        let rules = rules.display().to_string();
        let each = "--eval-interval=1m";
        promtool(
            &programs,
            folder.path(),
            &["create-blocks-from", "rules", &from, &to, &url, each, "--output-dir=tsdb", &rules],
        );
        // Blocks are looked for at the start.
        drop(prometheus);
        let prometheus = Prometheus::over(&programs, folder.path()).unwrap();
        Self { prometheus, start, folder }
    }

    fn end(&self) -> u64 {
        self.start + DAY
    }

    /// What Prometheus says of a query: each series with labels and values.
    fn answer(&self, asker: &Asker, text: &str, instant: bool) -> Value {
        let (start, end, step) = (self.start.to_string(), self.end().to_string(), POINT.to_string());
        let answer = match instant {
            true => asker.api("query", &[("query", text), ("time", &end)]),
            false => asker.api("query_range", &[("query", text), ("start", &start), ("end", &end), ("step", &step)]),
        };
        answer.unwrap_or_else(|error| panic!("{text}: {error:#}"))["data"]["result"].take()
    }
}

fn promtool(programs: &Programs, folder: &Path, arguments: &[&str]) {
    let output = Command::new(&programs.promtool).arg("tsdb").args(arguments).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// The page that draws one dashboard.
fn page(bundle: &grafana::Bundle, past: &Past, board: &Board, answers: &Value) -> String {
    // As JSON may hold no tag's end.
    let data = |value: &Value| value.to_string().replace('<', "\\u003c");
    let range = json!({ "from": past.start * 1000, "to": past.end() * 1000 });
    let chosen = json!(board.chosen);
    format!(
        "<!doctype html><meta charset=utf-8><title>panels</title><link rel=stylesheet href=\"file://{}\">\
         <style>body {{ margin: 0; background: #111217 }} .nothing {{ padding: 16px; opacity: 0.7 }}</style><div id=board></div>\
         <script>window.board = {}; window.answers = {}; window.range = {}; window.chosen = {};</script>\
         <script src=\"file://{}\"></script>",
        bundle.style.display(),
        data(&board.json),
        data(answers),
        data(&range),
        data(&chosen),
        bundle.script.display()
    )
}

fn is_drawn(panel: &Value) -> bool {
    let (title, text) = (panel["title"].as_str().unwrap(), panel["text"].as_str().unwrap());
    let says_more = text.len() > title.len();
    if panel["nothing"].as_str().is_some_and(|nothing| text == format!("{title}\n{nothing}")) {
        return true;
    }
    match panel["kind"].as_str().unwrap() {
        // A headline.
        "row" => panel["text"] == panel["title"],
        "timeseries" => panel["coloured"].as_u64().unwrap() > 50 && says_more,
        _ => says_more,
    }
}

#[test]
fn see_every_panel_is_drawn_with_grafanas_components() {
    let workspace = Workspace::find().unwrap();
    let bundle = grafana::find(&workspace).expect("`cargo xtask setup` brings Grafana's components");
    let past = Past::new(&workspace);
    let asker = past.prometheus.asker();
    let pictures = workspace.target("panels");
    fs::create_dir_all(&pictures).unwrap();
    let browser = Browser::start(past.folder.path()).unwrap();
    let mut drawn = 0;
    for name in NAMES {
        let board = Board::read(&workspace, name, &asker, RATE_INTERVAL).unwrap();
        let mut answers: Map<String, Value> = Map::new();
        for query in board.queries().unwrap() {
            let answer = past.answer(&asker, &query.text, query.instant);
            let of_panel = answers.entry(query.panel.to_string()).or_insert_with(|| json!({}));
            of_panel[&query.letter] = answer;
        }
        let file = past.folder.path().join(format!("{name}.html"));
        fs::write(&file, page(&bundle, &past, &board, &Value::Object(answers))).unwrap();
        browser.resize(1500, 900).unwrap();
        browser.open(&format!("file://{}", file.display())).unwrap();
        let height = browser.run("return document.documentElement.scrollHeight").unwrap().as_u64().unwrap();
        browser.resize(1500, u32::try_from(height).unwrap()).unwrap();
        let panels = board.json["panels"].as_array().unwrap();
        let all = |seen: &Value| {
            let seen = seen.as_array().unwrap();
            seen.len() == panels.len() && seen.iter().all(is_drawn)
        };
        let seen = browser.wait_until(PATIENCE, &format!("{name} is drawn"), SEEN, all);
        fs::write(pictures.join(format!("{name}.png")), browser.picture().unwrap()).unwrap();
        let troubles = browser.run("return window.troubles").unwrap();
        // Grafana's fonts come from its server.
        let is_wrong = |entry: &Value| entry["level"] == "SEVERE" && !entry.to_string().contains("/public/fonts/");
        let said: Vec<Value> = browser.log(Log::Console).unwrap().into_iter().filter(is_wrong).collect();
        assert!(troubles == json!([]) && said.is_empty(), "{name}: {troubles}\n{said:?}");
        let seen = seen.unwrap();
        for panel in seen.as_array().unwrap() {
            let text = panel["text"].as_str().unwrap();
            assert_eq!(panel["empty"], 0, "{name}: cells of {text}");
            for wrong in ["NaN", "undefined", "Infinity", "No data"] {
                assert!(!text.contains(wrong), "{name}: {wrong}: {text}");
            }
            drawn += 1;
        }
        let elsewhere: Vec<String> =
            browser.requests().unwrap().into_iter().filter(|url| !url.starts_with("file:")).collect();
        assert!(elsewhere.iter().all(|url| url.starts_with("data:") || url.starts_with("blob:")), "{elsewhere:?}");
    }
    assert!(drawn > 40, "{drawn}");
    what_the_day_was(&past, &asker);
}

/// What pictures show of it, by number.
fn what_the_day_was(past: &Past, asker: &Asker) {
    let at = |text: &str, second: u64| {
        let time = (past.start + second).to_string();
        let answer = asker.api("query", &[("query", text), ("time", &time)]).unwrap();
        let value = answer["data"]["result"][0]["value"][1].as_str().unwrap_or_else(|| panic!("{text}: {answer}"));
        value.parse::<f64>().unwrap()
    };
    let lane = |class: &str| {
        format!(
            "rate(lanekeeper_lane_packets_total{{tunnel=\"branch-7\",class=\"{class}\",lane=\"0\",direction=\"out\",instance=~\"moon.*\"}}[4m])"
        )
    };
    let fallback = "sum(rate(lanekeeper_fallback_packets_total{instance=~\"moon.*\"}[4m]))";
    let (before, during) = (FAILURE.0 - 600, FAILURE.0 + 1200);
    assert_eq!((at(fallback, before), at(&lane("voice"), during)), (0.0, 0.0));
    let (moved, was) = (at(fallback, during), at(&lane("voice"), before));
    assert!((moved / was - 1.0).abs() < 0.3, "what fell back is what the lane had: {moved} {was}");
    assert!(at(&lane("default"), during) > at(&lane("default"), before) + moved / 2.0);
    // Full, and no class but bulk is the worse for it.
    let class = |class: &str| {
        format!(
            "sum(rate(lanekeeper_class_bytes_total{{class=\"{class}\",direction=\"out\",instance=~\"moon.*\"}}[4m]))"
        )
    };
    let (early, full) = (CONGESTION.0 - 600, CONGESTION.0 + 1800);
    assert!(at(&class("bulk"), full) > 1.5 * at(&class("bulk"), early));
    assert!((at(&class("voice"), full) / at(&class("voice"), early) - 1.0).abs() < 0.3);
    // A rekey leaves no step: the rate of a lane is nowhere far from what it was a minute before.
    let rekeys = format!(
        "increase(lanekeeper_lane_rekeys_total{{tunnel=\"branch-7\",class=\"bulk\",lane=\"0\",instance=~\"moon.*\"}}[{}s])",
        DAY - 600
    );
    assert!(at(&rekeys, DAY) > 20.0);
    let (now, before) = (lane("bulk"), lane("bulk").replace("[4m]", "[4m] offset 1m"));
    let steps = format!("max_over_time((abs({now} / {before} - 1))[6h:1m])");
    assert!(at(&steps, 36_000) < 0.1, "{}", at(&steps, 36_000));
}
