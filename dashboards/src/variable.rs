//! Variables of dashboards: what the reader chooses from, and what filters by it.

use lanekeeper::metrics::Metric;
use lanekeeper::metrics::list::{BUILD, CLASS_BYTES, LANE_UP};
use serde_json::{Value, json};

use crate::panel::datasource;
use crate::query::{Scope, TARGET};

/// How many values a variable takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// One.
    One,
    /// Some, or all.
    Many,
}

/// A variable, which filters by the label of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Variable {
    /// Label and variable.
    pub name: &'static str,
    /// How many.
    pub choice: Choice,
}

impl Variable {
    /// One value of it.
    pub const fn one(name: &'static str) -> Self {
        Self { name, choice: Choice::One }
    }

    /// Some of its values, or all.
    pub const fn many(name: &'static str) -> Self {
        Self { name, choice: Choice::Many }
    }

    /// The matcher that lets through what was chosen. Grafana escapes the values of a choice of many, and those alone.
    pub fn matcher(self) -> String {
        match self.choice {
            Choice::One => format!("{0}=\"${0}\"", self.name),
            Choice::Many => format!("{0}=~\"${0}\"", self.name),
        }
    }

    /// As Grafana reads it: its values are those of the chosen job and gateways, whose variables stand before it.
    pub fn json(self, before: &'static [Variable]) -> Value {
        let target = before.iter().take_while(|variable| TARGET.contains(&variable.name)).count();
        let query = Scope::board(&before[..target]).of(self.metric()).values(self.name);
        let many = self.choice == Choice::Many;
        let mut json = json!({
            "name": self.name, "label": self.label(), "type": "query", "datasource": datasource(), "definition": query,
            // 1 is the editor's number of label_values.
            "query": { "qryType": 1, "query": query, "refId": "PrometheusVariableQueryEditor-VariableQuery" },
            "regex": "", "sort": 1, "current": {}, "options": [], "hide": 0, "includeAll": many, "multi": many,
            // On every change of the time range: gateways, tunnels and tenants come and go.
            "refresh": 2, "skipUrlSync": false,
        });
        // All jobs is all jobs of ours: other targets have `up` too. Elsewhere it is whatever there is, and the empty value.
        if many && self.name != "job" {
            json["allValue"] = json!(".*");
        }
        if many {
            json["current"] = json!({ "selected": true, "text": ["All"], "value": ["$__all"] });
        }
        json
    }

    /// Which metric knows all values.
    fn metric(self) -> &'static Metric {
        match self.name {
            "tunnel" => &LANE_UP,
            "tenant" | "class" => &CLASS_BYTES,
            _ => &BUILD,
        }
    }

    fn label(self) -> &'static str {
        match self.name {
            "job" => "Job",
            "instance" => "Gateway",
            "tunnel" => "Tunnel",
            "tenant" => "Tenant",
            "class" => "Class",
            name => name,
        }
    }
}
