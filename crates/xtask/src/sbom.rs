//! `cargo xtask sbom`: the bill of materials of the program, as CycloneDX JSON.
//!
//! Everything that goes into `tickwire` on this platform, with version, licence and checksum. Made by cargo-cyclonedx, which
//! writes beside the manifest; the file is moved below the target folder, and the source tree is left as it was.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::workspace::Workspace;

/// The name that the tool is told to give the file, without its ending.
const NAME: &str = "tickwire-sbom";

/// Writes the bill. True when it is there and whole.
pub(crate) fn run(workspace: &Workspace) -> Result<bool> {
    let mut cargo = workspace.cargo();
    let installed = cargo.args(["cyclonedx", "--version"]).output();
    ensure!(
        installed.is_ok_and(|output| output.status.success()),
        "a bill of materials needs cargo-cyclonedx: cargo install cargo-cyclonedx --version 0.5.9 --locked"
    );
    let mut cargo = workspace.cargo();
    cargo
        .args([
            "cyclonedx",
            "--format",
            "json",
            "--spec-version",
            "1.5",
            "--quiet",
        ])
        .args(["--manifest-path", "crates/tickwire/Cargo.toml"])
        .args(["--override-filename", NAME]);
    let status = cargo.status().context("cannot run cargo cyclonedx")?;
    // The tool writes a file for each crate of the workspace.
    let mut bill = None;
    for member in &workspace.members {
        let folder = workspace.root.join(&member.manifest).with_file_name("");
        let written = folder.join(format!("{NAME}.json"));
        if !written.is_file() {
            continue;
        }
        if member.name == "tickwire" {
            bill = Some(fs::read(&written).with_context(|| format!("cannot read {}", written.display()))?);
        }
        fs::remove_file(&written).with_context(|| format!("cannot remove {}", written.display()))?;
    }
    ensure!(status.success(), "cargo cyclonedx failed");
    let bill = bill.context("cargo cyclonedx wrote no bill for the program")?;
    let components = components(&bill)?;
    let path = workspace.target.join(format!("{NAME}.cdx.json"));
    fs::write(&path, bill).with_context(|| format!("cannot write {}", path.display()))?;
    println!("{components} components: {}", path.display());
    Ok(true)
}

/// How many components a bill names.
fn components(bill: &[u8]) -> Result<usize> {
    let bill: Value = serde_json::from_slice(bill).context("the bill is not JSON")?;
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
        let whole = br#"{"bomFormat":"CycloneDX","components":[{"name":"tokio"}]}"#;
        assert_eq!(components(whole).unwrap(), 1);
        for (bill, fault) in [
            (&b"{"[..], "not JSON"),
            (br#"{"bomFormat":"SPDX"}"#, "not CycloneDX"),
            (
                br#"{"bomFormat":"CycloneDX","components":[]}"#,
                "names no component",
            ),
        ] {
            let error = components(bill).unwrap_err().to_string();
            assert!(error.contains(fault), "{error}");
        }
    }
}
