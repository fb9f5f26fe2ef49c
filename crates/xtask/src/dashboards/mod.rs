//! `cargo xtask dashboards`: makes the dashboards for Grafana from `deploy/grafana/dashboards.toml`.
//!
//! The source has what is particular to a panel: title, queries, unit and what it tells. Everything that all panels have in common
//! is here. Tidy checks that the files agree with the source.

mod grafana;
mod source;

use anyhow::{Context as _, Result};

use self::source::Source;
use crate::workspace::{Workspace, make, read, write};

/// The file that the dashboards are made from.
pub(crate) const SOURCE: &str = "deploy/grafana/dashboards.toml";
/// The folder of the files that are made.
pub(crate) const FOLDER: &str = "deploy/grafana/dashboards";

/// Writes the file of each dashboard. Returns true: it fails otherwise.
pub(crate) fn run(workspace: &Workspace) -> Result<bool> {
    let source = read(&workspace.root.join(SOURCE))?;
    make(&workspace.root.join(FOLDER))?;
    for (path, text) in made_from(&source)? {
        write(&workspace.root.join(&path), text)?;
        println!("{path}");
    }
    Ok(true)
}

/// The path and the content of the file of each dashboard in `source`.
///
/// # Errors
/// What is wrong with the source.
pub(crate) fn made_from(source: &str) -> Result<Vec<(String, String)>> {
    let source: Source = toml::from_str(source).with_context(|| format!("{SOURCE} cannot be read"))?;
    source.check()?;
    let dashboards = source.dashboard.iter();
    let files = dashboards.map(|dashboard| {
        let path = format!("{FOLDER}/{}.json", dashboard.uid);
        let text = serde_json::to_string_pretty(&grafana::dashboard(dashboard, &source.variable))?;
        Ok((path, text + "\n"))
    });
    files.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
[[variable]]
name = "job"
label = "Job"
query = 'label_values(up, job)'
[[dashboard]]
uid = "a"
title = "A"
tells = "What."
[[dashboard.row]]
title = "R"
[[dashboard.row.panel]]
title = "P"
tells = "How much."
calm = "It is 0."
series = [["x", 'sum(up{@}) + sum(up{a="b", @})']]
[[dashboard.row.panel]]
title = "Q"
kind = "number"
tells = "How much."
series = [["x", 'sum(up{@})']]
"#;

    #[test]
    fn a_source_becomes_a_dashboard() {
        let files = made_from(GOOD).unwrap();
        let [(path, text)] = files.as_slice() else {
            panic!("{files:?}");
        };
        assert_eq!(path, "deploy/grafana/dashboards/a.json");
        let made: serde_json::Value = serde_json::from_str(text).unwrap();
        let panels = made["panels"].as_array().unwrap();
        let kinds: Vec<_> = panels
            .iter()
            .map(|panel| panel["type"].as_str().unwrap())
            .collect();
        assert_eq!(kinds, ["row", "timeseries", "stat"]);
        assert_eq!(panels[1]["description"], "How much. It is 0.");
        let chosen = r#"job=~"$job",instance=~"$instance""#;
        assert_eq!(
            panels[1]["targets"][0]["expr"],
            format!(r#"sum(up{{{chosen}}}) + sum(up{{a="b", {chosen}}})"#)
        );
        let variables = made["templating"]["list"].as_array().unwrap();
        let names: Vec<_> = variables.iter().map(|variable| &variable["name"]).collect();
        assert_eq!(names, ["datasource", "job"]);
    }

    #[test]
    fn faults_of_a_source_are_named() {
        for (from, to, expected) in [
            ("sum(up{@}) +", "sum(up) +", "P: `up` does not say {@}"),
            (r#"a="b", @"#, r#"a="b""#, "P: `up` does not say {@}"),
            (r#"title = "Q""#, r#"title = "P""#, "two panels of a are called P"),
            (
                r#"tells = "How much.""#,
                r#"tells = "How much""#,
                "P: `tells` is no sentence",
            ),
            (r#"uid = "a""#, r#"uid = "a b""#, "a b is no name of a file"),
            ("kind = ", "sort = ", "unknown field `sort`"),
            (r#"[["x", 'sum(up{@})']]"#, "[]", "Q: it has no series"),
        ] {
            let wrong = GOOD.replacen(from, to, 1);
            let error = made_from(&wrong).expect_err(to);
            assert!(format!("{error:#}").contains(expected), "{to}: {error:#}");
        }
    }
}
