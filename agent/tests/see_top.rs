//! `top` in a real terminal, of a real agent under traffic.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use lanekeeper::top::terminal::Terminal;
use lanekeeper::top::{Options, Screen};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use xtask::demo::stage::warm_up;
use xtask::lab::gateways::{Gateways, LANES_UP};
use xtask::lab::scenario::{Class, Keying, Scenario, TUNNEL};
use xtask::lab::tmux::{Modes, Tmux};
use xtask::lab::traffic::{Flow, Traffic};
use xtask::lab::{Family, Side};

const BINARY: &str = env!("CARGO_BIN_EXE_lanekeeper");

/// Sizes of terminals.
const SMALL: (u16, u16) = (80, 24);
const LARGE: (u16, u16) = (200, 60);

/// A terminal in which `lanekeeper` is A's.
fn terminal(gateways: &Gateways, size: (u16, u16), variables: &[(&str, &str)]) -> Tmux {
    let agent = gateways.agent_of(Side::A);
    let (runtime, folder) = (agent.runtime(), Path::new(BINARY).parent().unwrap());
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
    let ours = [("LANEKEEPER_RUNTIME_DIR", runtime.to_str().unwrap()), ("PATH", path.as_str())];
    Tmux::start(gateways.lab().shared(), size, &[&ours, variables].concat()).unwrap()
}

/// Packets a second of each class, few enough that an emulated CPU keeps them in proportion, and their payload.
const RATES: [(&str, u16, u32, usize); 4] =
    [("voice", 5060, 25, 172), ("video", 5004, 20, 900), ("bulk", 9000, 50, 1100), ("default", 7000, 10, 300)];

/// Each class both ways, until stopped.
fn flows(gateways: &Gateways) -> Vec<Flow> {
    let flow = |from: Side, (name, port, rate, payload): (&str, u16, u32, usize)| Flow {
        dscp: if name == "voice" { 46 } else { 0 },
        rate,
        payload,
        ..gateways.lab().flow(name, from, Family::V4, port)
    };
    let of_side = |from: Side| RATES.map(|row| flow(from, row));
    [of_side(Side::A), of_side(Side::B)].concat()
}

fn traffic(gateways: &Gateways) -> Traffic {
    Traffic::start(&flows(gateways)).unwrap()
}

/// The cells of a row.
fn cells(picture: &str, name: &str) -> Vec<String> {
    let row = picture.lines().find(|line| line.split_whitespace().next() == Some(name));
    let row = row.unwrap_or_else(|| panic!("no row {name} in\n{picture}"));
    row.split_whitespace().map(str::to_owned).collect()
}

/// `12.3`, `1.23k`; not `-`.
fn number(cell: &str) -> f64 {
    let (digits, worth) = match cell.strip_suffix(['k', 'M']) {
        Some(digits) if cell.ends_with('k') => (digits, 1e3),
        Some(digits) => (digits, 1e6),
        None => (cell, 1.0),
    };
    digits.parse::<f64>().unwrap_or_else(|_| panic!("{cell:?} is no number")) * worth
}

/// Names in their order.
fn order(picture: &str, names: &[&str]) -> Vec<String> {
    let first = picture.lines().filter_map(|line| line.split_whitespace().next());
    first.filter(|word| names.contains(word)).map(str::to_owned).collect()
}

/// Written to its last line, with every row: what is drawn comes in pieces.
fn is_whole(picture: &str) -> bool {
    picture.lines().last().is_some_and(|line| line.starts_with("q leave"))
}

/// Seconds of [`burst`].
const BURST: u64 = 5;

/// Sends all classes both ways, waits until all has arrived, and returns what the metrics say it came to.
fn burst(gateways: &Gateways) -> impl Fn(&str, &[(&str, &str)]) -> f64 {
    let scrape = || gateways.agent_of(Side::A).metrics().unwrap();
    let counted = |flow: Flow| Flow { count: Some(u64::from(flow.rate) * BURST), ..flow };
    let before = scrape();
    let tallies = Traffic::run(&flows(gateways).into_iter().map(counted).collect::<Vec<_>>()).unwrap();
    assert!(tallies.iter().all(|tally| tally.sent > 0 && tally.lost() == 0), "{tallies:?}");
    let after = scrape();
    move |name, labels| after.sum(name, labels) - before.sum(name, labels)
}

/// Senders in a guest stall now and then, so that no two seconds are alike: what is sent lies between two looks as a whole.
#[test]
fn see_top_rates_move_and_agree_with_the_metrics() {
    let gateways = Gateways::start("toprates", Scenario::four_classes(Keying::Static), Path::new(BINARY)).unwrap();
    warm_up(gateways.lab()).unwrap();
    let tmux = terminal(&gateways, SMALL, &[]);
    let apart = 3 * BURST;
    tmux.run(&format!("lanekeeper top -d {apart}")).unwrap();
    let says = |picture: &str, is: fn(f64) -> bool| {
        let row = picture.lines().any(|line| line.starts_with("bulk ")).then(|| cells(picture, "bulk"));
        is_whole(picture) && row.is_some_and(|row| row[1] != "-" && is(number(&row[1])))
    };
    let idle = tmux.wait_for("rates of nothing", |picture| says(picture, |rate| rate == 0.0)).unwrap();
    assert!(idle.contains("tunnels 1 up") && idle.contains("lanes 5 up") && !idle.contains("DOWN"), "{idle}");
    let moved = burst(&gateways);
    let picture = tmux.wait_for("rates", |picture| says(picture, |rate| rate > 0.0)).unwrap();
    // Three figures are shown, and the time between two looks is a little more than asked for.
    let agree = |what: &str, top: f64, metrics: f64| {
        let rate = metrics / apart as f64;
        assert!(
            metrics > 0.0 && (top - rate).abs() <= rate * 0.1,
            "{what}: top says {top}, the metrics {rate}\n{picture}"
        );
    };
    for (class, ..) in RATES {
        let row = cells(&picture, class);
        for (direction, packets, bits) in [("out", 1, 2), ("in", 3, 4)] {
            let labels = [("class", class), ("direction", direction)];
            agree(class, number(&row[packets]), moved("lanekeeper_class_packets_total", &labels));
            agree(class, number(&row[bits]), moved("lanekeeper_class_bytes_total", &labels) * 8.0);
        }
        assert_eq!(row[8], "up", "{picture}");
    }
    let shares: f64 = RATES.iter().map(|(class, ..)| number(cells(&picture, class)[5].trim_end_matches('%'))).sum();
    assert!((99.0..=101.0).contains(&shares), "{picture}");
    // The sparkline has begun at nothing.
    let history = cells(&picture, "bulk").last().unwrap().clone();
    assert!(history.contains('▁') && history.contains('█'), "{picture}");

    // As JSON they are exact: each look's rates times its seconds, added up.
    let mut command = gateways.agent_of(Side::A).command(&["top", "--json", "-n", "4", "-d", &BURST.to_string()]);
    let mut top = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(top.stdout.take().unwrap()).lines();
    let mut looks = vec![lines.next().unwrap().unwrap()];
    let moved = burst(&gateways);
    looks.extend(lines.map(Result::unwrap));
    assert!(top.wait().unwrap().success() && looks.len() == 4, "{looks:?}");
    let looks: Vec<Value> = looks.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let said = |view: &str, row: usize, direction: &str, unit: &str| -> f64 {
        looks
            .iter()
            .map(|look| look[view][row][direction][unit].as_f64().unwrap() * look["seconds"].as_f64().unwrap())
            .sum()
    };
    let mut carried = 0;
    for (row, lane) in looks[0]["lanes"].as_array().unwrap().iter().enumerate() {
        let name = lane["name"].as_str().unwrap();
        let (class, index) = name.strip_prefix(&format!("{TUNNEL}/")).unwrap().split_once('.').unwrap();
        for direction in ["out", "in"] {
            let labels = [("class", class), ("lane", index), ("direction", direction)];
            let packets = moved("lanekeeper_lane_packets_total", &labels);
            assert_eq!(said("lanes", row, direction, "packets").round(), packets, "{name} {direction}");
            let bits = moved("lanekeeper_lane_bytes_total", &labels) * 8.0;
            assert_eq!(said("lanes", row, direction, "bits").round(), bits, "{name} {direction}");
            carried += u32::from(packets > 0.0);
        }
    }
    // One flow each way takes one of bulk's lanes.
    assert!(carried >= 8, "{looks:?}");
    for (row, rule) in ["voice", "video", "bulk"].iter().enumerate() {
        assert_eq!(looks[0]["rules"][row]["name"], *rule);
        let packets = moved("lanekeeper_rule_packets_total", &[("rule", *rule)]);
        assert_eq!(said("rules", row, "out", "packets").round(), packets, "{rule}");
    }

    // Once all is still the totals are the metrics' own, to the packet, and the rates are nothing.
    tmux.types("2").unwrap();
    let still = |picture: &str| picture.lines().any(|line| line.starts_with("out     0 pkt/s"));
    let picture = tmux.wait_for("stillness", |picture| still(picture) && picture.contains("LANE ")).unwrap();
    assert!(picture.contains("in     0 pkt/s"), "{picture}");
    tmux.types("/voice.0").unwrap();
    tmux.press("Enter").unwrap();
    let metrics = gateways.agent_of(Side::A).metrics().unwrap();
    let count = |way| metrics.count("lanekeeper_lane_packets_total", &[("class", "voice"), ("direction", way)]);
    let totals = format!("in all: {} packets out, {} in;", count("out"), count("in"));
    tmux.wait_for(&totals, |picture| picture.contains(&totals)).unwrap();
}

#[test]
fn see_top_obeys_keys_and_follows_its_size() {
    let gateways = Gateways::start("topkeys", Scenario::four_classes(Keying::Static), Path::new(BINARY)).unwrap();
    warm_up(gateways.lab()).unwrap();
    let traffic = traffic(&gateways);
    let tmux = terminal(&gateways, SMALL, &[]);
    tmux.run("lanekeeper top -d 1").unwrap();
    let classes = ["voice", "video", "bulk", "default"];
    let is = |names: &'static [&'static str]| move |picture: &str| order(picture, &classes) == names;
    // By bits: 50 packets of 1100 bytes, 20 of 900, 25 of 172, 10 of 300.
    let picture = tmux.wait_for("by bits", is(&["bulk", "video", "voice", "default"])).unwrap();
    assert!(picture.contains("by bits") && picture.contains("q leave"), "{picture}");
    for (keys, what, names) in [
        ("P", "by packets", &["bulk", "voice", "video", "default"] as &[&str]),
        ("R", "by packets (R)", &["default", "video", "voice", "bulk"]),
        ("N", "by name", &["bulk", "default", "video", "voice"]),
        ("O", "by file", &["voice", "video", "bulk", "default"]),
        ("/v", "filter: v_", &["voice", "video"]),
    ] {
        tmux.types(keys).unwrap();
        tmux.wait_for(what, |picture| picture.contains(what) && order(picture, &classes) == names).unwrap();
    }
    tmux.press("Escape").unwrap();
    tmux.wait_for("all again", |picture| order(picture, &classes).len() == 4).unwrap();
    for (keys, what) in [
        ("2", "branch/bulk.1"),
        ("3", "TUNNEL"),
        ("4", "TENANT"),
        ("5", "RULE"),
        ("?", "any key goes back"),
        ("1", "RULE"),
        ("1", "CLASS "),
        (" ", "PAUSED"),
        (" ", "every 1s"),
        ("d", "delay in seconds [1]: _"),
    ] {
        tmux.types(keys).unwrap();
        tmux.wait_for(what, |picture| picture.contains(what)).unwrap();
    }
    tmux.run("0.5").unwrap();
    tmux.wait_for("the new delay", |picture| picture.contains("every 0.5s")).unwrap();
    for (key, what) in [("Tab", "LANE "), ("BTab", "CLASS "), ("Down", "class video:"), ("Up", "class voice:")] {
        tmux.press(key).unwrap();
        tmux.wait_for(what, |picture| picture.contains(what)).unwrap();
    }

    tmux.resize(LARGE).unwrap();
    let is_wide = |picture: &str| {
        let title = picture.lines().next().unwrap_or_default();
        title.len() > 190 && title.ends_with("every 0.5s") && is_whole(picture) && order(picture, &classes).len() == 4
    };
    let picture = tmux.wait_for("a picture of 200 columns", is_wide).unwrap();
    assert_eq!(picture.lines().count(), 60, "{picture}");
    println!("{picture}");
    tmux.resize((40, 10)).unwrap();
    tmux.wait_for("too small", |picture| picture.contains("40x10 is too small: 60x12 at least")).unwrap();
    tmux.resize(SMALL).unwrap();
    let is_small = |picture: &str| {
        let fits = picture.lines().all(|line| line.chars().count() <= 80);
        fits && is_whole(picture) && order(picture, &classes).len() == 4
    };
    let picture = tmux.wait_for("the picture of before", is_small).unwrap();
    println!("{picture}");
    traffic.stop().unwrap();
}

#[test]
fn see_top_leaves_the_terminal_as_it_was() {
    let gateways = Gateways::start("topleave", Scenario::four_classes(Keying::Static), Path::new(BINARY)).unwrap();
    let tmux = terminal(&gateways, SMALL, &[]);
    tmux.run("echo what was here; stty -a > before").unwrap();
    let shell = Modes { alternate: false, cursor: true };
    assert_eq!(tmux.modes().unwrap(), shell);
    let by_signal = |signal: Signal| {
        let pid = fs::read_to_string(gateways.lab().shared().join("pid")).unwrap();
        kill(Pid::from_raw(pid.trim().parse().unwrap()), signal).unwrap();
    };
    let ends: [(&str, &dyn Fn()); 4] = [
        ("q", &|| tmux.types("q").unwrap()),
        ("Ctrl-C", &|| tmux.press("C-c").unwrap()),
        ("SIGTERM", &|| by_signal(Signal::SIGTERM)),
        ("SIGINT", &|| by_signal(Signal::SIGINT)),
    ];
    for (name, end) in ends {
        tmux.run("sh -c 'echo $$ > pid; exec lanekeeper top -d 1'").unwrap();
        tmux.wait_for("the screen", |picture| picture.starts_with("lanekeeper top ")).unwrap();
        assert_eq!(tmux.modes().unwrap(), Modes { alternate: true, cursor: false }, "{name}");
        end();
        let picture = tmux.wait_for("the shell", |picture| picture.contains("what was here")).unwrap();
        tmux.run("echo ended with $?; stty -a > after; cmp before after && echo same modes").unwrap();
        tmux.wait_for("the same modes", |picture| picture.contains("ended with 0\nsame modes")).unwrap();
        assert_eq!(tmux.modes().unwrap(), shell, "{name}: {picture}");
        tmux.run("clear; echo what was here").unwrap();
        tmux.wait_for("a clear screen", |picture| !picture.contains("same modes")).unwrap();
    }

    // To the shell and back.
    tmux.run("lanekeeper top -d 1").unwrap();
    tmux.wait_for("the screen", |picture| picture.starts_with("lanekeeper top ")).unwrap();
    tmux.press("C-z").unwrap();
    tmux.wait_for("the shell", |picture| picture.contains("what was here") && picture.contains("Stopped")).unwrap();
    assert_eq!(tmux.modes().unwrap(), shell);
    tmux.run("fg").unwrap();
    tmux.wait_for("the screen again", |picture| picture.starts_with("lanekeeper top ")).unwrap();
    tmux.types("q").unwrap();
    tmux.wait_for("the shell", |picture| picture.contains("what was here")).unwrap();

    // Colours are the terminal's, unless somebody wants none.
    for (before, colours) in [("", true), ("NO_COLOR=1 ", false), ("TERM=vt100 ", false)] {
        tmux.run(&format!("{before}lanekeeper top -d 1")).unwrap();
        tmux.wait_for("the screen", |picture| picture.starts_with("lanekeeper top ")).unwrap();
        let coloured = tmux.coloured().unwrap();
        assert_eq!(coloured.contains("38;5;"), colours, "{before}: {coloured:?}");
        tmux.types("q").unwrap();
        tmux.wait_for("the shell", |picture| picture.contains("what was here")).unwrap();
    }

    // Where nobody looks there is no screen.
    let agent = gateways.agent_of(Side::A);
    let said = agent.call(&["top"]).unwrap();
    let error = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(said.status.code() == Some(2) && error.contains("`lanekeeper status --json`"), "{error}");
    let text = agent.must(&["top", "--batch", "-n", "2", "-d", "0.5", "--view", "lanes", "--sort", "file"]).unwrap();
    assert_eq!((text.matches("lanekeeper top ").count(), text.matches("branch/bulk.1").count()), (2, 2), "{text}");
    assert!(!text.contains('\u{1b}'), "{text}");
}

/// Set for the process that panics.
const PANICS: &str = "LANEKEEPER_TEST_PANICS";

#[test]
fn see_top_gives_the_terminal_back_before_a_panic_says_why() {
    if std::env::var_os(PANICS).is_some() {
        let mut terminal = Terminal::take().unwrap();
        let mut screen = Screen::new(Options::default());
        terminal.draw(|frame| screen.draw(frame, Duration::ZERO)).unwrap();
        panic!("on purpose");
    }
    let folder = tempfile::tempdir().unwrap();
    let tmux = Tmux::start(folder.path(), SMALL, &[(PANICS, "1"), ("RUST_BACKTRACE", "0")]).unwrap();
    tmux.run("echo what was here; stty -a > before").unwrap();
    let name = "see_top_gives_the_terminal_back_before_a_panic_says_why";
    tmux.run(&format!("{} --exact {name} --nocapture", std::env::current_exe().unwrap().display())).unwrap();
    let picture = tmux
        .wait_for("its end", |picture| picture.contains("test result: FAILED") && picture.trim_end().ends_with('$'))
        .unwrap();
    assert!(picture.contains("what was here") && picture.contains("on purpose"), "{picture}");
    tmux.run("clear; stty -a > after; cmp before after && echo same modes").unwrap();
    tmux.wait_for("the same modes", |picture| picture.lines().any(|line| line == "same modes")).unwrap();
    assert_eq!(tmux.modes().unwrap(), Modes { alternate: false, cursor: true });
}

#[test]
fn see_top_says_that_the_agent_is_gone_and_goes_on_when_it_is_back() {
    let mut gateways = Gateways::start("toplost", Scenario::four_classes(Keying::Static), Path::new(BINARY)).unwrap();
    warm_up(gateways.lab()).unwrap();
    let tmux = terminal(&gateways, SMALL, &[]);
    tmux.run("lanekeeper top -d 1").unwrap();
    tmux.wait_for("the screen", |picture| picture.contains("lanes 5 up")).unwrap();
    let lost = |picture: &str| picture.contains("THE AGENT DOES NOT ANSWER");
    // Why it is so stands below, and is another thing where the agent went with half an answer told.
    let absent = |picture: &str| picture.contains("control.sock: no lanekeeper answers there");
    for kill in [true, false] {
        match kill {
            true => gateways.agent(Side::A).kill().unwrap(),
            // Its counters begin again at zero.
            false => {
                gateways.agent(Side::A).stop().unwrap();
                gateways.agent_of(Side::A).must(&["down"]).unwrap();
            }
        }
        let picture = tmux.wait_for("the agent is gone", |picture| lost(picture) && absent(picture)).unwrap();
        assert!(picture.contains("numbers are ") && picture.contains("bulk "), "{picture}");
        tmux.types("3").unwrap();
        tmux.wait_for("keys are obeyed", |picture| picture.contains("TUNNEL")).unwrap();
        tmux.types("1").unwrap();
        gateways.agent(Side::A).start().unwrap();
        let traffic = traffic(&gateways);
        let moves = |picture: &str| {
            let row = picture.lines().any(|line| line.starts_with("bulk ")).then(|| cells(picture, "bulk"));
            !lost(picture)
                && !picture.contains("control.sock:")
                && row.is_some_and(|row| row[1] != "-" && number(&row[1]) > 10.0)
        };
        let picture = tmux.wait_for("it goes on", moves).unwrap();
        assert!(!picture.split_whitespace().any(|word| word.len() > 1 && word.starts_with('-')), "{picture}");
        traffic.stop().unwrap();
    }
    tmux.types("q").unwrap();
}

#[test]
fn see_top_shows_what_falls_back() {
    // The far end does not know video, and refuses its lane.
    let scenario = Scenario::four_classes(Keying::Psk);
    let mut gateways = Gateways::idle("topfall", scenario.clone(), Path::new(BINARY)).unwrap();
    let classes =
        [Class::new("voice"), Class::new("bulk").lanes(2), Class::new("default")].map(|class| match class.name {
            "default" => class,
            _ => class.fallback("default"),
        });
    let far = Scenario { classes: classes.to_vec(), rules: String::new(), ..scenario };
    let shared = gateways.lab().shared().to_owned();
    far.write(Side::B, &gateways.lab().files(Side::B), &shared).unwrap();
    gateways.agent(Side::B).start().unwrap();
    gateways.agent(Side::A).start().unwrap();
    for side in [Side::A, Side::B] {
        gateways.agent(side).wait_for_lanes(4, LANES_UP).unwrap();
    }
    warm_up(gateways.lab()).unwrap();
    let traffic = traffic(&gateways);
    let tmux = terminal(&gateways, SMALL, &[]);
    tmux.run("lanekeeper top -d 2 --sort fallback").unwrap();
    let falls = |picture: &str| {
        let rows: Vec<&str> = picture.lines().filter(|line| line.starts_with("video ")).collect();
        rows.first().is_some_and(|row| row.contains("to default")) && number_or_zero(&cells(picture, "video")[6]) > 5.0
    };
    let picture = tmux.wait_for("video falls back", falls).unwrap();
    assert_eq!(order(&picture, &["voice", "video", "bulk", "default"])[0], "video", "{picture}");
    assert!(picture.contains("lanes 4 up  1 DOWN  classes off their way 1"), "{picture}");
    assert!(picture.contains("branch to default: its lane is down"), "{picture}");
    println!("{picture}");
    tmux.types("2S").unwrap();
    let picture = tmux.wait_for("lanes", |picture| picture.contains("LANE ")).unwrap();
    assert!(cells(&picture, "branch/video.0").contains(&"DOWN".to_owned()), "{picture}");
    tmux.types("3").unwrap();
    tmux.wait_for("tunnels", |picture| picture.contains("4/5 up")).unwrap();
    tmux.types("5").unwrap();
    tmux.wait_for("rules", |picture| picture.contains("video to default")).unwrap();
    drop(tmux);
    let small = include_str!("see_screen/status-80x24.txt");
    let large = include_str!("see_screen/status-200x60.txt");
    for (size, kept) in [(SMALL, small), (LARGE, large)] {
        let tmux = terminal(&gateways, size, &[]);
        let line = if size == SMALL { "lanekeeper status" } else { "lanekeeper status; lanekeeper status --all" };
        tmux.run(line).unwrap();
        let is_done = |picture: &str| {
            picture.contains("falls back")
                && picture.lines().rfind(|line| !line.is_empty()).is_some_and(|line| line == "$")
        };
        let picture = words(&tmux.wait_for(line, is_done).unwrap());
        assert!(picture == kept, "see_screen/status-{}x{}.txt differs; now it is\n{picture}", size.0, size.1);
        assert!(tmux.coloured().unwrap().contains("\u{1b}[1m\u{1b}[31mDOWN"), "{:?}", tmux.coloured());
    }
    traffic.stop().unwrap();
}

/// Line by line what `status` says, without the blanks that depend on how long ago things were, and without where the file is.
fn words(picture: &str) -> String {
    let is_span = |word: &str| {
        let (number, unit) = word.split_at(word.len() - 1);
        "smhd".contains(unit) && !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    };
    let of_line = |line: &str| {
        let mut words: Vec<&str> = Vec::new();
        for word in line.split_whitespace() {
            let word = match () {
                () if is_span(word) => "AGE",
                () if word.ends_with("/config.toml") => "FILE",
                () => word,
            };
            if word != "AGE" || words.last() != Some(&"AGE") {
                words.push(word);
            }
        }
        words.join(" ") + "\n"
    };
    picture.trim_end().lines().map(of_line).collect()
}

fn number_or_zero(cell: &str) -> f64 {
    if cell == "-" { 0.0 } else { number(cell) }
}

/// What a terminal shows of some packets, with the times and what depends on the moment masked.
fn masked(picture: &str) -> String {
    let mask = |line: &str| {
        let mut line = line.trim_end().to_owned();
        if let Some((shown, _)) = line.split_once(" shown; ") {
            // How many went by meanwhile.
            return format!("{shown} shown; ...");
        }
        let is_time = |text: &str| {
            text.len() == 15
                && text.bytes().enumerate().all(|(at, byte)| match at {
                    2 | 5 => byte == b':',
                    8 => byte == b'.',
                    _ => byte.is_ascii_digit(),
                })
        };
        if line.get(..15).is_some_and(is_time) {
            line.replace_range(..15, "HH:MM:SS.mmmmmm");
        }
        line
    };
    picture.trim_end().lines().map(|line| mask(line) + "\n").collect()
}

#[test]
fn see_observe_at_both_sizes_of_a_terminal() {
    let gateways = Gateways::start("obsterm", Scenario::four_classes(Keying::Static), Path::new(BINARY)).unwrap();
    warm_up(gateways.lab()).unwrap();
    // No more than is to be seen, as the terminal and the agent have the same CPU.
    let few = flows(&gateways).into_iter().filter(|flow| match flow.name.as_str() {
        "voice" | "default" => flow.source.ip() == Side::A.host(Family::V4),
        "video" => flow.source.ip() == Side::B.host(Family::V4),
        _ => false,
    });
    let few: Vec<Flow> = few.map(|flow| Flow { rate: 10, ..flow }).collect();
    let traffic = Traffic::start(&few).unwrap();
    // While somebody observes, the next one need not wait for the verifier.
    let mut another = gateways.agent_of(Side::A).command(&["observe", "--rate", "1"]);
    let mut another = another.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let small = include_str!("see_screen/observe-80x24.txt");
    let large = include_str!("see_screen/observe-200x60.txt");
    for (size, kept) in [(SMALL, small), (LARGE, large)] {
        let tmux = terminal(&gateways, size, &[]);
        let lines = [
            ("lanekeeper observe --class voice --from 10.1.0.0/16 --count 3", "3 shown; "),
            ("lanekeeper observe --class video --from 10.2.0.0/16 --rate 5 --count 2", "2 shown; "),
            // Without the time, which comes first.
            (
                "lanekeeper observe --class default --to 10.2.0.0/16 --json --count 1 2>&- | cut -d, -f2-",
                "\"lk-branch\"",
            ),
            ("lanekeeper observe --class vioce", "did you mean \"voice\"?"),
        ];
        for (line, end) in lines {
            tmux.run(line).unwrap();
            let is_done = |picture: &str| {
                picture.contains(end) && picture.lines().rfind(|line| !line.is_empty()).is_some_and(|line| line == "$")
            };
            tmux.wait_for(line, is_done).unwrap();
        }
        let picture = masked(&tmux.picture().unwrap());
        assert!(picture == kept, "see_screen/observe-{}x{}.txt differs; now it is\n{picture}", size.0, size.1);
    }
    kill(Pid::from_raw(another.id() as i32), Signal::SIGTERM).unwrap();
    assert!(another.wait().unwrap().success());
    traffic.stop().unwrap();
}
