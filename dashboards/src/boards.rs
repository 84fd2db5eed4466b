//! The dashboards, one question each, and what more than one of them shows.

mod agent;
mod fleet;
mod gateway;
mod tenant;
mod tunnel;

use lanekeeper::metrics::list::{
    BLOCKED, CLASS_BYTES, CLASS_PACKETS, FALLBACK, LANE_BYTES, LANE_INTEGRITY, LANE_LATENCY, LANE_PACKETS, LANE_REKEYS,
    LANE_REPLAY, RULE,
};
use lanekeeper::metrics::{Kind, Metric};

use crate::board::Board;
use crate::panel::{Alarm, Kind as Look, Panel, Unit, column, curve, label};
use crate::query::{Query, Scope};

/// All of them, from the widest to the narrowest.
pub fn all() -> Vec<Board> {
    vec![fleet::board(), gateway::board(), tunnel::board(), tenant::board(), agent::board()]
}

/// Prometheus's own metrics, of each target.
pub mod target {
    use super::{Kind, Metric};

    /// 1 where the last scrape was answered.
    pub const UP: Metric = of("up", "Whether the last scrape of the target was answered.");
    /// Of the last scrape.
    pub const DURATION: Metric = of("scrape_duration_seconds", "How long the scrape took.");
    /// On the page.
    pub const SAMPLES: Metric = of("scrape_samples_scraped", "How many series the target showed.");

    const fn of(name: &'static str, help: &'static str) -> Metric {
        Metric { name, kind: Kind::Gauge, labels: &[], help }
    }
}

/// What travels in a class, in a direction.
fn class_bits(scope: Scope, direction: &str) -> Query {
    scope.of(&CLASS_BYTES).is("direction", direction).rate().sum(&["class"]).bits()
}

fn classes_out(scope: Scope) -> Panel {
    let what = "Bits a second of each class into the tunnels, before encryption, by the class that the packet has: a class that \
                falls back is still itself here. What was blocked is not in it.";
    Panel::curves("Out, by class", what, Unit::Bits, vec![curve(class_bits(scope, "out"), "{{class}}")])
        .as_kind(Look::Stacked)
}

fn classes_in(scope: Scope) -> Panel {
    let what = "Bits a second that came out of the tunnels, after decryption, by the class of the lane that the far end chose.";
    Panel::curves("In, by class", what, Unit::Bits, vec![curve(class_bits(scope, "in"), "{{class}}")])
        .as_kind(Look::Stacked)
}

fn packets(scope: Scope) -> Panel {
    let of = |direction| scope.of(&CLASS_PACKETS).is("direction", direction).rate().sum(&["class"]);
    let what = "Packets a second of each class, both ways. Voice has many and small ones: it is seen here before it is seen \
                in bits.";
    Panel::curves(
        "Packets, by class",
        what,
        Unit::Packets,
        vec![curve(of("out"), "{{class}} out"), curve(of("in"), "{{class}} in")],
    )
}

fn fallback(scope: Scope) -> Panel {
    let query = scope.of(&FALLBACK).rate().sum(&["tunnel", "class", "to"]);
    let what = "Packets a second of a class without a lane that took another class's lane. Anything but zero means that the \
                class shares a sequence with others and may be reordered: look for the lane that is down.";
    Panel::curves("Falling back", what, Unit::Packets, vec![curve(query, "{{tunnel}}: {{class}} on {{to}}")])
}

fn blocked(scope: Scope) -> Panel {
    let query = scope.of(&BLOCKED).rate().sum(&["class", "reason"]).naming("class", "no class");
    let what = "Packets a second that were dropped rather than sent another way than the file says. no_lane: nothing of the \
                fallback chain is up; not_carried: the tunnel has no such class; tenant: somebody else's tunnel; no_tables: \
                the data path has no tables.";
    Panel::curves("Blocked, by class and reason", what, Unit::Packets, vec![curve(query, "{{class}}: {{reason}}")])
}

fn lane_bits(scope: Scope, direction: &str) -> Query {
    scope.of(&LANE_BYTES).is("direction", direction).rate().sum(&["tunnel", "class", "lane"]).bits()
}

fn lane_errors(scope: Scope) -> Panel {
    let of = |metric| scope.of(metric).rate().sum(&["tunnel", "class", "lane"]);
    let what = "Packets a second that a lane's SA refused. Replay: the window had passed them, because something reorders \
                behind the encryption (or somebody replays). Integrity: they did not authenticate.";
    Panel::curves(
        "Refused by an SA",
        what,
        Unit::Packets,
        vec![
            curve(of(&LANE_REPLAY), "{{tunnel}} {{class}}.{{lane}} replay"),
            curve(of(&LANE_INTEGRITY), "{{tunnel}} {{class}}.{{lane}} integrity"),
        ],
    )
}

fn latency(scope: Scope) -> Panel {
    let of = |part| scope.of(&LANE_LATENCY).quantile(part, &["class"]);
    let what = "How long packets of each class's lanes took from the tunnel's device to the wire, encryption and queue included: \
                half of them no longer than p50, all but one in a hundred no longer than p99. Bulk may wait while the WAN is \
                full; voice that waits with it has the same queue. Empty without latency-every in [metrics].";
    Panel::curves(
        "Time to the wire",
        what,
        Unit::Seconds,
        vec![curve(of("0.5"), "{{class}} p50"), curve(of("0.99"), "{{class}} p99")],
    )
    .or("nothing timed")
}

fn rekeys(scope: Scope) -> Panel {
    let query = scope.of(&LANE_REKEYS).increase().sum(&["tunnel", "class", "lane"]);
    let what = "CHILD_SAs that were replaced in each step of the chart. They come at the interval of the file, and no other \
                curve shows a step there.";
    Panel::curves("Rekeys", what, Unit::Count, vec![curve(query, "{{tunnel}} {{class}}.{{lane}}")])
        .as_kind(Look::Events)
}

/// The part of outgoing packets that took another class's lane. Of all classes together, so without that variable: what
/// falls back has the class of the packet, and what takes a lane that of the lane.
fn fallback_share(scope: Scope, by: &[&'static str]) -> Query {
    debug_assert!(scope.variables.iter().all(|variable| variable.name != "class"));
    let all = scope.of(&LANE_PACKETS).is("direction", "out").rate().sum(by);
    scope.of(&FALLBACK).rate().sum(by).of(all)
}

fn rules(scope: Scope) -> Panel {
    let query = scope.of(&RULE).rate().sum(&["tenant", "rule"]).naming("tenant", "none").top(20);
    let columns = vec![label("tenant", "Tenant"), label("rule", "Rule")];
    let what = "The 20 named rules that decide the most packets now. A rule that ought to be here and is not is shadowed, or \
                its traffic does not come: ask `lanekeeper explain`.";
    Panel::table("Busiest rules", what, columns, vec![column("Packets", Unit::Packets, Alarm::None, query)]).wide(12)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::variable::Choice;

    #[test]
    fn every_panel_says_what_it_shows_and_fits_the_screen() {
        for board in all() {
            for panel in board.rows.iter().flat_map(|row| &row.panels) {
                assert!(
                    panel.description.len() > 40 && panel.description.ends_with('.'),
                    "{}: {}",
                    board.title,
                    panel.title
                );
                assert!(panel.width <= 24 && panel.height > 2, "{}: {}", board.title, panel.title);
                assert!(!panel.targets.is_empty(), "{}: {}", board.title, panel.title);
            }
        }
    }

    #[test]
    fn titles_and_addresses_are_each_used_once() {
        let boards = all();
        let names: BTreeSet<&str> = boards.iter().map(|board| board.name).collect();
        assert_eq!(names, BTreeSet::from(["agent", "fleet", "gateway", "tenant", "tunnel"]));
        for board in &boards {
            let panels: Vec<&str> = board.rows.iter().flat_map(|row| &row.panels).map(|panel| panel.title).collect();
            let titles: BTreeSet<&str> = panels.iter().copied().collect();
            assert_eq!(titles.len(), panels.len(), "{}", board.title);
        }
    }

    #[test]
    fn rates_are_taken_over_grafanas_interval_and_everything_is_filtered_by_gateway() {
        for board in all() {
            for target in board.rows.iter().flat_map(|row| &row.panels).flat_map(|panel| &panel.targets) {
                let text = &target.query.text;
                assert_eq!(text.matches('[').count(), text.matches("[$__rate_interval]").count(), "{text}");
                assert!(text.contains("job=~\"$job\"") && text.contains("\"$instance\""), "{text}");
            }
        }
    }

    #[test]
    fn the_board_of_one_thing_has_a_variable_of_one_value() {
        for (name, of) in [("gateway", "instance"), ("tunnel", "tunnel"), ("tenant", "tenant")] {
            let board = all().into_iter().find(|board| board.name == name).unwrap();
            let one: Vec<&str> = board
                .variables
                .iter()
                .filter(|variable| variable.choice == Choice::One)
                .map(|variable| variable.name)
                .collect();
            assert_eq!(one, [of]);
        }
    }
}
