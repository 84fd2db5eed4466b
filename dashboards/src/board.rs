//! A dashboard: variables, rows of panels, links to the others.

use serde_json::{Value, json};

use crate::panel::Panel;
use crate::variable::Variable;

/// All dashboards carry it, and find each other by it.
pub const TAG: &str = "lanekeeper";

/// A title and what stands below it.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Says what the panels are about.
    pub title: &'static str,
    /// From left to right; a line holds 24 columns.
    pub panels: Vec<Panel>,
}

/// One dashboard.
#[derive(Debug, Clone, PartialEq)]
pub struct Board {
    /// Of its file and, behind the tag, of its address. Never changes: links and bookmarks hold it.
    pub name: &'static str,
    /// In Grafana's list.
    pub title: &'static str,
    /// Whose question it answers.
    pub description: &'static str,
    /// In the order of the screen.
    pub variables: &'static [Variable],
    /// From top to bottom.
    pub rows: Vec<Row>,
}

impl Board {
    /// As Grafana imports it.
    pub fn json(&self) -> Value {
        let mut variables = vec![json!({
            "name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "regex": "",
            "current": {}, "options": [], "hide": 0, "includeAll": false, "multi": false, "refresh": 1, "skipUrlSync": false,
        })];
        for (n, variable) in self.variables.iter().enumerate() {
            variables.push(variable.json(&self.variables[..n]));
        }
        json!({
            "uid": uid(self.name),
            "title": self.title,
            "description": self.description,
            "tags": [TAG],
            "schemaVersion": 39,
            "version": 1,
            "editable": true,
            "graphTooltip": 1,
            "refresh": "30s",
            "time": { "from": "now-6h", "to": "now" },
            "timepicker": {},
            "timezone": "",
            "weekStart": "",
            "fiscalYearStartMonth": 0,
            "annotations": { "list": [] },
            "links": [{
                "type": "dashboards", "tags": [TAG], "title": "Lanekeeper", "tooltip": "", "icon": "external link", "url": "",
                "asDropdown": false, "includeVars": true, "keepTime": true, "targetBlank": false,
            }],
            "templating": { "list": variables },
            "panels": self.panels(),
        })
    }

    /// Rows and panels with their places.
    fn panels(&self) -> Vec<Value> {
        let (mut all, mut y) = (Vec::new(), 0);
        let next = |all: &Vec<Value>| u32::try_from(all.len()).expect("few panels") + 1;
        for row in &self.rows {
            all.push(json!({
                "id": next(&all), "type": "row", "title": row.title, "collapsed": false, "panels": [],
                "gridPos": { "x": 0, "y": y, "w": 24, "h": 1 },
            }));
            y += 1;
            let (mut x, mut tallest) = (0, 0);
            for panel in &row.panels {
                if x + panel.width > 24 {
                    (x, y, tallest) = (0, y + tallest, 0);
                }
                all.push(panel.json(next(&all), (x, y)));
                x += panel.width;
                tallest = tallest.max(panel.height);
            }
            y += tallest;
        }
        all
    }
}

/// Of a dashboard's address.
pub fn uid(name: &str) -> String {
    format!("{TAG}-{name}")
}
