//! Rule: what the workspace says once, its crates inherit: version, edition, lints, and the version of each dependency.

use toml::{Table, Value};

use super::Fault;
use crate::workspace::{Member, TextFile};

const INHERITED: &[&str] = &["version", "edition", "rust-version", "license", "publish"];
/// Crates that stand in for others', whose versions they have.
const STAND_INS: &[&str] = &["httpdate"];

/// The faults of the members' manifests.
pub(super) fn check(members: &[Member], files: &[TextFile]) -> Vec<Fault> {
    let manifests = members.iter().map(|member| {
        files
            .iter()
            .find(|file| file.path == member.manifest)
            .map_or_else(
                || vec![Fault::new(&member.manifest, 0, "is not tracked; add it")],
                check_manifest,
            )
    });
    manifests.flatten().collect()
}

fn check_manifest(file: &TextFile) -> Vec<Fault> {
    let manifest: Table = match file.text.parse() {
        Ok(manifest) => manifest,
        Err(error) => return vec![Fault::new(&file.path, 0, format!("cannot be read: {error}"))],
    };
    let mut faults = Vec::new();
    let mut fault = |what: String| faults.push(Fault::new(&file.path, 0, what));
    let package = manifest.get("package").and_then(Value::as_table);
    let stands_in = package
        .and_then(|package| package.get("name")?.as_str())
        .is_some_and(|name| STAND_INS.contains(&name));
    for key in INHERITED {
        if stands_in && *key == "version" {
            continue;
        }
        if !package
            .and_then(|package| package.get(*key))
            .is_some_and(inherits)
        {
            fault(format!(
                "package.{key} is not inherited; write `{key}.workspace = true`"
            ));
        }
    }
    if !manifest.get("lints").is_some_and(inherits) {
        fault("the workspace's lints are not inherited; write `[lints]` and `workspace = true`".to_owned());
    }
    for (section, dependency, value) in dependencies(&manifest) {
        if !inherits(value) {
            fault(format!(
                "{section}.{dependency} has its own version; declare it in [workspace.dependencies] and write `{dependency}.workspace = true`"
            ));
        }
    }
    faults
}

/// Whether a value is `{ workspace = true, … }`.
fn inherits(value: &Value) -> bool {
    value.get("workspace").and_then(Value::as_bool) == Some(true)
}

/// Every dependency with the section it stands in, those for a platform too.
fn dependencies(manifest: &Table) -> Vec<(&'static str, &str, &Value)> {
    let platforms = manifest
        .get("target")
        .and_then(Value::as_table)
        .into_iter()
        .flatten();
    let tables = platforms.filter_map(|(_, table)| table.as_table());
    let mut found = Vec::new();
    for table in tables.chain([manifest]) {
        for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let entries = table.get(section).and_then(Value::as_table).into_iter().flatten();
            found.extend(entries.map(|(name, value)| (section, name.as_str(), value)));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "\
[package]
name = \"tickwire-wire\"
version.workspace = true
edition.workspace = true
rust-version.workspace = true
license.workspace = true
publish.workspace = true
[lints]
workspace = true
[dependencies]
tokio = { workspace = true, features = [\"rt\"] }
[target.'cfg(target_os = \"linux\")'.dependencies]
procfs.workspace = true
";

    fn faults(text: &str) -> Vec<String> {
        let file = TextFile {
            path: "crates/wire/Cargo.toml".to_owned(),
            text: text.to_owned(),
        };
        check_manifest(&file).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_manifest_that_inherits() {
        assert_eq!(faults(GOOD), [""; 0]);
    }

    #[test]
    fn manifests_that_do_not() {
        for (from, to, expected) in [
            (
                "edition.workspace = true",
                "edition = \"2021\"",
                "package.edition",
            ),
            ("version.workspace = true\ne", "e", "package.version"),
            ("[lints]\nworkspace = true\n", "", "lints"),
            (
                "procfs.workspace = true",
                "procfs = \"0.18\"",
                "dependencies.procfs",
            ),
            ("[package]", "[package", "cannot be read"),
        ] {
            let faults = faults(&GOOD.replacen(from, to, 1));
            assert!(
                faults.len() == 1 && faults[0].contains(expected),
                "{to}: {faults:?}"
            );
        }
    }

    #[test]
    fn a_stand_in_has_the_version_of_the_other() {
        let own = GOOD.replacen("version.workspace = true", "version = \"1.0.3\"", 1);
        assert_eq!(faults(&own).len(), 1);
        assert_eq!(faults(&own.replace("tickwire-wire", "httpdate")), [""; 0]);
    }

    #[test]
    fn a_member_whose_manifest_is_not_tracked() {
        let member = Member {
            manifest: "crates/new/Cargo.toml".to_owned(),
            ..Member::default()
        };
        assert_eq!(
            check(&[member], &[])[0].to_string(),
            "crates/new/Cargo.toml: is not tracked; add it"
        );
    }
}
