//! The file's shape: what can be written where, each value typed and with its place, nothing resolved yet. The JSON
//! Schema is made from these types, so their comments are what an editor shows.

mod adopt;
mod class;
mod port;
mod rule;
mod settings;
#[expect(dead_code, reason = "made for their schema, never for a value")]
mod shape;
mod tenant;
mod tunnel;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use schemars::JsonSchema;
use toml::de::DeTable;

pub use adopt::{Adopt, Children};
pub use class::Class;
pub use port::Port;
pub use rule::Rule;
pub use settings::{Default, Host, IkeDaemon, Limits, Mark, Metrics};
pub use tenant::Tenant;
pub use tunnel::{Auth, Device, Tunnel};

use super::findings::{At, Findings, Spot};
use super::problem::Problem;
use super::table::Table;
use super::value;
use shape::Many;

/// A configuration of Lanekeeper.
#[derive(Debug, std::default::Default, JsonSchema)]
#[schemars(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Document {
    /// Further files, as paths or patterns that start at this file's folder. What they say comes after this file, in
    /// the order of their names.
    #[schemars(with = "Option<Many<String>>")]
    pub include: Vec<At<String>>,
    /// The fwmark bits that are ours.
    pub mark: Option<Mark>,
    /// Where counters are served to Prometheus.
    pub metrics: Option<Metrics>,
    /// How to reach strongSwan.
    pub ike: Option<IkeDaemon>,
    /// What Lanekeeper may take of this machine.
    pub limits: Option<Limits>,
    /// What this host itself sends.
    pub host: Option<Host>,
    /// What becomes of traffic that no rule matches.
    pub default: Option<Default>,
    /// QoS classes.
    #[schemars(rename = "class", default)]
    pub classes: Vec<Class>,
    /// IPsec peers, each with its device.
    #[schemars(rename = "tunnel", default)]
    pub tunnels: Vec<Tunnel>,
    /// Which packets are of which class: the first match wins.
    #[schemars(rename = "rule", default)]
    pub rules: Vec<Arc<Rule>>,
    /// Whose traffic there is, each with rules of its own.
    #[schemars(rename = "tenant", default)]
    pub tenants: Vec<Tenant>,
    /// Interfaces whose packets get the mark of their class as they come in.
    #[schemars(rename = "port", default)]
    pub ports: Vec<Port>,
}

impl Document {
    /// Reads one file's tables.
    pub fn read(source: usize, entries: &DeTable<'_>, findings: &mut Findings<'_>) -> Self {
        let mut root = Table::root(source, entries, findings);
        let document = Self {
            include: root.many("include", &value::PATTERN, "leave the key out to include nothing"),
            mark: root.table("mark", "[mark]".to_owned(), Mark::read),
            metrics: root.table("metrics", "[metrics]".to_owned(), Metrics::read),
            ike: root.table("ike", "[ike]".to_owned(), IkeDaemon::read),
            limits: root.table("limits", "[limits]".to_owned(), Limits::read),
            host: root.table("host", "[host]".to_owned(), Host::read),
            default: root.table("default", "[default]".to_owned(), Default::read),
            classes: root.tables("class", |table, _| Class::read(table)),
            tunnels: root.tables("tunnel", |table, _| Tunnel::read(table)),
            rules: root.tables("rule", |table, _| Arc::new(Rule::read(table))),
            tenants: root.tables("tenant", |table, _| Tenant::read(table)),
            ports: root.tables("port", |table, _| Port::read(table)),
        };
        root.finish();
        document
    }

    /// Adds what an included file says.
    pub fn append(&mut self, other: Self, main: &str, findings: &mut Findings<'_>) {
        if let Some(include) = other.include.first() {
            findings.problem(include.spot, Problem::NestedInclude { by: main.to_owned() });
        }
        keep_first(&mut self.mark, other.mark, "[mark]", |mark| mark.spot, findings);
        keep_first(&mut self.metrics, other.metrics, "[metrics]", |metrics| metrics.spot, findings);
        keep_first(&mut self.ike, other.ike, "[ike]", |ike| ike.spot, findings);
        keep_first(&mut self.limits, other.limits, "[limits]", |limits| limits.spot, findings);
        keep_first(&mut self.host, other.host, "[host]", |host| host.spot, findings);
        keep_first(&mut self.default, other.default, "[default]", |default| default.spot, findings);
        self.classes.extend(other.classes);
        self.tunnels.extend(other.tunnels);
        self.rules.extend(other.rules);
        self.tenants.extend(other.tenants);
        self.ports.extend(other.ports);
    }

    /// Whether it has nothing else.
    pub fn only_rules(&self) -> bool {
        self.others().is_empty()
    }

    /// The first of each kind of thing that stands in it beside rules, by its key.
    pub fn others(&self) -> Vec<(&'static str, Spot)> {
        // All of them are named here, so that the next one is not forgotten.
        let Self { include, mark, metrics, ike, limits, host, default, classes, tunnels, rules: _, tenants, ports } =
            self;
        let things = [
            ("include", include.first().map(|include| include.spot)),
            ("mark", mark.as_ref().map(|mark| mark.spot)),
            ("metrics", metrics.as_ref().map(|metrics| metrics.spot)),
            ("ike", ike.as_ref().map(|ike| ike.spot)),
            ("limits", limits.as_ref().map(|limits| limits.spot)),
            ("host", host.as_ref().map(|host| host.spot)),
            ("default", default.as_ref().map(|default| default.spot)),
            ("class", classes.first().map(|class| class.spot)),
            ("tunnel", tunnels.first().map(|tunnel| tunnel.spot)),
            ("tenant", tenants.first().map(|tenant| tenant.spot)),
            ("port", ports.first().map(|port| port.spot)),
        ];
        things.into_iter().filter_map(|(key, spot)| Some((key, spot?))).collect()
    }

    /// Every file that the config names, as written, with the index of the source that names it.
    pub fn files(&self) -> Vec<(usize, &Path)> {
        let files = self.tunnels.iter().flat_map(|tunnel| tunnel.files()).map(|(_, file, _)| file);
        let files = files.chain(self.web_config());
        files.map(|file| (file.spot.source, file.value.as_path())).collect()
    }

    /// What the listener asks of callers.
    pub fn web_config(&self) -> Option<&At<PathBuf>> {
        self.metrics.as_ref().and_then(|metrics| metrics.web_config.as_ref())
    }
}

/// A file that a tunnel names: its key, the file, whether only its owner may read it.
pub type FileKey<'a> = (&'static str, &'a At<PathBuf>, bool);

fn keep_first<T>(
    mine: &mut Option<T>,
    other: Option<T>,
    object: &str,
    spot: impl Fn(&T) -> super::findings::Spot,
    findings: &mut Findings<'_>,
) {
    match (mine.as_ref(), other) {
        (_, None) => {}
        (None, Some(other)) => *mine = Some(other),
        (Some(first), Some(other)) => {
            let first = findings.place(spot(first));
            findings.problem(spot(&other), Problem::SetTwice { object: object.to_owned(), first });
        }
    }
}
