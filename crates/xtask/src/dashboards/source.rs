//! The source of the dashboards, as it is written, and what must hold of it.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use serde::Deserialize;

/// What a query says in place of the choice of jobs and instances.
pub(super) const CHOICE: char = '@';
/// Beginnings of the names of series that brokers export, or that Prometheus makes for each of them.
const EXPORTED: &[&str] = &["tickwire_", "process_"];
/// Whole names of the same.
const MADE: &[&str] = &["up", "ALERTS"];

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Source {
    pub(super) variable: Vec<Variable>,
    pub(super) dashboard: Vec<Dashboard>,
}

/// A choice that all dashboards offer.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Variable {
    pub(super) name: String,
    pub(super) label: String,
    pub(super) query: String,
}

/// A dashboard.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Dashboard {
    /// Its name in addresses, and that of its file.
    pub(super) uid: String,
    pub(super) title: String,
    pub(super) tells: String,
    pub(super) row: Vec<Row>,
}

/// Panels under a title.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Row {
    pub(super) title: String,
    pub(super) panel: Vec<Panel>,
}

/// A picture of one or more series.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Panel {
    pub(super) title: String,
    #[serde(default)]
    pub(super) kind: PanelKind,
    /// The unit by Grafana's name.
    #[serde(default = "no_unit")]
    pub(super) unit: String,
    /// What the values mean.
    pub(super) tells: String,
    /// When they are 0, if that is usual.
    #[serde(default)]
    pub(super) calm: Option<String>,
    /// The legend and the query of each series.
    pub(super) series: Vec<(String, String)>,
}

/// The form of a panel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum PanelKind {
    /// Lines over time.
    #[default]
    Lines,
    /// The newest value, in large letters.
    Number,
    /// A histogram over time.
    Heatmap,
}

fn no_unit() -> String {
    "short".to_owned()
}

impl Source {
    /// Checks what the types do not say.
    pub(super) fn check(&self) -> Result<()> {
        for dashboard in &self.dashboard {
            let uid = &dashboard.uid;
            let is_name = uid.chars().all(|c| c.is_ascii_lowercase() || c == '-');
            ensure!(is_name && !uid.is_empty(), "{uid} is no name of a file");
            let mut titles = BTreeSet::new();
            for panel in dashboard.row.iter().flat_map(|row| &row.panel) {
                let title = &panel.title;
                ensure!(titles.insert(title), "two panels of {uid} are called {title}");
                panel.check()?;
            }
        }
        Ok(())
    }
}

impl Panel {
    fn check(&self) -> Result<()> {
        let title = &self.title;
        ensure!(!self.series.is_empty(), "{title}: it has no series");
        for (key, text) in [("tells", Some(&self.tells)), ("calm", self.calm.as_ref())] {
            let is_sentence = text.is_none_or(|text| text.ends_with('.'));
            ensure!(is_sentence, "{title}: `{key}` is no sentence");
        }
        for (_, query) in &self.series {
            if let Some(name) = without_choice(query) {
                anyhow::bail!(
                    "{title}: `{name}` does not say {{@}}: it would show brokers that nobody chose"
                );
            }
        }
        Ok(())
    }
}

/// The first name of a series in `query` whose selector has no [`CHOICE`].
fn without_choice(query: &str) -> Option<&str> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':');
    let mut rest = query;
    while let Some(begin) = rest.find(is_part) {
        let word = &rest[begin..];
        let end = word.find(|c| !is_part(c)).unwrap_or(word.len());
        let (name, after) = word.split_at(end);
        rest = after;
        let is_series = MADE.contains(&name) || EXPORTED.iter().any(|prefix| name.starts_with(prefix));
        let selector = after.strip_prefix('{').and_then(|after| after.split_once('}'));
        if is_series && !selector.is_some_and(|(selector, _)| selector.contains(CHOICE)) {
            return Some(name);
        }
    }
    None
}
