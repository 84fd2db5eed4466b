//! What `top` shows, cell by cell, of a gateway with two tunnels of which one has lost a lane.
//!
//! `SCREENS=write cargo test -p lanekeeper --test see_screen` writes the pictures anew, to be read before they are kept.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use lanekeeper::compile::series::{Direction, LaneEvent, Reading, Series};
use lanekeeper::config;
use lanekeeper::lane::{Condition, LaneId};
use lanekeeper::policy::Policy;
use lanekeeper::status::{Reload, Standing, Status};
use lanekeeper::top::{Act, Choice, LEAST, Look, Minute, Options, Rates, Sample, Screen, Sort, View, plain};
use lanekeeper_common::latency::{Delays, bucket};
use lanekeeper_common::verdict::BlockReason;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Cell;
use ratatui::crossterm::event::{KeyCode, KeyEvent};
use ratatui::style::{Color, Modifier};
use ratatui::text::Span;

const FILE: &str = r#"
[[class]]
name = "voice"
fallback = "default"
outer-dscp = "ef"
[[class]]
name = "video"
fallback = "block"
[[class]]
name = "bulk"
lanes = 2
[[class]]
name = "default"

[[tunnel]]
name = "branch-7"
local = "192.0.2.1"
remote = "192.0.2.2"
classes = ["voice", "video", "bulk", "default"]
device = { type = "xfrm", name = "lk-branch7", if-id = 42, mtu = 1400 }
routes = ["10.2.0.0/16"]
[tunnel.ike]
local-id = "moon.example"
remote-id = "sun.example"
auth = { psk-file = "/etc/lanekeeper/branch-7.psk" }

[[tunnel]]
name = "datacentre-frankfurt"
local = "192.0.2.1"
remote = "192.0.2.3"
classes = ["voice", "video", "default"]
device = { type = "xfrm", name = "lk-fra", if-id = 43, mtu = 1400 }
routes = ["10.3.0.0/16"]
[tunnel.ike]
local-id = "moon.example"
remote-id = "star.example"
auth = { psk-file = "/etc/lanekeeper/fra.psk" }

[[tenant]]
name = "acme"
sources = ["10.1.12.0/24"]

[[rule]]
name = "sip and rtp"
class = "voice"
protocol = "udp"
destination-port = ["5060"]
[[rule]]
name = "Besprechungsräume 会議室"
class = "video"
protocol = "udp"
dscp = ["af41"]
[[rule]]
name = "late backup"
tenant = "acme"
class = "bulk"
protocol = "tcp"

[default]
class = "default"
"#;

fn policy() -> Policy {
    config::parse_text("gw.toml", FILE).unwrap_or_else(|errors| panic!("{errors}")).policy
}

/// The `n`-th look, one a second: traffic swells and ebbs, voice of branch-7 is down.
fn sample(policy: &Policy, n: u64) -> Sample {
    let mut readings = Vec::new();
    // Packets until then, where each second has its share of a wave of eight.
    let until = |rate: u64| (0..n).map(|second| rate * [1, 2, 4, 6, 7, 6, 4, 2][second as usize % 8] / 4).sum::<u64>();
    let mut count = |series, rate, size| {
        readings.push(Reading { series, packets: until(rate), bytes: until(rate) * size });
    };
    let s = str::to_owned;
    for (class, rate, size) in [("voice", 50, 200), ("video", 400, 1100), ("bulk", 3_000, 1400), ("default", 20, 300)] {
        for (tenant, part) in [("", 4), ("acme", 1)] {
            count(Series::ClassOut { tenant: s(tenant), class: s(class) }, rate * part / 5, size);
            count(Series::ClassIn { tenant: s(tenant), class: s(class) }, rate * part / 10, size);
        }
        for tunnel in ["branch-7", "datacentre-frankfurt"] {
            for lane in 0..2 {
                for (direction, part) in [(Direction::Out, 1), (Direction::In, 2)] {
                    let series = Series::Lane { tunnel: s(tunnel), class: s(class), index: lane, direction };
                    count(series, rate / part / (u64::from(lane) + 1), size);
                }
            }
        }
    }
    count(Series::Fallback { tunnel: s("branch-7"), class: s("voice"), to: s("default") }, 25, 0);
    count(Series::Blocked { tenant: s("acme"), class: s("video"), reason: BlockReason::NoLane }, 8, 0);
    let event = |event| Series::Event { tunnel: s("branch-7"), class: s("bulk"), index: 1, event };
    count(event(LaneEvent::ReplayError), 4, 0);
    count(event(LaneEvent::Rekey), 1, 0);
    count(Series::Rule { tenant: s(""), rule: s("sip and rtp") }, 50, 200);
    count(Series::Rule { tenant: s(""), rule: s("Besprechungsräume 会議室") }, 400, 1100);
    count(Series::Rule { tenant: s("acme"), rule: s("late backup") }, 600, 1400);
    let mut status = Status {
        version: s("0.1.0"),
        config: s("/etc/lanekeeper/config.toml"),
        generation: 3,
        reload: Reload { success: true, at: 400, error: None },
        ..Status::of(policy, |lane| Standing {
            condition: match (lane.tunnel.as_str(), lane.class.as_str()) {
                ("branch-7", "voice") => Condition::Down,
                (_, "default") => Condition::OnDemand,
                (_, _) => Condition::Up,
            },
            since: 900,
        })
    };
    status.tunnels[0].trouble = Some(s("initiating voice.0: the peer does not answer"));
    // A second of queue before bulk, and none before the others; nothing of default's lanes is timed.
    let mut delays = BTreeMap::new();
    for (tunnel, class, index, packets, microseconds) in [
        ("branch-7", "voice", 0, 3, 150),
        ("branch-7", "video", 0, 20, 150),
        ("branch-7", "bulk", 0, 150, 103_000),
        ("branch-7", "bulk", 1, 75, 1_200_000),
        ("datacentre-frankfurt", "voice", 0, 2, 8),
        ("datacentre-frankfurt", "video", 0, 20, 4_000),
    ] {
        let mut timed = Delays::default();
        timed.buckets[bucket(microseconds * 1000)] = n * packets;
        delays.insert(LaneId { tunnel: s(tunnel), class: s(class), index }, timed);
    }
    Sample::of(policy, status, &readings, &delays, n * 1_000_000, 1_000 + n)
}

/// After eleven looks, the first of which is only to compare with.
fn screen(options: Options) -> Screen {
    screen_of(&policy(), options)
}

fn screen_of(policy: &Policy, options: Options) -> Screen {
    let mut screen = Screen::new(Options { delay: Duration::from_secs(1), ..options });
    for n in 0..=12 {
        screen.on_sample(sample(policy, n), Duration::from_secs(n));
    }
    screen
}

fn types(screen: &mut Screen, keys: &str) {
    for key in keys.chars() {
        let code = if key == '\n' { KeyCode::Enter } else { KeyCode::Char(key) };
        assert_eq!(screen.on_key(KeyEvent::from(code)), Act::Show);
    }
}

fn terminal(screen: &mut Screen, (width, height): (u16, u16), second: u64) -> Terminal<TestBackend> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| screen.draw(frame, Duration::from_secs(second))).unwrap();
    terminal
}

fn picture(screen: &mut Screen, size: (u16, u16), second: u64) -> String {
    let terminal = terminal(screen, size, second);
    let lines = terminal.backend().buffer().content().chunks(usize::from(size.0));
    let text = |line: &[Cell]| {
        let mut covered = 0;
        let mut text = String::new();
        for cell in line {
            if covered == 0 {
                text += cell.symbol();
                // A wide letter covers the cell behind it.
                covered = Span::raw(cell.symbol()).width().max(1);
            }
            covered -= 1;
        }
        text.trim_end().to_owned() + "\n"
    };
    lines.map(text).collect()
}

fn compare(name: &str, picture: &str) {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/see_screen/{name}.txt"));
    if std::env::var("SCREENS").is_ok_and(|word| word == "write") {
        std::fs::write(&file, picture).unwrap();
    }
    let kept = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(kept == picture, "{} differs; now it is\n{picture}", file.display());
}

#[test]
fn see_each_view_at_both_sizes() {
    for (name, size) in [("80x24", (80, 24)), ("200x60", (200, 60))] {
        for (digit, view) in ('1'..='5').zip(View::ALL) {
            let mut screen = screen(Options::default());
            types(&mut screen, &digit.to_string());
            compare(&format!("{}-{name}", view.name()), &picture(&mut screen, size, 12));
        }
    }
}

/// The policy of a file that asks how long packets take to the wire.
fn timed() -> Policy {
    Policy { latency_every: Some(1024), ..policy() }
}

#[test]
fn see_latencies_where_the_file_asks_for_them() {
    let picture = |keys: &str, size| {
        let mut screen = screen_of(&timed(), Options::default());
        types(&mut screen, keys);
        picture(&mut screen, size, 12)
    };
    compare("timed-classes-80x24", &picture("1", (80, 24)));
    compare("timed-lanes-80x24", &picture("2", (80, 24)));
    compare("timed-lanes-200x60", &picture("2", (200, 60)));
    // Of both lanes of video together, of one lane, of one that has timed nothing, and of one with a greater sorrow.
    for (keys, said) in [
        ("1j", "to the wire: 99 of 100 took 5ms at most, of 480 timed in a minute"),
        ("2", "to the wire: 99 of 100 took 200ms at most, of 1,800 timed in a minute"),
        ("2G", "to the wire: no packet timed in a minute"),
        ("2/7/voice", "initiating voice.0: the peer does not answer"),
    ] {
        let picture = picture(keys, (80, 24));
        assert!(picture.lines().nth(22).is_some_and(|line| line == said), "{keys}: {picture}");
    }
    // What has no room for them goes without.
    assert!(!picture("2", LEAST).contains("P99"));
}

#[test]
fn see_the_help_at_80x24() {
    let mut screen = screen(Options::default());
    types(&mut screen, "?");
    compare("help-80x24", &picture(&mut screen, (80, 24), 12));
}

#[test]
fn see_order_and_filter_as_they_are_typed() {
    let mut screen = screen(Options::default());
    types(&mut screen, "2NRj/BRANCH-7");
    compare("filter-80x24", &picture(&mut screen, (80, 24), 12));
}

#[test]
fn see_a_lost_agent_and_its_return() {
    let mut screen = screen(Options::default());
    screen.on_lost(
        "/run/lanekeeper/control.sock: no lanekeeper answers there (No such file or directory); start `lanekeeper run` or \
         name its socket with --socket"
            .to_owned(),
    );
    compare("lost-80x24", &picture(&mut screen, (80, 24), 95));
    // Its counters have gone on, or have begun again: no rate is negative, and the picture is as ever.
    screen.on_sample(sample(&policy(), 1), Duration::from_secs(96));
    screen.on_sample(sample(&policy(), 12), Duration::from_secs(97));
    let after = picture(&mut screen, (80, 24), 97);
    assert!(!after.contains("DOES NOT ANSWER") && after.contains("every 1s"), "{after}");
    let is_negative =
        |word: &str| word.strip_prefix('-').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    assert!(!after.split_whitespace().any(is_negative), "{after}");
}

#[test]
fn see_a_late_answer_and_a_picture_that_is_held() {
    let mut screen = screen(Options::default());
    assert!(picture(&mut screen, (80, 24), 14).contains(" every 1s\n"));
    assert!(picture(&mut screen, (80, 24), 20).contains(" no answer for 8s\n"));
    types(&mut screen, " ");
    assert!(picture(&mut screen, (80, 24), 20).contains(" PAUSED, space goes on\n"));
}

#[test]
fn see_a_terminal_that_is_too_small_says_so() {
    let mut screen = screen(Options::default());
    assert_eq!(picture(&mut screen, (20, 3), 12), "20x3 is too small:\n60x12 at least\n\n");
    assert_eq!(picture(&mut screen, (1, 1), 12), "1\n");
    for size in [(LEAST.0 - 1, LEAST.1), (LEAST.0, LEAST.1 - 1)] {
        assert!(picture(&mut screen, size, 12).contains("too small"), "{size:?}");
    }
    let least = picture(&mut screen, LEAST, 12);
    assert!(least.contains("lanekeeper top") && least.contains("bulk"), "{least}");
}

#[test]
fn see_no_line_is_wider_than_the_terminal_at_any_size() {
    for width in LEAST.0..=120 {
        for view in View::ALL {
            // A cell beyond the edge would panic.
            for policy in [policy(), timed()] {
                picture(&mut screen_of(&policy, Options { view, ..Options::default() }), (width, 14), 12);
            }
        }
    }
}

#[test]
fn see_a_long_list_scrolls_with_its_chosen_row() {
    let mut screen = screen(Options { view: View::Lanes, ..Options::default() });
    types(&mut screen, "O");
    let size = (80, 12);
    let top = picture(&mut screen, size, 12);
    assert!(top.contains("branch-7/voice.0") && top.contains(" 1-3 of 8\n"), "{top}");
    types(&mut screen, "jjj");
    assert!(picture(&mut screen, size, 12).contains(" 2-4 of 8\n"));
    types(&mut screen, "G");
    let end = picture(&mut screen, size, 12);
    assert!(end.contains(" 6-8 of 8\n") && end.contains("lane datacentre-frankfurt/default.0: on demand"), "{end}");
    types(&mut screen, "k");
    assert!(picture(&mut screen, size, 12).contains(" 6-8 of 8\n"));
    types(&mut screen, "g");
    assert!(picture(&mut screen, size, 12).contains(" 1-3 of 8\n"));
}

#[test]
fn see_colours_only_where_they_are_wanted_and_letters_only_where_no_blocks_are() {
    let colours = |look| {
        let mut screen = screen(Options { look, ..Options::default() });
        let terminal = terminal(&mut screen, (80, 24), 12);
        let cells = terminal.backend().buffer().content().to_vec();
        let coloured = cells.iter().any(|cell| cell.fg != Color::Reset || cell.bg != Color::Reset);
        let ascii = cells.iter().all(|cell| cell.symbol().is_ascii());
        let marked = cells.iter().any(|cell| cell.modifier.contains(Modifier::REVERSED));
        (coloured, ascii, marked)
    };
    assert_eq!(colours(Look { colours: true, ascii: false }), (true, false, true));
    assert_eq!(colours(Look { colours: false, ascii: true }), (false, true, true));
}

#[test]
fn see_the_same_as_plain_text() {
    let policy = policy();
    let (before, after) = (sample(&policy, 11), sample(&policy, 12));
    let rates = Rates::of(Some(&before), &after);
    let choice = Choice { sort: Sort::Name, ..Choice::default() };
    compare("plain", &View::ALL.map(|view| plain(&after, &rates, view, &choice)).join("\n"));
    let (before, after) = (sample(&timed(), 11), sample(&timed(), 12));
    let (mut rates, mut minute) = (Rates::of(Some(&before), &after), Minute::default());
    minute.remember(&before);
    minute.fill(&after, &mut rates);
    compare("timed-plain", &[View::Classes, View::Lanes].map(|view| plain(&after, &rates, view, &choice)).join("\n"));
}
