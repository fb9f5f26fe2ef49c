//! The list of exceptions: `crates/xtask/tidy-ratchet.toml`.
//!
//! Sizes in it may only shrink: an entry that is larger than what it stands for is a fault too, so the list always says
//! how things are.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};
use toml::Table;

/// Where the list is, relative to the workspace.
pub(super) const PATH: &str = "crates/xtask/tidy-ratchet.toml";

/// What may be larger than the limits, and where `unsafe` may stand.
#[derive(Debug, Default)]
pub(super) struct Ratchet {
    /// Lines of each long file, by path.
    pub(super) files: BTreeMap<String, usize>,
    /// Lines of each long function, by `path::name`.
    pub(super) functions: BTreeMap<String, usize>,
    /// Files that may hold `unsafe`.
    pub(super) unsafe_files: Vec<String>,
}

impl Ratchet {
    /// Reads the list. A key that means nothing is an error.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let mut ratchet = Self::default();
        for (section, value) in text.parse::<Table>()? {
            match section.as_str() {
                "files" | "functions" => {
                    let mut sizes = BTreeMap::new();
                    for (name, size) in value.as_table().context("a section of sizes is a table")? {
                        let lines = size.as_integer().and_then(|size| usize::try_from(size).ok());
                        sizes.insert(
                            name.clone(),
                            lines.with_context(|| format!("{name} = {size} is no number of lines"))?,
                        );
                    }
                    if section == "files" {
                        ratchet.files = sizes;
                    } else {
                        ratchet.functions = sizes;
                    }
                }
                "unsafe_files" => {
                    for path in value.as_array().context("unsafe_files is a list of paths")? {
                        ratchet.unsafe_files.push(
                            path.as_str()
                                .context("unsafe_files is a list of paths")?
                                .to_owned(),
                        );
                    }
                }
                other => bail!("unknown section `{other}`"),
            }
        }
        Ok(ratchet)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_as_written() {
        let ratchet = Ratchet::parse(
            "unsafe_files = [\"crates/a/src/u.rs\"]\n[files]\n\"crates/a/src/l.rs\" = 600\n[functions]\n\"crates/a/src/l.rs::f\" = 80\n",
        )
        .unwrap();
        assert_eq!(ratchet.files["crates/a/src/l.rs"], 600);
        assert_eq!(ratchet.functions["crates/a/src/l.rs::f"], 80);
        assert_eq!(ratchet.unsafe_files, ["crates/a/src/u.rs"]);
    }

    #[test]
    fn lists_that_cannot_be_read() {
        for text in [
            "[file]",
            "[files]\na = \"600\"",
            "[files]\na = -1",
            "unsafe_files = [1]",
            "files = 1",
            "[",
        ] {
            assert!(Ratchet::parse(text).is_err(), "{text}");
        }
    }
}
