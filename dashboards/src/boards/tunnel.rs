//! One tunnel, from each of its gateways that are scraped.

use lanekeeper::metrics::list::{
    LANE_BYTES, LANE_CHANGED, LANE_INTEGRITY, LANE_PACKETS, LANE_REPLAY, LANE_UP, LANE_USED, TUNNEL_UP,
};

use super::{fallback, fallback_share, lane_bits, lane_errors, latency, rekeys};
use crate::board::{Board, Row};
use crate::panel::{Alarm, Kind, Panel, Unit, curve};
use crate::query::{Query, Scope};
use crate::variable::Variable;

const VARIABLES: &[Variable] =
    &[Variable::many("job"), Variable::many("instance"), Variable::one("tunnel"), Variable::many("class")];
const TUNNEL: Scope = Scope::board(VARIABLES);
const ALL_CLASSES: Scope = Scope::board(&[Variable::many("job"), Variable::many("instance"), Variable::one("tunnel")]);
const LANE: &[&str] = &["class", "lane"];

pub fn board() -> Board {
    Board {
        name: "tunnel",
        title: "Lanekeeper: tunnel",
        description: "One tunnel and its lanes, from each of its gateways that are scraped.",
        variables: VARIABLES,
        rows: vec![
            Row { title: "Now", panels: numbers() },
            Row { title: "Lanes", panels: lanes() },
            Row { title: "Trouble", panels: vec![fallback(TUNNEL), lane_errors(TUNNEL), loss(), rekeys(TUNNEL)] },
        ],
    }
}

fn numbers() -> Vec<Panel> {
    let bits = |direction| TUNNEL.of(&LANE_BYTES).is("direction", direction).rate().sum(&[]).bits();
    let refused = |metric| TUNNEL.of(metric).rate().sum(&[]);
    vec![
        Panel::number(
            "Ends down",
            "Gateways on which no lane of the tunnel is up: what they would send is blocked.",
            Unit::Count,
            Alarm::From(1.0),
            TUNNEL.of(&TUNNEL_UP).now().zeros().sum(&[]),
        ),
        Panel::number(
            "Lanes down",
            "Lanes that no packet may take, on all of the tunnel's gateways that are chosen.",
            Unit::Count,
            Alarm::From(1.0),
            TUNNEL.of(&LANE_UP).now().zeros().sum(&[]),
        ),
        Panel::number("Out", "Bits a second into the tunnel, before encryption.", Unit::Bits, Alarm::None, bits("out")),
        Panel::number("In", "Bits a second out of the tunnel, after decryption.", Unit::Bits, Alarm::None, bits("in")),
        Panel::number(
            "Share that falls back",
            "The part of the tunnel's outgoing packets that take another class's lane, of all classes together.",
            Unit::Share,
            Alarm::From(0.01),
            fallback_share(ALL_CLASSES, &[]),
        )
        .or("no traffic"),
        Panel::number(
            "Refused",
            "Packets a second that the tunnel's SAs refused as replayed or not authentic.",
            Unit::Packets,
            Alarm::From(0.1),
            refused(&LANE_REPLAY).plus(refused(&LANE_INTEGRITY)),
        ),
    ]
}

fn lanes() -> Vec<Panel> {
    let size = |direction: &str| {
        let of = |metric| TUNNEL.of(metric).is("direction", direction).rate().sum(LANE);
        of(&LANE_BYTES).of(of(&LANE_PACKETS))
    };
    let packets = |direction: &str| TUNNEL.of(&LANE_PACKETS).is("direction", direction).rate().sum(LANE);
    let out = TUNNEL.of(&LANE_BYTES).is("direction", "out");
    let spread = out.rate().sum(LANE).of(out.rate().sum(&["class"]));
    let lane = |query: Query| vec![curve(query, "{{class}}.{{lane}}")];
    let both = |of: &dyn Fn(&str) -> Query| {
        vec![curve(of("out"), "{{class}}.{{lane}} out"), curve(of("in"), "{{class}}.{{lane}} in")]
    };
    vec![
        Panel::curves(
            "Out, by lane",
            "Bits a second into each lane, before encryption: each has its own sequence numbers, so none waits for another.",
            Unit::Bits,
            lane(lane_bits(TUNNEL, "out")),
        )
        .as_kind(Kind::Stacked),
        Panel::curves(
            "In, by lane",
            "Bits a second out of each lane, after decryption: what the far end chose.",
            Unit::Bits,
            lane(lane_bits(TUNNEL, "in")),
        )
        .as_kind(Kind::Stacked),
        Panel::curves(
            "Packets, by lane",
            "Packets a second of each lane, both ways. A lane that is up and carries nothing one way is a rule that differs \
             between the gateways.",
            Unit::Packets,
            both(&packets),
        ),
        Panel::curves(
            "Size of packets",
            "The mean number of bytes of a packet, by lane. Voice is small and even; a jump is another kind of traffic in \
             the class.",
            Unit::Bytes,
            both(&size),
        )
        .or("no traffic"),
        Panel::curves(
            "Spread over a class's lanes",
            "The part of a class's bytes that each of its lanes carries. Many flows spread evenly; one large flow stays on \
             one lane.",
            Unit::Share,
            lane(spread),
        )
        .as_kind(Kind::Stacked)
        .or("no traffic"),
        Panel::curves(
            "Lanes that are up",
            "Whether packets may take a lane, on each gateway: 1 is up, 0 is down.",
            Unit::Up,
            vec![curve(TUNNEL.of(&LANE_UP).now().sum(&["instance", "class", "lane"]), "{{instance}} {{class}}.{{lane}}")],
        )
        .as_kind(Kind::Steps),
        Panel::curves(
            "Since a lane's last change",
            "Seconds since a lane became what it is, up, on demand or down, on each gateway. A rekey changes nothing; a line that \
             falls to zero again and again is a lane that flaps.",
            Unit::Seconds,
            vec![curve(
                TUNNEL.of(&LANE_CHANGED).now().age().sum(&["instance", "class", "lane"]),
                "{{instance}} {{class}}.{{lane}}",
            )],
        )
        .wide(12),
        Panel::curves(
            "Sequence numbers used",
            "The part of its sequence numbers that each lane's SA has used. It rises with packets and falls to nothing with a \
             rekey; what reaches the top carries nothing more.",
            Unit::Share,
            vec![curve(TUNNEL.of(&LANE_USED).now().sum(&["instance", "class", "lane"]), "{{instance}} {{class}}.{{lane}}")],
        )
        .wide(12),
        latency(TUNNEL),
    ]
}

fn loss() -> Panel {
    let of = |metric| TUNNEL.of(metric).rate().sum(LANE);
    let taken = TUNNEL.of(&LANE_PACKETS).is("direction", "in").rate().sum(LANE);
    let refused = of(&LANE_REPLAY).plus(of(&LANE_INTEGRITY));
    let share = refused.clone().of(refused.plus(taken));
    Panel::curves(
        "Share that SAs refuse",
        "The part of what arrived on a lane that its SA refused. A congested WAN reorders between lanes, which is harmless; \
         within one lane this stays at zero.",
        Unit::Share,
        vec![curve(share, "{{class}}.{{lane}}")],
    )
    .or("no traffic")
}
