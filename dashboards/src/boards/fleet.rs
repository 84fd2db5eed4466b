//! All gateways at a glance: is anything wrong, and where.

use lanekeeper::metrics::list::{
    BLOCKED, BUILD, CLASS_BYTES, DRIFT, FALLBACK, LANE_INTEGRITY, LANE_REPLAY, LANE_UP, RELOAD_SUCCESS, TUNNEL_UP,
};

use super::{classes_in, classes_out, fallback_share, target};
use crate::board::{Board, Row};
use crate::panel::{Alarm, Kind, Panel, Unit, column, curve, label, leading};
use crate::query::{Query, Scope};
use crate::variable::Variable;

const VARIABLES: &[Variable] = &[Variable::many("job"), Variable::many("instance"), Variable::many("class")];
const FLEET: Scope = Scope::board(VARIABLES);
const ALL_CLASSES: Scope = Scope::board(&[Variable::many("job"), Variable::many("instance")]);
const GATEWAY: &[&str] = &["job", "instance"];

pub fn board() -> Board {
    Board {
        name: "fleet",
        title: "Lanekeeper: fleet",
        description: "All gateways at a glance: is anything wrong, and where.",
        variables: VARIABLES,
        rows: vec![
            Row { title: "Now", panels: numbers() },
            Row { title: "Gateways", panels: vec![gateways()] },
            Row { title: "Traffic", panels: vec![classes_out(FLEET), classes_in(FLEET)] },
            Row { title: "Trouble, by gateway", panels: trouble() },
        ],
    }
}

fn numbers() -> Vec<Panel> {
    let down = |metric| FLEET.of(metric).now().zeros().sum(&[]);
    let rate = |metric| FLEET.of(metric).rate().sum(&[]);
    let alarm = Alarm::From(1.0);
    vec![
        Panel::number(
            "Gateways silent",
            "Agents that did not answer the last scrape. Their gateways go on steering by what was loaded, unseen.",
            Unit::Count,
            alarm,
            down(&target::UP),
        ),
        Panel::number(
            "Tunnels down",
            "Tunnels without any lane that is up: their traffic is blocked.",
            Unit::Count,
            alarm,
            down(&TUNNEL_UP),
        ),
        Panel::number(
            "Lanes down",
            "Lanes that no packet may take, those of tunnels that are down among them.",
            Unit::Count,
            alarm,
            down(&LANE_UP),
        ),
        Panel::number(
            "Falling back",
            "Packets a second that take another class's lane because their own class has none.",
            Unit::Packets,
            Alarm::From(0.1),
            rate(&FALLBACK),
        ),
        Panel::number(
            "Blocked",
            "Packets a second that are dropped rather than sent another way than the file says.",
            Unit::Packets,
            Alarm::From(0.1),
            rate(&BLOCKED),
        ),
        Panel::number(
            "Files refused",
            "Gateways whose last reload was refused: they run what they ran before.",
            Unit::Count,
            alarm,
            down(&RELOAD_SUCCESS),
        ),
    ]
}

fn gateways() -> Panel {
    let bits = |direction| FLEET.of(&CLASS_BYTES).is("direction", direction).rate().sum(GATEWAY).bits();
    let down = |metric| FLEET.of(metric).now().zeros().sum(GATEWAY);
    let columns =
        vec![label("job", "Job"), leading("instance", "Gateway", "lanekeeper-gateway"), label("version", "Version")];
    let alarm = Alarm::From(1.0);
    let targets = vec![
        column("Tunnels", Unit::Count, Alarm::None, FLEET.of(&TUNNEL_UP).now().count(GATEWAY)),
        column("Tunnels down", Unit::Count, alarm, down(&TUNNEL_UP)),
        column("Lanes down", Unit::Count, alarm, down(&LANE_UP)),
        column("Out", Unit::Bits, Alarm::None, bits("out")),
        column("In", Unit::Bits, Alarm::None, bits("in")),
        column("Fallback", Unit::Packets, Alarm::From(0.1), FLEET.of(&FALLBACK).rate().sum(GATEWAY)),
        column("Blocked", Unit::Packets, Alarm::From(0.1), FLEET.of(&BLOCKED).rate().sum(GATEWAY)),
        column("File", Unit::Applied, Alarm::None, FLEET.of(&RELOAD_SUCCESS).now().sum(GATEWAY)),
        column("Runs", Unit::Count, Alarm::None, FLEET.of(&BUILD).now().sum(&["job", "instance", "version"])),
    ];
    Panel::table("All gateways", "One row for each gateway; a click on its name leads to it.", columns, targets)
}

fn trouble() -> Vec<Panel> {
    let errors = |metric| FLEET.of(metric).rate().sum(GATEWAY);
    let by_gateway = |query: Query| vec![curve(query, "{{instance}}")];
    vec![
        Panel::curves(
            "Falling back, share",
            "The part of a gateway's outgoing packets that take another class's lane, of all classes together.",
            Unit::Share,
            by_gateway(fallback_share(ALL_CLASSES, GATEWAY)),
        )
        .or("no traffic"),
        Panel::curves(
            "Blocked packets",
            "Packets a second that each gateway drops rather than sends another way than its file says.",
            Unit::Packets,
            by_gateway(errors(&BLOCKED)),
        ),
        Panel::curves(
            "Refused by SAs",
            "Packets a second that each gateway's SAs refused as replayed or not authentic. One gateway alone: its path \
             reorders. All at once: look at what they share.",
            Unit::Packets,
            by_gateway(errors(&LANE_REPLAY).plus(errors(&LANE_INTEGRITY))),
        ),
        Panel::curves(
            "Repairs",
            "Things of ours that somebody changed and that were put back, in each step of the chart. Now and then is an \
             operator; again and again is another program that claims the same things.",
            Unit::Count,
            by_gateway(FLEET.of(&DRIFT).increase().sum(GATEWAY)),
        )
        .as_kind(Kind::Events),
    ]
}
