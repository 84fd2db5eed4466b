//! The agent itself: is its file in place, does somebody undo its work, does it keep up.

use lanekeeper::metrics::list::{
    BUILD, DRIFT, GENERATION, OVERRUNS, REFUSED, RELOAD_AT, RELOAD_SUCCESS, SCRAPE_DURATION, SCRAPE_ERRORS,
    TENANTS_TOGETHER,
};

use super::target;
use crate::board::{Board, Row};
use crate::panel::{Alarm, Kind, Panel, Unit, column, curve, label, leading};
use crate::query::{Query, Scope};
use crate::variable::Variable;

const VARIABLES: &[Variable] = &[Variable::many("job"), Variable::many("instance")];
const AGENT: Scope = Scope::board(VARIABLES);
const GATEWAY: &[&str] = &["job", "instance"];

pub fn board() -> Board {
    Board {
        name: "agent",
        title: "Lanekeeper: agent",
        description: "The agent itself: is its file in place, does somebody undo its work, does it keep up.",
        variables: VARIABLES,
        rows: vec![
            Row { title: "Now", panels: vec![agents()] },
            Row { title: "File and tables", panels: file() },
            Row { title: "Others on the machine", panels: others() },
            Row { title: "Scrapes", panels: scrapes() },
        ],
    }
}

fn by_gateway(query: Query) -> Vec<crate::panel::Target> {
    vec![curve(query, "{{instance}}")]
}

fn agents() -> Panel {
    let columns =
        vec![label("job", "Job"), leading("instance", "Gateway", "lanekeeper-gateway"), label("version", "Version")];
    let now = |metric| AGENT.of(metric).now().sum(GATEWAY);
    let targets = vec![
        column("Answers", Unit::Up, Alarm::None, now(&target::UP)),
        column("File", Unit::Applied, Alarm::None, now(&RELOAD_SUCCESS)),
        column("Applied since", Unit::Seconds, Alarm::None, AGENT.of(&RELOAD_AT).now().age().sum(GATEWAY)),
        column("Generation", Unit::Count, Alarm::None, now(&GENERATION)),
        column("Scrape", Unit::Seconds, Alarm::None, now(&target::DURATION)),
        column("Series", Unit::Count, Alarm::None, now(&target::SAMPLES)),
        column("Runs", Unit::Count, Alarm::None, AGENT.of(&BUILD).now().sum(&["job", "instance", "version"])),
    ];
    Panel::table("All agents", "One row for each agent; a click on its gateway leads there.", columns, targets)
}

fn file() -> Vec<Panel> {
    vec![
        Panel::curves(
            "Last loading of the file",
            "1: it was applied. 0: it was refused, what ran before still runs, and `lanekeeper status` says why.",
            Unit::Applied,
            by_gateway(AGENT.of(&RELOAD_SUCCESS).now()),
        )
        .as_kind(Kind::Steps)
        .wide(8),
        Panel::curves(
            "Since the file was applied",
            "Seconds since a file was last applied. It falls to zero at a reload; where it does and nobody reloaded, the \
             agent was restarted.",
            Unit::Seconds,
            by_gateway(AGENT.of(&RELOAD_AT).now().age()),
        )
        .wide(8),
        Panel::curves(
            "Generation of the tables",
            "Which loading of the tables the data path uses. It rises with a reload, and not where single rules are edited \
             in place; a fall means that the data path was made anew.",
            Unit::Count,
            by_gateway(AGENT.of(&GENERATION).now()),
        )
        .as_kind(Kind::Steps)
        .wide(8),
    ]
}

fn others() -> Vec<Panel> {
    vec![
        Panel::curves(
            "Repairs, by kind",
            "Things of ours that somebody changed and that were put back, in each step of the chart. Again and again: another \
             program claims them, often systemd-networkd with routes and rules.",
            Unit::Count,
            vec![curve(AGENT.of(&DRIFT).increase().sum(&["instance", "kind"]), "{{instance}}: {{kind}}")],
        )
        .as_kind(Kind::Events),
        Panel::curves(
            "Netlink overruns",
            "Times that the kernel had more to tell than was taken in time. Each is followed by a fresh look at everything: it \
             costs time, and nothing is lost by it.",
            Unit::Count,
            by_gateway(AGENT.of(&OVERRUNS).increase().sum(&["instance"])),
        )
        .as_kind(Kind::Events),
        Panel::curves(
            "Turned away, by reason",
            "Callers that the metrics listener turned away: without the right password or certificate, without TLS where it speaks \
             TLS, or one too many. A scraper whose password was changed on one end shows here.",
            Unit::Count,
            vec![curve(AGENT.of(&REFUSED).increase().sum(&["instance", "reason"]), "{{instance}}: {{reason}}")],
        )
        .as_kind(Kind::Events),
    ]
}

fn scrapes() -> Vec<Panel> {
    vec![
        Panel::curves(
            "Answers",
            "Whether the agent answered Prometheus: 1 is yes, 0 is no. Traffic goes on by what was loaded, but nothing is repaired \
             and no lane that fails is closed.",
            Unit::Up,
            by_gateway(AGENT.of(&target::UP).now()),
        )
        .as_kind(Kind::Steps)
        .wide(8),
        Panel::curves(
            "Time of a scrape",
            "Seconds that Prometheus waited for the page. It rises with tunnels, tenants and named rules.",
            Unit::Seconds,
            by_gateway(AGENT.of(&target::DURATION).now()),
        )
        .wide(8),
        Panel::curves(
            "Reading",
            "Seconds of it that the agent took to read the data path's counters and the kernel's; the rest is writing and the way.",
            Unit::Seconds,
            by_gateway(AGENT.of(&SCRAPE_DURATION).now()),
        )
        .wide(8),
        Panel::curves(
            "Not read, by part",
            "Times that a part of the page could not be read, in each step of the chart. Without counters or latency Prometheus \
             got no page; events are counted with the next one, and lines of xfrm_stat were left out.",
            Unit::Count,
            vec![curve(AGENT.of(&SCRAPE_ERRORS).increase().sum(&["instance", "part"]), "{{instance}}: {{part}}")],
        )
        .as_kind(Kind::Events)
        .wide(8),
        Panel::curves(
            "Tenants counted together",
            "Tenants with one set of counters for all their classes, because those before them in the file have all sets that there \
             are.",
            Unit::Count,
            by_gateway(AGENT.of(&TENANTS_TOGETHER).now()),
        )
        .as_kind(Kind::Steps)
        .wide(8),
        Panel::curves(
            "Series",
            "Series on the page. They come and go with the file alone: a step without a reload is a rule that a program added.",
            Unit::Count,
            by_gateway(AGENT.of(&target::SAMPLES).now()),
        )
        .as_kind(Kind::Steps)
        .wide(8),
    ]
}
