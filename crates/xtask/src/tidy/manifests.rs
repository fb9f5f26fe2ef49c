//! The rules for manifests: crates use each other as docs/ARCHITECTURE.md says, and inherit what the workspace declares
//! once.
//!
//! `deny.toml` says which foreign crates may be used, and by which crates.

use std::collections::{BTreeMap, BTreeSet};

use super::Fault;
use crate::workspace::{Member, ProjectFile};

/// The document with the table of the crates that each crate uses, in lines such as `router, feed ─► wire`.
const TABLE: &str = "docs/ARCHITECTURE.md";
/// Lines that each manifest contains.
const INHERITED: [&str; 6] = [
    "version.workspace = true",
    "edition.workspace = true",
    "rust-version.workspace = true",
    "license.workspace = true",
    "publish.workspace = true",
    "[lints]\nworkspace = true",
];
/// The crate that replaces the foreign crate of this name and has its version.
const STAND_IN: &str = "httpdate";
/// Names that say nothing about a crate.
const NAMELESS: &str = "common types utils util helpers misc shared core";
/// Crates that get time and randomness as arguments.
const PURE: [&str; 5] = ["wire", "router", "feed", "lane", "httpdate"];
/// Crates that the pure ones never depend on directly. Foreign data structures may bring in some of them. `chrono` reads
/// dates; Clippy refuses its clocks (`crates/wire/clippy.toml`).
const SYSTEM: &str = "getrandom libc nix rand rlimit rustix signal-hook time";

/// The faults of the members' manifests.
pub(super) fn check(members: &[Member], files: &[ProjectFile]) -> Vec<Fault> {
    let text_of = |path: &str| files.iter().find(|file| file.path == path);
    let text_of = |path: &str| text_of(path).map_or("", |file| &file.text);
    let names: Vec<&str> = members.iter().map(|member| short(&member.name)).collect();
    let table = arrows(text_of(TABLE));
    let mut faults = Vec::new();
    for (member, name) in members.iter().zip(&names) {
        let mut fault = |what: String| faults.push(Fault::new(&member.manifest, 0, what));
        if NAMELESS.split(' ').any(|nameless| nameless == *name) {
            fault(format!("`{name}` would hold anything; name it for what it is"));
        }
        let used = member.any.iter().map(|used| short(used));
        let used: BTreeSet<&str> = used.filter(|used| names.contains(used)).collect();
        match table.get(name) {
            None => fault(format!("`{name}` is not in the table of {TABLE}; add it")),
            Some(row) if *row == used => {}
            Some(row) => fault(format!("`{name}` uses {used:?}, and by {TABLE} {row:?}")),
        }
        let mut system = SYSTEM.split(' ').filter(|never| member.normal.contains(*never));
        if let Some(never) = system.next().filter(|_| PURE.contains(name)) {
            fault(format!(
                "`{name}` names `{never}`, and time and randomness come in as arguments"
            ));
        }
        not_inherited(name, text_of(&member.manifest)).for_each(fault);
    }
    let gone = table.keys().filter(|name| !names.contains(name));
    faults.extend(gone.map(|name| Fault::new(TABLE, 0, format!("there is no crate `{name}`"))));
    faults
}

/// A crate's name without the project's prefix.
fn short(name: &str) -> &str {
    name.strip_prefix("tickwire-").unwrap_or(name)
}

/// The table in a document: what each crate uses. `none` stands for nothing.
fn arrows(text: &str) -> BTreeMap<&str, BTreeSet<&str>> {
    let rows = text.lines().filter_map(|line| line.split_once("─►"));
    let rows = rows.flat_map(|(users, used)| users.split(',').map(move |user| (user.trim(), used)));
    rows.map(|(user, used)| {
        let used = used.split(',').map(str::trim);
        (user, used.filter(|name| *name != "none").collect())
    })
    .collect()
}

/// The lines that the manifest of the crate `name` should inherit and does not.
fn not_inherited<'a>(name: &str, manifest: &'a str) -> impl Iterator<Item = String> + use<'a> {
    let excused = usize::from(name == STAND_IN); // its version is the first of these
    let wanted = INHERITED
        .into_iter()
        .skip(excused)
        .filter(|wanted| !manifest.contains(&format!("\n{wanted}\n")));
    let mut section = "";
    let own = manifest.lines().filter(move |line| {
        if line.starts_with('[') {
            section = line;
            return false;
        }
        section.ends_with("dependencies]") && line.contains(" = ") && !line.contains("workspace = true")
    });
    let own = own.map(|line| format!("`{line}` is not inherited; declare it in [workspace.dependencies]"));
    wanted
        .map(|wanted| wanted.replace('\n', "` and `"))
        .map(|wanted| format!("says itself what the workspace says; write `{wanted}`"))
        .chain(own)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> ProjectFile {
        ProjectFile {
            path: path.to_owned(),
            text: text.to_owned(),
        }
    }

    /// Checks that `faults` is the expected one, or empty.
    fn assert_faults(faults: &[String], expected: &str, of: &str) {
        assert_eq!(
            faults.len(),
            usize::from(!expected.is_empty()),
            "{of}: {faults:?}"
        );
        assert!(faults.concat().contains(expected), "{of}: {faults:?}");
    }

    #[test]
    fn crates_use_each_other_as_the_table_has_it() {
        let good = format!("\n{}\n", INHERITED.join("\n"));
        // A crate, what it uses, a row of the table, and the expected fault.
        let cases = "\
router; tickwire-wire; router ─► wire;
server; libc; server ─► none;
router; tickwire-wire; router, client ─► wire; there is no crate `client`
router; bytes; router ─► wire; `router` uses {}, and by docs/ARCHITECTURE.md {\"wire\"}
router; tickwire-wire; router ─► none; uses {\"wire\"}
router; bytes;; `router` is not in the table
router; libc; router ─► none; names `libc`
utils; bytes; utils ─► none; name it for what it is";
        for case in cases.lines() {
            let [name, used, row, expected] = case.split(';').map(str::trim).collect::<Vec<_>>()[..] else {
                panic!("{case}");
            };
            let member = |name: &str, used: &str| Member {
                name: format!("tickwire-{name}"),
                manifest: "Cargo.toml".to_owned(),
                normal: BTreeSet::from([used.to_owned()]),
                any: BTreeSet::from([used.to_owned()]),
            };
            let table = file(TABLE, &format!("wire ─► none\n{row}\n"));
            let files = [table, file("Cargo.toml", &good)];
            let faults = check(&[member("wire", "serde"), member(name, used)], &files);
            let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
            assert_faults(&faults, expected, case);
        }
    }

    #[test]
    fn what_the_workspace_says_once() {
        let good = format!(
            "[package]\n{}\n[dependencies]\na.workspace = true\n",
            INHERITED.join("\n")
        );
        for (from, to, expected) in [
            ("", "", ""),
            ("\nedition.workspace", "\nedition", "write `edition.work"),
            ("\nversion.workspace", "\nversion", "write `version.work"),
            ("[lints]\nworkspace = true", "", "write `[lints]` and `work"),
            ("a.workspace = true", "b = \"1\"", "`b = \"1\"` is not"),
            (
                "[dep",
                "[target.'cfg(a = 1)'.dependencies]\nb = 1\n[dep",
                "`b = 1`",
            ),
        ] {
            let faults: Vec<String> = not_inherited("wire", &good.replacen(from, to, 1)).collect();
            assert_faults(&faults, expected, to);
        }
        let own = good.replacen("\nversion.workspace = true", "", 1);
        let faults: Vec<String> = not_inherited(STAND_IN, &own).collect();
        assert_faults(&faults, "", "it has the version of the other");
    }
}
