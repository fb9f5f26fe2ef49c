//! Planted faults: the simulator is worth what it finds.
//!
//! Each fault of `crates/sim/mutations.toml` is planted by itself into a copy of the simulated crates below the target
//! folder, a simulator is built there, and seeds are run until one fails. The work tree is never changed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use toml::Table;

use super::{PROFILE, SimArgs};
use crate::workspace::Workspace;

/// Where the faults are, relative to the workspace.
const LIST: &str = "crates/sim/mutations.toml";
/// The crates that a simulator consists of.
const CRATES: [&str; 4] = ["wire", "router", "client", "sim"];
/// The simulator's program.
const PROGRAM: &str = "tickwire-sim";
/// Seeds within which a fault must be found, where its entry names no other number: `seeds`.
const SEEDS: u64 = 1_000;

/// A text in place of another.
#[derive(Debug)]
struct Change {
    find: String,
    replace: String,
}

/// A fault to be planted.
#[derive(Debug)]
struct Mutation {
    name: String,
    file: String,
    changes: Vec<Change>,
    /// Seeds within which it must be found.
    seeds: u64,
}

/// What became of a fault.
struct Found {
    seed: Option<u64>,
    by: String,
}

/// Plants each fault and prints where it was found. True when all were.
pub(super) fn run(workspace: &Workspace, args: &SimArgs) -> Result<bool> {
    let list =
        fs::read_to_string(workspace.root.join(LIST)).with_context(|| format!("cannot read {LIST}"))?;
    let mutations = parse(&list).with_context(|| format!("cannot read {LIST}"))?;
    let wanted = |mutation: &&Mutation| args.only.as_ref().is_none_or(|only| mutation.name.contains(only));
    let garden = Garden::new(workspace)?;
    let mut rows = vec![("none".to_owned(), garden.search(workspace, SEEDS)?)];
    ensure!(
        rows[0].1.seed.is_none(),
        "the simulator fails without any planted fault; `cargo xtask sim` shows how"
    );
    for mutation in mutations.iter().filter(wanted) {
        let found = garden.plant_and_search(workspace, mutation);
        let found = found.with_context(|| format!("cannot try `{}`", mutation.name))?;
        let seed = found
            .seed
            .map_or("not found".to_owned(), |seed| format!("seed {seed}"));
        println!("{}: {seed} {}", mutation.name, found.by);
        rows.push((mutation.name.clone(), found));
    }
    println!("\n| planted | found at seed | by |\n|---|---:|---|");
    for (name, found) in &rows {
        let seed = found.seed.map_or("–".to_owned(), |seed| seed.to_string());
        println!("| {name} | {seed} | {} |", found.by);
    }
    if let Some(json) = &args.json {
        let rows: Vec<Value> = rows
            .iter()
            .map(|(name, found)| serde_json::json!({ "planted": name, "seed": found.seed, "by": found.by }))
            .collect();
        fs::write(json, format!("{:#}\n", Value::from(rows)))
            .with_context(|| format!("cannot write {}", json.display()))?;
    }
    let missed = rows
        .iter()
        .skip(1)
        .filter(|(_, found)| found.seed.is_none())
        .count();
    println!(
        "\n{} planted, {missed} not found within their seeds, {SEEDS} for most",
        rows.len() - 1
    );
    Ok(missed == 0)
}

/// Reads the list of faults.
fn parse(text: &str) -> Result<Vec<Mutation>> {
    let list: Table = text.parse()?;
    let entries = list.get("mutation").and_then(toml::Value::as_array);
    let field = |table: &Table, name: &str| {
        let value = table.get(name).and_then(toml::Value::as_str);
        value
            .map(str::to_owned)
            .with_context(|| format!("an entry has no {name}"))
    };
    let change = |table: &Table| -> Result<Change> {
        Ok(Change {
            find: field(table, "find")?,
            replace: field(table, "replace")?,
        })
    };
    let mut mutations = Vec::new();
    for entry in entries.context("there is no list `mutation`")? {
        let entry = entry.as_table().context("an entry is a table")?;
        let mut changes = vec![change(entry)?];
        for more in entry
            .get("also")
            .and_then(toml::Value::as_array)
            .into_iter()
            .flatten()
        {
            changes.push(change(more.as_table().context("`also` is a list of tables")?)?);
        }
        mutations.push(Mutation {
            seeds: match entry.get("seeds") {
                Some(seeds) => seeds.clone().try_into().context("`seeds` is a number")?,
                None => SEEDS,
            },
            name: field(entry, "name")?,
            file: field(entry, "file")?,
            changes,
        });
    }
    Ok(mutations)
}

/// `text` with the fault in it.
fn planted(mutation: &Mutation, text: &str) -> Result<String> {
    let mut text = text.to_owned();
    for change in &mutation.changes {
        match text.matches(&change.find).count() {
            1 => text = text.replacen(&change.find, &change.replace, 1),
            times => bail!(
                "`{}`: {:?} stands {times} times in {}, not once; anchor it anew in {LIST}",
                mutation.name,
                change.find,
                mutation.file
            ),
        }
    }
    Ok(text)
}

/// A copy of the simulated crates that faults are planted into.
struct Garden {
    root: PathBuf,
    /// The sound text of each source file.
    sources: BTreeMap<String, String>,
}

impl Garden {
    fn new(workspace: &Workspace) -> Result<Self> {
        let root = workspace.target.join("sim-mutations");
        let mut sources = BTreeMap::new();
        for file in workspace.text_files()? {
            let simulated = |name: &str| file.path.starts_with(&format!("crates/{name}/"));
            if CRATES.iter().any(|name| simulated(name)) {
                sources.insert(file.path, file.text);
            }
        }
        let garden = Self { root, sources };
        let manifest = workspace.root.join("Cargo.toml");
        let manifest: Table = fs::read_to_string(&manifest)
            .with_context(|| format!("cannot read {}", manifest.display()))?
            .parse()?;
        garden.write("Cargo.toml", &root_manifest(manifest)?)?;
        let lock = workspace.root.join("Cargo.lock");
        let lock = fs::read_to_string(&lock).with_context(|| format!("cannot read {}", lock.display()))?;
        garden.write("Cargo.lock", &lock)?;
        for (path, text) in &garden.sources {
            garden.write(path, text)?;
        }
        Ok(garden)
    }

    /// Where it is built: not where the sound crates are, which cargo would take for the same ones.
    fn target(&self) -> PathBuf {
        self.root.join("target")
    }

    /// Writes a file, unless it holds that text already: what does not change is not built again.
    fn write(&self, path: &str, text: &str) -> Result<()> {
        let path = self.root.join(path);
        if fs::read_to_string(&path).is_ok_and(|there| there == text) {
            return Ok(());
        }
        let folder = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    fn plant_and_search(&self, workspace: &Workspace, mutation: &Mutation) -> Result<Found> {
        let sound = self
            .sources
            .get(&mutation.file)
            .with_context(|| format!("there is no {}", mutation.file))?;
        self.write(&mutation.file, &planted(mutation, sound)?)?;
        let found = self.search(workspace, mutation.seeds);
        self.write(&mutation.file, sound)?;
        found
    }

    /// Builds the simulator as it is and runs seeds until one fails.
    fn search(&self, workspace: &Workspace, seeds: u64) -> Result<Found> {
        let mut build = workspace.cargo();
        build
            .current_dir(&self.root)
            .env("CARGO_TARGET_DIR", self.target())
            .args(["build", "--quiet", "--profile", PROFILE, "-p", "tickwire-sim"]);
        // What it warns of is of no interest: it is not meant to be right.
        let built = build.output().context("cannot run cargo")?;
        ensure!(
            built.status.success(),
            "it does not build: {}",
            String::from_utf8_lossy(&built.stderr)
        );
        let summary = self.root.join("summary.json");
        let mut sim = workspace.command(self.target().join(PROFILE).join(PROGRAM));
        sim.args(["--first", "--seeds", &seeds.to_string(), "--json"])
            .arg(&summary);
        sim.output().context("cannot run the simulator")?;
        let text =
            fs::read_to_string(&summary).with_context(|| format!("cannot read {}", summary.display()))?;
        fs::remove_file(&summary).with_context(|| format!("cannot remove {}", summary.display()))?;
        let summary: Value = serde_json::from_str(&text).context("the summary is not JSON")?;
        let first = &summary["failures"][0];
        Ok(Found {
            seed: first["seed"].as_u64(),
            by: first["rule"].as_str().unwrap_or_default().to_owned(),
        })
    }
}

/// The workspace's manifest with the simulated crates as its only members.
fn root_manifest(mut manifest: Table) -> Result<String> {
    let workspace = manifest
        .get_mut("workspace")
        .and_then(toml::Value::as_table_mut)
        .context("the manifest has no workspace")?;
    let members = CRATES.map(|name| toml::Value::from(format!("crates/{name}")));
    workspace.insert("members".to_owned(), toml::Value::Array(members.into()));
    workspace.remove("default-members");
    // What stands in for crates of others is not copied, and the simulated crates use none of it.
    manifest.remove("patch");
    Ok(toml::to_string(&manifest)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seen in the sources as they are: a fault whose anchor is gone would no longer be planted.
    #[test]
    fn every_fault_can_still_be_planted() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let list = fs::read_to_string(root.join(LIST)).expect("the list");
        let mutations = parse(&list).expect("a list of faults");
        assert!(mutations.len() >= 10);
        let mut faults = String::new();
        for mutation in &mutations {
            let text = fs::read_to_string(root.join(&mutation.file)).expect("the file");
            match planted(mutation, &text) {
                Ok(changed) => assert_ne!(changed, text, "{}", mutation.name),
                Err(error) => faults += &format!("{error:#}\n"),
            }
        }
        assert_eq!(faults, "");
    }

    #[test]
    fn an_anchor_stands_once() {
        let mutation = Mutation {
            name: "m".to_owned(),
            file: "f".to_owned(),
            seeds: SEEDS,
            changes: vec![Change {
                find: "b".to_owned(),
                replace: "c".to_owned(),
            }],
        };
        assert_eq!(planted(&mutation, "abd").expect("once"), "acd");
        assert!(planted(&mutation, "abbd").is_err());
        assert!(planted(&mutation, "ad").is_err());
    }

    #[test]
    fn lists_that_cannot_be_read() {
        for text in ["", "mutation = 1", "[[mutation]]\nname = \"a\"", "["] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_copy_has_the_simulated_crates_only() {
        let manifest = "[workspace]\nmembers = [\"crates/*\"]\ndefault-members = [\"a\"]\n[patch.crates-io]\na = { path = \"crates/a\" }\n[profile.sim]\ninherits = \"release\"";
        let manifest = root_manifest(manifest.parse().expect("TOML")).expect("a manifest");
        assert!(manifest.contains("\"crates/router\"") && manifest.contains("[profile.sim]"));
        assert!(!manifest.contains("default-members") && !manifest.contains("crates/*"));
        assert!(!manifest.contains("crates/a"), "it is not copied: {manifest}");
    }
}
