//! One tenant, on all gateways or some.

use lanekeeper::metrics::list::{BLOCKED, CLASS_BYTES};

use super::{blocked, classes_in, classes_out, packets, rules};
use crate::board::{Board, Row};
use crate::panel::{Alarm, Panel, Unit, curve};
use crate::query::Scope;
use crate::variable::Variable;

const VARIABLES: &[Variable] =
    &[Variable::many("job"), Variable::many("instance"), Variable::one("tenant"), Variable::many("class")];
const TENANT: Scope = Scope::board(VARIABLES);
/// The tenant and all others.
const EVERYBODY: Scope = Scope::board(&[Variable::many("job"), Variable::many("instance"), Variable::many("class")]);

pub fn board() -> Board {
    Board {
        name: "tenant",
        title: "Lanekeeper: tenant",
        description: "One tenant: what it sends and gets, what of it is blocked, which of its rules decide.",
        variables: VARIABLES,
        rows: vec![
            Row { title: "Now", panels: numbers() },
            Row {
                title: "Traffic",
                panels: vec![classes_out(TENANT), classes_in(TENANT), packets(TENANT), by_gateway()],
            },
            Row { title: "Rules and drops", panels: vec![rules(TENANT), blocked(TENANT)] },
        ],
    }
}

fn numbers() -> Vec<Panel> {
    let bits = |scope: Scope, direction| scope.of(&CLASS_BYTES).is("direction", direction).rate().sum(&[]).bits();
    let share = |direction| bits(TENANT, direction).of(bits(EVERYBODY, direction));
    let blocked = |reason| TENANT.of(&BLOCKED).is("reason", reason).rate().sum(&[]);
    vec![
        Panel::number(
            "Out",
            "Bits a second of the tenant into tunnels, before encryption.",
            Unit::Bits,
            Alarm::None,
            bits(TENANT, "out"),
        ),
        Panel::number(
            "In",
            "Bits a second out of tunnels for the tenant, after decryption.",
            Unit::Bits,
            Alarm::None,
            bits(TENANT, "in"),
        ),
        Panel::number(
            "Share of out",
            "The tenant's part of all that the chosen gateways send.",
            Unit::Share,
            Alarm::None,
            share("out"),
        )
        .or("no traffic"),
        Panel::number(
            "Share of in",
            "The tenant's part of all that the chosen gateways get.",
            Unit::Share,
            Alarm::None,
            share("in"),
        )
        .or("no traffic"),
        Panel::number(
            "Blocked for want of a lane",
            "Packets a second of the tenant for which no lane of the fallback chain is up.",
            Unit::Packets,
            Alarm::From(0.1),
            blocked("no_lane"),
        ),
        Panel::number(
            "Stopped at others' tunnels",
            "Packets a second of the tenant that a route led into a tunnel that is not its own.",
            Unit::Packets,
            Alarm::From(0.1),
            blocked("tenant"),
        ),
    ]
}

fn by_gateway() -> Panel {
    let bits = |direction| TENANT.of(&CLASS_BYTES).is("direction", direction).rate().sum(&["instance"]).bits();
    Panel::curves(
        "By gateway",
        "Bits a second of the tenant on each gateway, both ways.",
        Unit::Bits,
        vec![curve(bits("out"), "{{instance}} out"), curve(bits("in"), "{{instance}} in")],
    )
}
