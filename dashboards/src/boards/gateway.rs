//! One gateway: its classes and lanes, what falls back, what is dropped, what is rekeyed.

use lanekeeper::metrics::list::{
    BLOCKED, FALLBACK, LANE_ON_DEMAND, LANE_REKEYS, LANE_UP, PORT_PACKETS, RELOAD_SUCCESS, TUNNEL_UP, UNPARSED,
    XFRM_ERRORS,
};

use super::{
    blocked, classes_in, classes_out, fallback, fallback_share, lane_bits, lane_errors, packets, rekeys, rules,
};
use crate::board::{Board, Row};
use crate::panel::{Alarm, Kind, Panel, Unit, column, curve, label, leading};
use crate::query::Scope;
use crate::variable::Variable;

const VARIABLES: &[Variable] = &[
    Variable::many("job"),
    Variable::one("instance"),
    Variable::many("tunnel"),
    Variable::many("tenant"),
    Variable::many("class"),
];
const GATEWAY: Scope = Scope::board(VARIABLES);
const ALL_CLASSES: Scope = Scope::board(&[Variable::many("job"), Variable::one("instance"), Variable::many("tunnel")]);
const LANE: &[&str] = &["tunnel", "class", "lane"];

pub fn board() -> Board {
    Board {
        name: "gateway",
        title: "Lanekeeper: gateway",
        description: "One gateway: its classes and lanes, what falls back, what is dropped, what is rekeyed.",
        variables: VARIABLES,
        rows: vec![
            Row { title: "Now", panels: numbers() },
            Row {
                title: "Classes",
                panels: vec![classes_out(GATEWAY), classes_in(GATEWAY), packets(GATEWAY), fallback(GATEWAY)],
            },
            Row { title: "Lanes", panels: lanes() },
            Row { title: "Drops", panels: drops() },
            Row { title: "Where it is decided", panels: vec![rules(GATEWAY), ports()] },
        ],
    }
}

fn numbers() -> Vec<Panel> {
    let down = |metric| GATEWAY.of(metric).now().zeros().sum(&[]);
    let alarm = Alarm::From(1.0);
    vec![
        Panel::number(
            "Tunnels down",
            "Tunnels without any lane that is up: their traffic is blocked.",
            Unit::Count,
            alarm,
            down(&TUNNEL_UP),
        ),
        Panel::number(
            "Lanes down",
            "Lanes that no packet may take: a class without any falls back or blocks.",
            Unit::Count,
            alarm,
            down(&LANE_UP),
        ),
        Panel::number(
            "Share that falls back",
            "The part of outgoing packets that take another class's lane, of all classes together.",
            Unit::Share,
            Alarm::From(0.01),
            fallback_share(ALL_CLASSES, &[]),
        )
        .or("no traffic"),
        Panel::number(
            "Fallback",
            "Packets a second that take another class's lane because their own class has none.",
            Unit::Packets,
            Alarm::From(0.1),
            GATEWAY.of(&FALLBACK).rate().sum(&[]),
        ),
        Panel::number(
            "Blocked",
            "Packets a second that are dropped rather than sent another way than the file says.",
            Unit::Packets,
            Alarm::From(0.1),
            GATEWAY.of(&BLOCKED).rate().sum(&[]),
        ),
        Panel::number(
            "File",
            "Whether the last loading of the file was applied. Refused: what ran before still runs, and `lanekeeper status` \
             says why.",
            Unit::Applied,
            Alarm::Zero,
            GATEWAY.of(&RELOAD_SUCCESS).now().sum(&[]),
        ),
    ]
}

fn lanes() -> Vec<Panel> {
    let bits = |direction| lane_bits(GATEWAY, direction);
    let columns =
        vec![leading("tunnel", "Tunnel", "lanekeeper-tunnel"), label("class", "Class"), label("lane", "Lane")];
    let targets = vec![
        column("Up", Unit::Up, Alarm::None, GATEWAY.of(&LANE_UP).now().sum(LANE)),
        column("Waits", Unit::Count, Alarm::None, GATEWAY.of(&LANE_ON_DEMAND).now().sum(LANE)),
        column("Out", Unit::Bits, Alarm::None, bits("out")),
        column("In", Unit::Bits, Alarm::None, bits("in")),
        column("Rekeys", Unit::Count, Alarm::None, GATEWAY.of(&LANE_REKEYS).increase().sum(LANE)),
    ];
    let lane = "{{tunnel}} {{class}}.{{lane}}";
    vec![
        Panel::table(
            "All lanes",
            "One row for each lane; a click on its tunnel leads there. One that waits is on demand: its SA comes with its next \
             packet. Rekeys are those of the last step.",
            columns,
            targets,
        ),
        Panel::curves(
            "Out, by lane",
            "Bits a second into each lane, before encryption. Lanes of one class share its flows: one flow stays on one lane.",
            Unit::Bits,
            vec![curve(bits("out"), lane)],
        ),
        Panel::curves(
            "In, by lane",
            "Bits a second out of each lane, after decryption: what the far end chose.",
            Unit::Bits,
            vec![curve(bits("in"), lane)],
        ),
        rekeys(GATEWAY),
        lane_errors(GATEWAY),
    ]
}

fn drops() -> Vec<Panel> {
    let xfrm = GATEWAY.of(&XFRM_ERRORS).rate().sum(&["error"]).above("0");
    let unparsed = GATEWAY.of(&UNPARSED).rate().sum(&["reason"]);
    vec![
        blocked(GATEWAY).wide(8),
        Panel::curves(
            "The kernel's IPsec errors",
            "Lines of /proc/net/xfrm_stat that rise, of all IPsec on the machine. XfrmOutPolBlock and XfrmOutNoStates: \
             packets that would have left in clear, or before their SA was there. XfrmInStateSeqError: replay.",
            Unit::Packets,
            vec![curve(xfrm, "{{error}}")],
        )
        .or("no errors")
        .wide(8),
        Panel::curves(
            "Not parsed",
            "Packets a second that took the default class because they could not be read, or whose first fragment was not \
             seen. More than a few: something on the LAN sends what nothing should.",
            Unit::Packets,
            vec![curve(unparsed, "{{reason}}")],
        )
        .wide(8),
    ]
}

fn ports() -> Panel {
    let query = GATEWAY.of(&PORT_PACKETS).rate().sum(&["interface", "by"]);
    Panel::curves(
        "Marked at ports",
        "Packets a second that got their class's mark where they came in, by who classified them. tc on a port of XDP is \
         what XDP left to it: fragments, extension headers, foreign marks.",
        Unit::Packets,
        vec![curve(query, "{{interface}} by {{by}}")],
    )
    .as_kind(Kind::Stacked)
    .or("no ports")
}
