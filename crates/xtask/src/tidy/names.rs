//! Rules for names: in the crates of the broker, each type that other files can name has a name of its own.
//!
//! Declarations are found as text. The checks rely on the layout of rustfmt.

use std::collections::BTreeMap;

use super::Fault;
use super::files::tests_begin;
use crate::workspace::ProjectFile;

/// The crates of the broker. Each may use the names of all others.
const BROKER: &str = "feed metrics router server wire";

/// The types whose names an earlier file has already.
pub(super) fn check(files: &[ProjectFile]) -> Vec<Fault> {
    let mut first = BTreeMap::new();
    let mut faults = Vec::new();
    for file in files.iter().filter(|file| is_of_the_broker(&file.path)) {
        let lines: Vec<&str> = file.text.lines().collect();
        let code = &lines[..tests_begin(&file.path, &lines)];
        for (at, name) in code
            .iter()
            .enumerate()
            .filter_map(|(at, line)| Some((at, declared(line)?)))
        {
            let (path, line) = *first.entry(name).or_insert((file.path.as_str(), at + 1));
            if (path, line) != (file.path.as_str(), at + 1) {
                let what = format!(
                    "`{name}` is another type in {path}:{line}; name what is particular about this one"
                );
                faults.push(Fault::new(&file.path, at + 1, what));
            }
        }
    }
    faults
}

fn is_of_the_broker(path: &str) -> bool {
    let mut crates = BROKER.split(' ').map(|name| format!("crates/{name}/src/"));
    path.ends_with(".rs") && crates.any(|folder| path.starts_with(&folder))
}

/// The name of the type that a line declares for its crate or for others.
fn declared(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let rest = line
        .strip_prefix("pub ")
        .or_else(|| line.strip_prefix("pub(crate) "))?;
    let (what, rest) = rest.split_once(' ')?;
    let name = rest.split(|c: char| !c.is_alphanumeric() && c != '_').next()?;
    matches!(what, "struct" | "enum" | "trait" | "union" | "type").then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_that_of_one_type() {
        let [wire, server] = ["crates/wire/src/a.rs", "crates/server/src/b.rs"];
        for (path, text, expected) in [
            (
                server,
                "pub(crate) enum Line {",
                "b.rs:2: `Line` is another type in crates/wire/src/a.rs:2",
            ),
            (server, "    pub struct Line in \"\" {", "b.rs:2: `Line`"),
            (server, "pub trait Line: Send {}", "b.rs:2: `Line`"),
            (server, "pub(crate) type Line<T> = Vec<T>;", "b.rs:2: `Line`"),
            (server, "pub struct Lines(u8);", ""),
            (server, "pub const Line: u8 = 0;", ""),
            (server, "struct Line;", ""),
            (server, "pub(super) struct Line;", ""),
            (server, "#[cfg(test)]\nmod tests {\n    pub struct Line;\n}", ""),
            ("crates/server/src/tests.rs", "pub struct Line;", ""),
            ("crates/client/src/b.rs", "pub struct Line;", ""),
        ] {
            let file = |path: &str, text: &str| ProjectFile {
                path: path.to_owned(),
                text: format!("//! A.\n{text}\n"),
            };
            let files = [file(wire, "pub struct Line<'a> {"), file(path, text)];
            let faults: Vec<String> = check(&files).iter().map(ToString::to_string).collect();
            assert_eq!(
                faults.len(),
                usize::from(!expected.is_empty()),
                "{text}: {faults:?}"
            );
            assert!(faults.concat().contains(expected), "{expected:?}: {faults:?}");
        }
    }
}
