//! `cargo xtask sbom`: writes the program's bill of materials as CycloneDX JSON.
//!
//! It lists everything that goes into `tickwire` on this platform, with version, licence and checksum. cargo-cyclonedx
//! writes it beside the manifest. The file is then moved below the target folder, and the source tree is left as it
//! was.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::programs::{succeeds, works};
use crate::workspace::{Workspace, read, write};

/// The name for the file, without its ending.
const NAME: &str = "tickwire-sbom";

/// Writes the bill. Returns true when it is complete.
pub(crate) fn run(workspace: &Workspace) -> Result<bool> {
    ensure!(
        works(&mut workspace.cargo("cyclonedx --version")),
        "a bill of materials needs cargo-cyclonedx: cargo install cargo-cyclonedx --version 0.5.9 --locked"
    );
    let mut cargo = workspace.cargo("cyclonedx --format json --spec-version 1.5 --quiet");
    cargo.args(["--manifest-path", "crates/tickwire/Cargo.toml"]);
    cargo.args(["--override-filename", NAME]);
    let succeeded = succeeds(&mut cargo)?;
    // The tool writes a file for each crate of the workspace.
    let mut bill = None;
    for member in &workspace.members {
        let manifest = workspace.root.join(&member.manifest);
        let written = manifest.with_file_name(format!("{NAME}.json"));
        if !written.is_file() {
            continue;
        }
        if member.name == "tickwire" {
            bill = Some(read(&written)?);
        }
        fs::remove_file(&written).with_context(|| format!("cannot remove {}", written.display()))?;
    }
    ensure!(succeeded, "cargo cyclonedx failed");
    let bill = bill.context("cargo cyclonedx wrote no bill for the program")?;
    let components = components(&bill)?;
    let path = workspace.target.join(format!("{NAME}.cdx.json"));
    write(&path, bill)?;
    println!("{components} components: {}", path.display());
    Ok(true)
}

/// A bill that is the same for the same source: without the time and the number of its making, and without a path of this
/// machine.
pub(crate) fn reproducible(workspace: &Workspace, bill: &str) -> Result<String> {
    let root = workspace.root.display().to_string();
    let mut bill: Value =
        serde_json::from_str(&bill.replace(&root, "/usr/src/tickwire")).context("the bill is not JSON")?;
    if let Some(bill) = bill.as_object_mut() {
        bill.remove("serialNumber");
    }
    if let Some(metadata) = bill["metadata"].as_object_mut() {
        metadata.remove("timestamp");
    }
    Ok(format!("{bill:#}\n"))
}

/// The number of components in a bill.
fn components(bill: &str) -> Result<usize> {
    let bill: Value = serde_json::from_str(bill).context("the bill is not JSON")?;
    ensure!(bill["bomFormat"] == "CycloneDX", "the bill is not CycloneDX");
    let count = bill["components"].as_array().map_or(0, Vec::len);
    ensure!(count > 0, "the bill names no component");
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bill_that_is_none() {
        let whole = r#"{"bomFormat":"CycloneDX","components":[{"name":"tokio"}]}"#;
        assert_eq!(components(whole).unwrap(), 1);
        for (bill, fault) in [
            ("{", "not JSON"),
            (r#"{"bomFormat":"SPDX"}"#, "not CycloneDX"),
            (r#"{"bomFormat":"CycloneDX"}"#, "names no component"),
        ] {
            let error = components(bill).unwrap_err().to_string();
            assert!(error.contains(fault), "{error}");
        }
    }
}
