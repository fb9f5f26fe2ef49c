//! A dashboard as Grafana reads it.
//!
//! Panels stand side by side, in the order of the source, and begin a new line where one has no room.

use serde_json::{Value, json};

use super::source::{CHOICE, Dashboard, Panel, PanelKind, Variable};

/// The version of the format: that of Grafana 11. Later ones read it, too.
const SCHEMA: u32 = 39;
/// The columns of Grafana's grid.
const COLUMNS: u32 = 24;
/// The mark that all dashboards have, by which they link to each other.
const TAG: &str = "tickwire";
/// What a query says of the chosen jobs and instances.
const CHOSEN: &str = r#"job=~"$job",instance=~"$instance""#;

/// Makes a dashboard with these variables.
pub(super) fn dashboard(dashboard: &Dashboard, variables: &[Variable]) -> Value {
    let mut list = vec![json!({
        "name": "datasource",
        "label": "Prometheus",
        "type": "datasource",
        "query": "prometheus",
        "refresh": 1,
    })];
    list.extend(variables.iter().map(variable));
    json!({
        "uid": dashboard.uid,
        "title": dashboard.title,
        "description": dashboard.tells,
        "tags": [TAG],
        "schemaVersion": SCHEMA,
        "editable": true,
        "graphTooltip": 1,
        "refresh": "10s",
        "time": { "from": "now-1h", "to": "now" },
        "links": [{
            "type": "dashboards",
            "title": "Tickwire",
            "tags": [TAG],
            "includeVars": true,
            "keepTime": true,
        }],
        "templating": { "list": list },
        "panels": panels(dashboard),
    })
}

fn variable(variable: &Variable) -> Value {
    json!({
        "name": variable.name,
        "label": variable.label,
        "type": "query",
        "datasource": source(),
        "query": { "query": variable.query, "refId": "variable" },
        "definition": variable.query,
        // The values are asked for again when another time is chosen: brokers come and go.
        "refresh": 2,
        "sort": 1,
        "multi": true,
        "includeAll": true,
        "current": { "text": ["All"], "value": ["$__all"] },
    })
}

fn source() -> Value {
    json!({ "type": "prometheus", "uid": "${datasource}" })
}

/// The rows and panels of a dashboard, with their numbers and places.
fn panels(dashboard: &Dashboard) -> Vec<Value> {
    let mut panels = Vec::new();
    let mut top = 0;
    for row in &dashboard.row {
        panels.push(json!({
            "type": "row",
            "title": row.title,
            "collapsed": false,
            "panels": [],
            "gridPos": { "x": 0, "y": top, "w": COLUMNS, "h": 1 },
        }));
        top += 1;
        let (mut left, mut lowest) = (0, top);
        for panel in &row.panel {
            let (width, height) = size(panel.kind);
            if left + width > COLUMNS {
                (left, top) = (0, lowest);
            }
            let mut made = self::panel(panel);
            made["gridPos"] = json!({ "x": left, "y": top, "w": width, "h": height });
            panels.push(made);
            left += width;
            lowest = lowest.max(top + height);
        }
        top = lowest;
    }
    for (id, panel) in (1..).zip(&mut panels) {
        panel["id"] = json!(id);
    }
    panels
}

/// The columns and lines that a panel takes of the grid.
fn size(kind: PanelKind) -> (u32, u32) {
    match kind {
        PanelKind::Number => (3, 4),
        PanelKind::Lines => (8, 8),
        PanelKind::Heatmap => (16, 8),
    }
}

fn panel(panel: &Panel) -> Value {
    let targets = panel.series.iter().zip('A'..='Z').map(|((legend, query), id)| {
        let mut target = json!({
            "refId": id,
            "datasource": source(),
            "expr": query.replace(CHOICE, CHOSEN),
            "legendFormat": legend,
            "range": true,
        });
        if panel.kind == PanelKind::Heatmap {
            target["format"] = json!("heatmap");
        }
        target
    });
    let description = match &panel.calm {
        Some(calm) => format!("{} {calm}", panel.tells),
        None => panel.tells.clone(),
    };
    let mut made = json!({
        "type": match panel.kind {
            PanelKind::Lines => "timeseries",
            PanelKind::Number => "stat",
            PanelKind::Heatmap => "heatmap",
        },
        "title": panel.title,
        "description": description,
        "datasource": source(),
        "targets": targets.collect::<Vec<_>>(),
        "options": options(panel),
    });
    if panel.kind != PanelKind::Heatmap {
        let mut defaults = json!({ "unit": panel.unit });
        if panel.kind == PanelKind::Lines {
            defaults["custom"] = json!({ "fillOpacity": 8, "showPoints": "never" });
        }
        made["fieldConfig"] = json!({ "defaults": defaults, "overrides": [] });
    }
    made
}

fn options(panel: &Panel) -> Value {
    match panel.kind {
        PanelKind::Lines => json!({
            "legend": { "displayMode": "list", "placement": "bottom", "showLegend": true },
            // Sets of labels are wide, and most of their series are 0.
            "tooltip": { "mode": "multi", "sort": "desc", "hideZeros": true },
        }),
        PanelKind::Number => json!({
            "reduceOptions": { "calcs": ["lastNotNull"], "fields": "", "values": false },
            "colorMode": "none",
            "graphMode": "area",
            "textMode": "value",
        }),
        PanelKind::Heatmap => json!({
            "calculate": false,
            "color": { "mode": "scheme", "scheme": "Blues", "steps": 64 },
            "yAxis": { "unit": panel.unit },
            "cellGap": 1,
            "legend": { "show": true },
            "tooltip": { "mode": "single", "yHistogram": true },
        }),
    }
}
