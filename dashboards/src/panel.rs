//! One panel: what it shows, in which unit, and the JSON that Grafana 11 reads.

use serde_json::{Value, json};

use crate::query::Query;

/// What numbers mean, by Grafana's name of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Bits a second.
    Bits,
    /// Packets a second.
    Packets,
    /// Bytes.
    Bytes,
    /// A number of things.
    Count,
    /// A part of one, shown as a percentage.
    Share,
    /// Seconds.
    Seconds,
    /// 1 is up, 0 is down.
    Up,
    /// 1 is yes, 0 is no.
    Applied,
}

impl Unit {
    fn name(self) -> &'static str {
        match self {
            Self::Bits => "bps",
            Self::Packets => "pps",
            Self::Bytes => "bytes",
            Self::Count | Self::Up | Self::Applied => "short",
            Self::Share => "percentunit",
            Self::Seconds => "s",
        }
    }

    /// Words for 1 and 0.
    fn words(self) -> Option<[&'static str; 2]> {
        match self {
            Self::Up => Some(["up", "down"]),
            Self::Applied => Some(["applied", "refused"]),
            Self::Bits | Self::Packets | Self::Bytes | Self::Count | Self::Share | Self::Seconds => None,
        }
    }

    fn mappings(self) -> Value {
        match self.words() {
            Some([one, zero]) => json!([{ "type": "value", "options": {
                "1": { "text": one, "color": "green", "index": 0 }, "0": { "text": zero, "color": "red", "index": 1 }
            } }]),
            None => json!([]),
        }
    }
}

/// When a number is a reason to look.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Alarm {
    /// Never.
    None,
    /// From here on.
    From(f64),
    /// While it is 0.
    Zero,
}

impl Alarm {
    fn thresholds(self) -> Value {
        let step = |color: &str, value: Option<f64>| json!({ "color": color, "value": value });
        let steps = match self {
            Self::None => vec![step("text", None)],
            Self::From(value) => vec![step("green", None), step("red", Some(value))],
            Self::Zero => vec![step("red", None), step("green", Some(1.0))],
        };
        json!({ "mode": "absolute", "steps": steps })
    }
}

/// How a panel looks.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// Curves over time.
    Curves,
    /// Curves on top of each other: what they sum up to means something.
    Stacked,
    /// What happened in each step, as bars.
    Events,
    /// Values that hold until the next, as steps.
    Steps,
    /// One number, the last one.
    Number(Alarm),
    /// A table of what is now: a row for each set of these labels, a column for each target.
    Table(Vec<Column>),
}

/// A label's column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Which label.
    pub label: &'static str,
    /// The column's head.
    pub head: &'static str,
    /// Where a click leads: another dashboard's uid.
    pub leads: Option<&'static str>,
}

/// A query with its name in the legend, or at the head of its column.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// What is asked.
    pub query: Query,
    /// May hold labels, as `{{class}}`.
    pub legend: &'static str,
    /// Of a column; curves have their panel's.
    pub unit: Unit,
    /// Of a column's cells.
    pub alarm: Alarm,
}

/// One panel.
#[derive(Debug, Clone, PartialEq)]
pub struct Panel {
    /// Says what is seen.
    pub title: &'static str,
    /// Says what it means, and when it is a reason to act.
    pub description: &'static str,
    /// How it looks.
    pub kind: Kind,
    /// Of all its curves.
    pub unit: Unit,
    /// What it asks.
    pub targets: Vec<Target>,
    /// Shown in the place of nothing.
    pub nothing: Option<&'static str>,
    /// Of the 24 columns of a dashboard.
    pub width: u32,
    /// In Grafana's rows of 30 pixels.
    pub height: u32,
}

impl Panel {
    /// A panel of curves.
    pub fn curves(title: &'static str, description: &'static str, unit: Unit, targets: Vec<Target>) -> Self {
        Self { title, description, kind: Kind::Curves, unit, targets, nothing: None, width: 12, height: 9 }
    }

    /// One number.
    pub fn number(title: &'static str, description: &'static str, unit: Unit, alarm: Alarm, query: Query) -> Self {
        let kind = Kind::Number(alarm);
        Self { kind, width: 4, height: 4, ..Self::curves(title, description, unit, vec![curve(query, "")]) }
    }

    /// A table.
    pub fn table(title: &'static str, description: &'static str, columns: Vec<Column>, targets: Vec<Target>) -> Self {
        let kind = Kind::Table(columns);
        Self { kind, width: 24, height: 9, ..Self::curves(title, description, Unit::Count, targets) }
    }

    /// Shown in another way.
    pub fn as_kind(self, kind: Kind) -> Self {
        Self { kind, ..self }
    }

    /// Of another width.
    pub fn wide(self, width: u32) -> Self {
        Self { width, ..self }
    }

    /// What to say where there is nothing to show.
    pub fn or(self, nothing: &'static str) -> Self {
        Self { nothing: Some(nothing), ..self }
    }

    /// As Grafana reads it, at a place of the dashboard.
    pub fn json(&self, id: u32, (x, y): (u32, u32)) -> Value {
        let mut defaults = json!({
            "unit": self.unit.name(),
            "mappings": self.unit.mappings(),
            "thresholds": self.alarm().thresholds(),
            "color": { "mode": if matches!(self.kind, Kind::Number(_)) { "thresholds" } else { "palette-classic" } },
            "custom": self.custom(),
        });
        if self.unit == Unit::Share {
            defaults["min"] = json!(0);
        }
        if let Some(nothing) = self.nothing {
            defaults["noValue"] = json!(nothing);
        }
        let mut panel = json!({
            "id": id,
            "type": self.plugin(),
            "title": self.title,
            "description": self.description,
            "datasource": datasource(),
            "gridPos": { "x": x, "y": y, "w": self.width, "h": self.height },
            "fieldConfig": { "defaults": defaults, "overrides": self.overrides() },
            "options": self.options(),
            "targets": self.targets.iter().enumerate().map(|(n, target)| self.target(n, target)).collect::<Vec<_>>(),
        });
        if let Kind::Table(columns) = &self.kind {
            panel["transformations"] = transformations(columns, &self.targets);
        }
        panel
    }

    fn plugin(&self) -> &'static str {
        match self.kind {
            Kind::Curves | Kind::Stacked | Kind::Events | Kind::Steps => "timeseries",
            Kind::Number(_) => "stat",
            Kind::Table(_) => "table",
        }
    }

    fn alarm(&self) -> Alarm {
        match self.kind {
            Kind::Number(alarm) => alarm,
            Kind::Curves | Kind::Stacked | Kind::Events | Kind::Steps | Kind::Table(_) => Alarm::None,
        }
    }

    fn custom(&self) -> Value {
        let line = |fill: u32, stack: &str, draw: &str, between: &str| {
            json!({
                "drawStyle": draw, "lineInterpolation": between, "lineWidth": 2, "fillOpacity": fill, "showPoints": "never",
                "stacking": { "mode": stack, "group": "A" }, "spanNulls": false, "axisSoftMin": 0,
            })
        };
        match self.kind {
            Kind::Curves => line(8, "none", "line", "linear"),
            Kind::Stacked => line(30, "normal", "line", "linear"),
            Kind::Events => line(60, "normal", "bars", "linear"),
            Kind::Steps => line(8, "none", "line", "stepAfter"),
            Kind::Number(_) => json!({}),
            Kind::Table(_) => json!({ "align": "auto", "filterable": true, "cellOptions": { "type": "auto" } }),
        }
    }

    fn options(&self) -> Value {
        match self.kind {
            Kind::Curves | Kind::Stacked | Kind::Events | Kind::Steps => json!({
                "legend": { "showLegend": true, "displayMode": "table", "placement": "bottom", "calcs": ["mean", "max", "lastNotNull"] },
                "tooltip": { "mode": "multi", "sort": "desc" },
            }),
            Kind::Number(_) => json!({
                "reduceOptions": { "calcs": ["lastNotNull"], "fields": "", "values": false },
                "colorMode": "value", "graphMode": "area", "justifyMode": "auto", "orientation": "auto", "textMode": "auto",
                "wideLayout": true,
            }),
            Kind::Table(_) => json!({ "showHeader": true, "cellHeight": "sm", "footer": { "show": false } }),
        }
    }

    fn target(&self, n: usize, target: &Target) -> Value {
        let is_table = matches!(self.kind, Kind::Table(_));
        for label in target.legend.split("{{").skip(1).filter_map(|rest| rest.split_once("}}")) {
            assert!(
                target.query.labels.contains(label.0),
                "{}: legend {:?} of {}",
                self.title,
                target.legend,
                target.query.text
            );
        }
        json!({
            "refId": reference(n),
            "datasource": datasource(),
            "editorMode": "code",
            "expr": target.query.text,
            "legendFormat": if is_table { "" } else { target.legend },
            "format": if is_table { "table" } else { "time_series" },
            "instant": is_table,
            "range": !is_table,
        })
    }

    fn overrides(&self) -> Vec<Value> {
        let Kind::Table(columns) = &self.kind else { return Vec::new() };
        let of = |head: &str, properties: Value| json!({ "matcher": { "id": "byName", "options": head }, "properties": properties });
        let leads = columns.iter().enumerate().filter_map(|(n, column)| {
            let to = column.leads?;
            // Columns before it say more of it, those behind say what is there.
            let known = &columns[..=n];
            let values: String =
                known.iter().map(|known| format!("var-{}=${{__data.fields.{}}}&", known.label, known.head)).collect();
            let url = format!("/d/{to}?{values}${{datasource:queryparam}}&${{__url_time_range}}");
            let title = format!("Open this {}", column.head.to_lowercase());
            Some(of(column.head, json!([{ "id": "links", "value": [{ "title": title, "url": url }] }])))
        });
        let units = self.targets.iter().map(|target| {
            let cell = if target.alarm == Alarm::None && target.unit.words().is_none() { "auto" } else { "color-text" };
            of(
                target.legend,
                json!([
                    { "id": "unit", "value": target.unit.name() },
                    { "id": "mappings", "value": target.unit.mappings() },
                    { "id": "thresholds", "value": target.alarm.thresholds() },
                    { "id": "color", "value": { "mode": "thresholds" } },
                    { "id": "custom.cellOptions", "value": { "type": cell } },
                ]),
            )
        });
        leads.chain(units).collect()
    }
}

/// The data source that the dashboard's reader chose.
pub fn datasource() -> Value {
    json!({ "type": "prometheus", "uid": "${datasource}" })
}

/// `A`, `B`, ...
fn reference(n: usize) -> String {
    char::from(b'A' + u8::try_from(n).expect("a panel has few targets")).to_string()
}

/// Makes one table of the answers, with the columns of the labels first.
fn transformations(columns: &[Column], targets: &[Target]) -> Value {
    let values = targets.iter().enumerate().map(|(n, target)| {
        // Grafana leaves the reference out where there is but one.
        let field = if targets.len() == 1 { "Value".to_owned() } else { format!("Value #{}", reference(n)) };
        (field, target.legend)
    });
    let fields: Vec<(String, &str)> =
        columns.iter().map(|column| (column.label.to_owned(), column.head)).chain(values).collect();
    let shown: Vec<&str> = columns.iter().map(|column| column.label).collect();
    let mut excluded = json!({ "Time": true });
    for target in targets {
        let all = target.query.labels.iter().all(|label| shown.contains(label));
        assert!(
            all,
            "the column {:?} has rows for each of {:?}: {shown:?} are shown",
            target.legend, target.query.labels
        );
    }
    excluded["__name__"] = json!(true);
    let names: serde_json::Map<String, Value> =
        fields.iter().map(|(field, head)| (field.clone(), json!(head))).collect();
    let order: serde_json::Map<String, Value> =
        fields.iter().enumerate().map(|(n, (field, _))| (field.clone(), json!(n))).collect();
    json!([
        { "id": "merge", "options": {} },
        { "id": "organize", "options": { "excludeByName": excluded, "renameByName": names, "indexByName": order } },
    ])
}

/// A curve with its name.
pub fn curve(query: Query, legend: &'static str) -> Target {
    Target { query, legend, unit: Unit::Count, alarm: Alarm::None }
}

/// A column of a table.
pub fn column(head: &'static str, unit: Unit, alarm: Alarm, query: Query) -> Target {
    Target { query, legend: head, unit, alarm }
}

/// A label's column.
pub fn label(label: &'static str, head: &'static str) -> Column {
    Column { label, head, leads: None }
}

/// A label's column that leads to another dashboard.
pub fn leading(label: &'static str, head: &'static str, leads: &'static str) -> Column {
    Column { label, head, leads: Some(leads) }
}
