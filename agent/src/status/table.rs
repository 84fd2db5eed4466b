//! A [`Status`] for human eyes.

use std::fmt::Write;

use super::{Detour, Status, TunnelStatus};
use crate::check::plural;
use crate::top::Health;

/// Columns of a terminal that nobody has made wider.
const WIDTH: usize = 80;

/// Tunnels that are each said by name even where nothing is wrong with them.
const FEW: usize = 10;

/// How much is said, and in which ink.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Form {
    /// Also what is as it should be: each lane, each class, and classes that a tunnel does not carry.
    pub all: bool,
    /// With the escape sequences of a terminal.
    pub colours: bool,
    /// For eyes: reasons are broken between words. What another program reads has each on a line.
    pub broken: bool,
}

/// Text and how bad it is.
type Ink = (String, Health);

/// Sections in the order of an operator's questions: does it run, are the tunnels up, what goes where it should not.
pub(super) fn render(status: &Status, now: u64, form: Form) -> String {
    let mut page =
        Page { text: String::new(), colours: form.colours, width: if form.broken { WIDTH } else { usize::MAX } };
    page.line(&[
        plain(format!("lanekeeper {}", status.version)),
        plain(&status.config),
        plain(format!("generation {}", status.generation)),
    ]);
    match &status.reload.error {
        None => page.line(&[plain(format!("file applied {} ago", age(now, status.reload.at)))]),
        Some(error) => {
            let text = format!("file REFUSED {} ago, what ran before still runs:", age(now, status.reload.at));
            page.line(&[(text, Health::Bad)]);
            page.reasons(error);
        }
    }
    if let Some(left) = status.confirm_within {
        page.line(&[(format!("goes back in {} unless `lanekeeper confirm` comes", span(left)), Health::Odd)]);
    }
    let is_whole = |tunnel: &TunnelStatus| tunnel.trouble.is_none() && tunnel.lanes.iter().all(|lane| lane.up);
    let by_name = form.all || status.tunnels.len() <= FEW;
    for tunnel in status.tunnels.iter().filter(|tunnel| by_name || !is_whole(tunnel)) {
        page.tunnel(tunnel, now, form.all);
    }
    let whole = status.tunnels.iter().filter(|tunnel| is_whole(tunnel)).count();
    if !by_name {
        page.line(&[]);
        page.line(&[plain(format!("{whole} tunnels up with all their lanes; --all says each"))]);
    }
    if form.all {
        page.line(&[]);
        let rows = status.classes.iter().map(|class| {
            let outer = class.outer_dscp.map_or("-".into(), |dscp| dscp.to_string());
            [plain(&class.name), plain(class.lanes.to_string()), plain(&class.fallback), plain(outer)]
        });
        page.columns(["class", "lanes", "fallback", "outer dscp"], rows.collect());
    }
    let is_said = |detour: &&Detour| form.all || status.carries(&detour.tunnel, &detour.class);
    let rows: Vec<[Ink; 4]> = status
        .detours
        .iter()
        .filter(is_said)
        .map(|detour| {
            let health = if matches!(detour.to.as_str(), "block" | "clear") { Health::Bad } else { Health::Odd };
            [plain(&detour.tunnel), plain(&detour.class), (detour.to.clone(), health), plain(&detour.reason)]
        })
        .collect();
    if !rows.is_empty() {
        page.line(&[]);
        page.columns(["falls back", "class", "to", "why"], rows);
    }
    page.text
}

fn plain(text: impl Into<String>) -> Ink {
    (text.into(), Health::Good)
}

fn state(up: bool, on_demand: bool) -> Ink {
    match (up, on_demand) {
        (true, false) => plain("up"),
        (true, true) => plain("on demand"),
        (false, _) => ("DOWN".to_owned(), Health::Bad),
    }
}

/// Lines that have been written.
struct Page {
    text: String,
    colours: bool,
    /// Columns of a reason.
    width: usize,
}

impl Page {
    /// The tunnel, what is wrong with it, and its lanes: those that are down, or all.
    fn tunnel(&mut self, tunnel: &TunnelStatus, now: u64, all: bool) {
        let up = tunnel.lanes.iter().filter(|lane| lane.up).count();
        let health = if up == tunnel.lanes.len() { Health::Good } else { Health::Odd };
        self.line(&[]);
        self.line(&[
            plain(format!("tunnel {}", tunnel.name)),
            state(tunnel.up, tunnel.on_demand),
            (format!("{up}/{} lanes", tunnel.lanes.len()), health),
            plain(match tunnel.clients {
                None => format!("{} -> {}", tunnel.local, tunnel.remote),
                Some(clients) => format!("{} -> {}", tunnel.local, plural(clients, "client")),
            }),
            plain(if tunnel.device.is_empty() { "no device" } else { &tunnel.device }),
            plain(&tunnel.keying),
        ]);
        self.reasons(tunnel.trouble.as_deref().unwrap_or_default());
        if let Some(inside) = tunnel.inside.as_ref().filter(|_| all) {
            self.list("follows its SAs: routes", inside.now.routes.iter());
            self.list("follows its SAs: addresses", inside.now.addresses.iter());
            self.list("unreachable, as its SAs are gone:", inside.gone.iter());
        }
        let shown = tunnel.lanes.iter().filter(|lane| all || !lane.up);
        let rows: Vec<[Ink; 5]> = shown
            .map(|lane| {
                [
                    plain(format!("{}.{}", lane.class, lane.lane)),
                    state(lane.up, lane.on_demand),
                    plain(if lane.since == 0 { "-".into() } else { age(now, lane.since) }),
                    plain(format!("{:#x}", lane.mark)),
                    plain(
                        lane.clients.map_or_else(|| format!("{:#x}", lane.reqid), |clients| plural(clients, "client")),
                    ),
                ]
            })
            .collect();
        if !rows.is_empty() {
            self.columns(["lane", "state", "since", "mark", "reqid"], rows);
        }
    }

    /// Each line of it as far in as it begins.
    fn reasons(&mut self, text: &str) {
        for reason in text.lines() {
            let words = reason.trim_start();
            let indent = " ".repeat(2 + reason.len() - words.len());
            let mut line = String::new();
            for word in words.split(' ') {
                if !line.is_empty() && indent.len() + line.chars().count() + 1 + word.chars().count() > self.width {
                    let _ = writeln!(self.text, "{indent}{line}");
                    line.clear();
                }
                if !line.is_empty() {
                    line.push(' ');
                }
                line.push_str(word);
            }
            let _ = writeln!(self.text, "{indent}{line}");
        }
    }

    fn list<T: ToString>(&mut self, head: &str, members: impl Iterator<Item = T>) {
        let members: Vec<Ink> = members.map(|one| plain(one.to_string())).collect();
        if !members.is_empty() {
            self.line(&[vec![plain(format!("  {head}"))], members].concat());
        }
    }

    /// Parts two blanks apart; those that would stand beyond the edge begin another line.
    fn line(&mut self, parts: &[Ink]) {
        let mut at = 0;
        for (number, (text, health)) in parts.iter().enumerate() {
            let width = text.chars().count();
            let fits = number == 0 || at + 2 + width <= WIDTH;
            at = match (number, fits) {
                (0, _) => width,
                (_, true) => at + 2 + width,
                (_, false) => 4 + width,
            };
            let before = match (number, fits) {
                (0, _) => "",
                (_, true) => "  ",
                (_, false) => "\n    ",
            };
            let text = self.ink(text, *health);
            let _ = write!(self.text, "{before}{text}");
        }
        self.text.push('\n');
    }

    /// Left-aligned columns as wide as their widest cell, indented by two.
    fn columns<const N: usize>(&mut self, head: [&str; N], rows: Vec<[Ink; N]>) {
        let width: [usize; N] =
            std::array::from_fn(|i| rows.iter().map(|row| row[i].0.len()).chain([head[i].len()]).max().unwrap_or(0));
        for row in std::iter::once(head.map(plain)).chain(rows) {
            let last = N - 1;
            let cells = row.iter().zip(width).enumerate().map(|(at, ((text, health), width))| {
                let blanks = if at == last { String::new() } else { " ".repeat(width - text.len()) };
                self.ink(text, *health) + &blanks
            });
            let line = cells.collect::<Vec<_>>().join("  ");
            let _ = writeln!(self.text, "  {line}");
        }
    }

    fn ink(&self, text: &str, health: Health) -> String {
        match health {
            Health::Odd if self.colours => format!("\u{1b}[33m{text}\u{1b}[0m"),
            Health::Bad if self.colours => format!("\u{1b}[1;31m{text}\u{1b}[0m"),
            Health::Good | Health::Odd | Health::Bad => text.to_owned(),
        }
    }
}

fn age(now: u64, at: u64) -> String {
    span(now.saturating_sub(at))
}

/// The two largest units: `45s`, `3m 20s`, `2h 5m`, `9d 4h`.
pub(crate) fn span(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    match () {
        () if days > 0 => format!("{days}d {}h", hours % 24),
        () if hours > 0 => format!("{hours}h {}m", minutes % 60),
        () if minutes > 0 => format!("{minutes}m {}s", seconds % 60),
        () => format!("{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::policy;
    use super::super::{Reload, Standing, Status};
    use super::*;
    use crate::lane::Condition;
    use crate::policy::adopt::{Ends, Inside};

    fn sample() -> Status {
        Status {
            version: "0.1.0".into(),
            config: "/etc/lanekeeper/config.toml".into(),
            generation: 3,
            reload: Reload { success: true, at: 400, error: None },
            ..Status::of(&policy(), |id| Standing {
                condition: if id.class == "voice" { Condition::Down } else { Condition::Up },
                since: 900,
            })
        }
    }

    const ALL: Form = Form { all: true, colours: false, broken: false };

    #[test]
    fn the_whole_picture() {
        let expected = "\
lanekeeper 0.1.0  /etc/lanekeeper/config.toml  generation 3
file applied 10m 0s ago

tunnel branch-7  up  3/4 lanes  192.0.2.1 -> 192.0.2.2  lk-branch7  static
  lane       state  since   mark  reqid
  voice.0    DOWN   1m 40s  0x1   0x4c4b0001
  bulk.0     up     1m 40s  0x2   0x4c4b0002
  bulk.1     up     1m 40s  0x3   0x4c4b0003
  default.0  up     1m 40s  0x4   0x4c4b0004

  class    lanes  fallback  outer dscp
  voice    1      default   -
  bulk     2      block     -
  default  1      block     -

  falls back  class  to       why
  branch-7    voice  default  its lane is down
";
        assert_eq!(sample().table(1_000, ALL), expected);
    }

    #[test]
    fn see_a_short_status_says_what_is_wrong() {
        let expected = "\
lanekeeper 0.1.0  /etc/lanekeeper/config.toml  generation 3
file applied 10m 0s ago

tunnel branch-7  up  3/4 lanes  192.0.2.1 -> 192.0.2.2  lk-branch7  static
  lane     state  since   mark  reqid
  voice.0  DOWN   1m 40s  0x1   0x4c4b0001

  falls back  class  to       why
  branch-7    voice  default  its lane is down
";
        assert_eq!(sample().table(1_000, Form::default()), expected);
        let well = Status::of(&policy(), |_| Standing { condition: Condition::Up, since: 900 });
        let text = well.table(1_000, Form::default());
        assert!(
            text.ends_with("\ntunnel branch-7  up  4/4 lanes  192.0.2.1 -> 192.0.2.2  lk-branch7  static\n"),
            "{text}"
        );
    }

    #[test]
    fn see_a_long_reason_is_broken_between_words_for_eyes_alone() {
        let mut status = sample();
        status.reload.error = Some(format!("a.toml:1:2: {}\n    cure", "wrong ".repeat(20).trim_end()));
        assert!(status.table(1_000, Form::default()).contains("wrong wrong\n      cure\n"));
        let text = status.table(1_000, Form { broken: true, ..Form::default() });
        let lines: Vec<&str> = text.lines().skip(2).take(3).collect();
        let first = format!("  a.toml:1:2: {}", "wrong ".repeat(11).trim_end());
        assert_eq!(lines, [first.as_str(), &format!("  {}", "wrong ".repeat(9).trim_end()), "      cure"]);
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    }

    #[test]
    fn see_many_tunnels_that_are_well_are_counted() {
        let mut status = sample();
        let mut well = status.tunnels[0].clone();
        well.lanes.iter_mut().for_each(|lane| lane.up = true);
        status.tunnels.extend((0..999).map(|n| TunnelStatus { name: format!("b{n}"), ..well.clone() }));
        // A class that a tunnel has no lanes of goes where the file says.
        status.tunnels[1].lanes.remove(0);
        let (tunnel, class, to) = ("b0".to_owned(), "voice".to_owned(), "default".to_owned());
        status.detours.push(Detour { tunnel, class, to, reason: "not carried by this tunnel".to_owned() });
        let text = status.table(1_000, Form::default());
        assert!(text.contains("\n\n999 tunnels up with all their lanes; --all says each\n\n  falls back"), "{text}");
        assert_eq!((text.matches("tunnel ").count(), text.contains("not carried")), (1, false), "{text}");
        let text = status.table(1_000, ALL);
        assert!(text.contains("tunnel b998  up") && text.contains("b0          voice  default  not carried"), "{text}");
    }

    #[test]
    fn see_colours_change_no_letter() {
        let mut status = sample();
        status.reload.error = Some("no".into());
        let text = status.table(1_000, Form { colours: true, ..ALL });
        for coloured in
            ["\u{1b}[1;31mDOWN\u{1b}[0m   1m", "\u{1b}[33mdefault\u{1b}[0m  its", "\u{1b}[1;31mfile REFUSED"]
        {
            assert!(text.contains(coloured), "{text:?}");
        }
        let without =
            ["\u{1b}[1;31m", "\u{1b}[33m", "\u{1b}[0m"].iter().fold(text, |text, code| text.replace(code, ""));
        assert_eq!(without, status.table(1_000, ALL));
    }

    #[test]
    fn a_lane_that_waits_for_a_packet_says_so() {
        let status = Status::of(&policy(), |_| Standing { condition: Condition::OnDemand, since: 900 });
        let text = status.table(1_000, ALL);
        assert!(text.contains("tunnel branch-7  on demand  4/4 lanes  192.0.2.1"), "{text}");
        assert!(text.contains("\n  voice.0    on demand  1m 40s  0x1   0x4c4b0001\n"), "{text}");
        assert!(!text.contains("DOWN") && !text.contains("falls back"), "{text}");
    }

    #[test]
    fn a_refused_file_says_why_and_a_pending_one_says_until_when() {
        let mut status = sample();
        status.reload.error = Some("a.toml:1:2: no\na.toml:3:4: no".into());
        status.confirm_within = Some(299);
        let text = status.table(1_000, Form::default());
        assert!(text.contains("REFUSED 10m 0s ago"), "{text}");
        assert!(text.contains("\n  a.toml:3:4: no\n"), "{text}");
        assert!(text.contains("goes back in 4m 59s unless `lanekeeper confirm` comes"), "{text}");
    }

    #[test]
    fn what_went_wrong_stands_under_its_tunnel() {
        let mut status = sample();
        status.tunnels[0].trouble = Some("initiating voice.0: the peer does not answer".into());
        let text = status.table(1_000, Form::default());
        assert!(text.contains("static\n  initiating voice.0: the peer does not answer\n  lane "), "{text}");
    }

    #[test]
    fn what_follows_sas_is_said_with_all() {
        let mut status = sample();
        let mut inside = Inside::default();
        let routes = ["10.2.0.0/16", "10.3.0.0/16", "2001:db8:2:3:4:5:6::/112", "2001:db8:2:3:4:5:7::/112"];
        let routes = routes.map(|route| route.parse().unwrap());
        inside.take(Ends { routes: routes.into(), addresses: ["10.4.0.1".parse().unwrap()].into(), ..Ends::default() });
        inside.take(Ends { routes: routes[1..].iter().copied().collect(), ..inside.now.clone() });
        status.tunnels[0].inside = Some(inside);
        let text = status.table(1_000, ALL);
        let (_, told) = text.split_once("  follows").unwrap();
        assert!(
            told.starts_with(
                " its SAs: routes  10.3.0.0/16  2001:db8:2:3:4:5:6:0/112\n    2001:db8:2:3:4:5:7:0/112\n  \
                 follows its SAs: addresses  10.4.0.1\n  unreachable, as its SAs are gone:  10.2.0.0/16\n"
            ),
            "{text}"
        );
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        assert!(!status.table(1_000, Form::default()).contains("follows"));
    }

    #[test]
    fn it_fits_a_terminal_of_80_columns() {
        let mut status = sample();
        (status.tunnels[0].local, status.tunnels[0].remote) =
            ("2001:db8:1:2:3:4:5:6".into(), "2001:db8:6:5:4:3:2:1".into());
        status.tunnels[0].name = "a-branch-with-the-longest-name-".into();
        for form in [Form::default(), ALL] {
            let text = status.table(100_000_000, form);
            assert!(text.lines().all(|line| line.len() <= WIDTH), "{text}");
            assert!(
                text.contains("\n    2001:db8:1:2:3:4:5:6 -> 2001:db8:6:5:4:3:2:1  lk-branch7  static\n"),
                "{text}"
            );
        }
    }

    #[test]
    fn spans_say_their_two_largest_units() {
        for (seconds, text) in
            [(0, "0s"), (59, "59s"), (60, "1m 0s"), (3_599, "59m 59s"), (7_500, "2h 5m"), (791_999, "9d 3h")]
        {
            assert_eq!(span(seconds), text);
        }
    }
}
