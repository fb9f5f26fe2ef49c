//! `cargo xtask book`: the documentation as a site with search, below the target folder.
//!
//! mdBook makes it from `docs/book/SUMMARY.md`. The pages are copied first, at the places that they have in the project: links to
//! other files of the project take these files along, and links to folders become text, since a site has none. mdBook is
//! that of the machine, or else one from PyPI that is installed below the target folder.

mod html;
mod pages;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::programs::{find, run_quietly};
use crate::test::python;
use crate::workspace::{Workspace, make, read, write};

/// The longest time that mdBook may take.
const BUILD_LIMIT: Duration = Duration::from_secs(300);
/// The settings of mdBook.
const SETTINGS: &str = "docs/book/book.toml";

/// Builds the site and checks it. Returns true if it is in order.
///
/// # Errors
/// If there is no mdBook, or if it fails.
pub(crate) fn run(workspace: &Workspace) -> Result<bool> {
    let program = program(workspace)?;
    let folder = workspace.below_target("book")?;
    let (source, site) = (folder.join("src"), folder.join("html"));
    for old in [&source, &site].into_iter().filter(|old| old.exists()) {
        fs::remove_dir_all(old).with_context(|| format!("cannot remove {}", old.display()))?;
    }
    let files = workspace.files()?;
    let book = pages::gather(&files);
    for (path, text) in &book.pages {
        let path = source.join(path);
        make(path.parent().unwrap_or(&source))?;
        write(&path, text)?;
    }
    for path in &book.files {
        let copy = source.join(path);
        make(copy.parent().unwrap_or(&source))?;
        fs::copy(workspace.root.join(path), &copy).with_context(|| format!("cannot copy {path}"))?;
    }
    write(&folder.join("book.toml"), read(&workspace.root.join(SETTINGS))?)?;
    let mut mdbook = workspace.command(program);
    run_quietly(
        mdbook.arg("build").arg(&folder).arg("--dest-dir").arg(&site),
        BUILD_LIMIT,
    )?;
    let mut faults = book.faults;
    let chapters = book.pages.keys().filter(|path| *path != pages::CONTENTS);
    let chapters: Vec<PathBuf> = chapters
        .map(|path| site.join(path).with_extension("html"))
        .collect();
    faults.extend(html::check(&site, &chapters)?);
    for fault in &faults {
        println!("{fault}");
    }
    match faults.len() {
        0 => println!(
            "book: {} pages: {}",
            chapters.len(),
            site.join("index.html").display()
        ),
        n => println!("book: {n} faults"),
    }
    Ok(faults.is_empty())
}

/// mdBook.
pub(crate) fn program(workspace: &Workspace) -> Result<PathBuf> {
    if let Some(program) = find("mdbook") {
        return Ok(program);
    }
    let program = python(workspace)?.with_file_name("mdbook");
    program
        .is_file()
        .then_some(program)
        .context("mdBook is not installed: cargo install mdbook --version 0.5.4 --locked")
}
