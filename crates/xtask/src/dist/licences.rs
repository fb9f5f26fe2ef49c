//! The licences of the libraries that the program holds: their texts must go along with it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package, PackageId};

use crate::workspace::Workspace;

/// What the names of files with a licence begin with, in lower case.
const NAMES: [&str; 5] = ["license", "licence", "copying", "copyright", "notice"];

/// The libraries with their licences, and below them the texts, each once.
///
/// # Errors
/// If a library names no licence.
pub(super) fn of_libraries(workspace: &Workspace) -> Result<String> {
    let metadata = MetadataCommand::new()
        .manifest_path(workspace.root.join("Cargo.toml"))
        .other_options([
            "--locked".to_owned(),
            "--filter-platform".to_owned(),
            "x86_64-unknown-linux-gnu".to_owned(),
        ])
        .exec()
        .context("cannot read the libraries of the program")?;
    let mut list =
        String::from("The program holds these libraries. The texts of their licences are below.\n\n");
    let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for package in libraries(&metadata)? {
        let name = format!("{} {}", package.name, package.version);
        let licence = package
            .license
            .clone()
            .or_else(|| package.license_file.as_ref().map(ToString::to_string));
        let licence = licence.with_context(|| format!("{name} names no licence"))?;
        list += &format!("{name}: {licence}\n");
        for text in texts_in(
            package
                .manifest_path
                .parent()
                .map_or(Path::new("."), |it| it.as_std_path()),
        )? {
            texts.entry(text).or_default().push(name.clone());
        }
    }
    ensure!(
        texts.len() > 10,
        "only {} texts of licences were found",
        texts.len()
    );
    for (text, names) in texts {
        list += &format!(
            "\n{}\n{}\n\n{}\n",
            "-".repeat(79),
            names.join(", "),
            text.trim_end()
        );
    }
    Ok(list)
}

/// The packages from elsewhere that are linked into the program, by name.
fn libraries(metadata: &Metadata) -> Result<Vec<&Package>> {
    let resolve = metadata
        .resolve
        .as_ref()
        .context("cargo does not say what depends on what")?;
    let nodes: BTreeMap<&PackageId, _> = resolve.nodes.iter().map(|node| (&node.id, node)).collect();
    let program = metadata
        .packages
        .iter()
        .find(|package| package.name.as_str() == "tickwire");
    let mut found: BTreeMap<&PackageId, ()> = BTreeMap::new();
    let mut left = vec![&program.context("there is no program")?.id];
    while let Some(id) = left.pop() {
        if found.insert(id, ()).is_some() {
            continue;
        }
        let of = nodes.get(id).into_iter().flat_map(|node| &node.deps);
        let linked = of.filter(|dep| {
            dep.dep_kinds
                .iter()
                .any(|kind| kind.kind == DependencyKind::Normal)
        });
        left.extend(linked.map(|dep| &dep.pkg));
    }
    let mut packages: Vec<&Package> = metadata.packages.iter().collect();
    packages.retain(|package| package.source.is_some() && found.contains_key(&package.id));
    packages.sort_by_key(|package| (package.name.to_string(), package.version.clone()));
    Ok(packages)
}

/// The texts of licences in a library's folder.
fn texts_in(folder: &Path) -> Result<Vec<String>> {
    let listed = fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    let mut texts = Vec::new();
    for entry in listed {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().to_lowercase();
        if entry.path().is_file() && NAMES.iter().any(|begins| name.starts_with(begins)) {
            let text = fs::read(entry.path()).with_context(|| format!("cannot read {name}"))?;
            texts.push(String::from_utf8_lossy(&text).replace("\r\n", "\n"));
        }
    }
    Ok(texts)
}
