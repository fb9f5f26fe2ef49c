//! Rule: nothing left over: no notes to oneself, no sleeping tests, no paths of somebody's machine, no JSON of others as a tree.

use super::Fault;
use super::code::{code_of, has_word};
use super::outline::tests_begin;
use crate::workspace::TextFile;

/// Notes to oneself and holes, as words. Put together here so that this file passes.
const NOTES: &[&str] = &[concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
const HOLES: &[&str] = &[concat!("unimple", "mented!"), concat!("to", "do!")];
/// What makes a test wait for a time to pass.
const SLEEPS: &[&str] = &[concat!("thread::", "sleep"), concat!("time::", "sleep")];
/// Folders that exist on one machine only.
const MACHINE: &[&str] = &[
    concat!("/wo", "rk/"),
    concat!("/ro", "ot/"),
    concat!("/ho", "me/"),
    concat!("/Us", "ers/"),
    concat!("/tmp/", "tgt"),
];
/// Crates that read JSON which others wrote.
const READERS: &[&str] = &["client", "feed", "metrics", "router", "server", "wire"];
/// Endings of files that hold code.
const CODE: &[&str] = &["rs", "py", "js", "mjs", "ts", "sh", "toml", "yml", "yaml"];

/// The faults of all files.
pub(super) fn check(files: &[TextFile]) -> Vec<Fault> {
    files
        .iter()
        .filter(|file| !file.path.ends_with(".lock") && !file.path.ends_with("package-lock.json"))
        .flat_map(check_file)
        .collect()
}

fn check_file(file: &TextFile) -> Vec<Fault> {
    let code = if file.is("rs") {
        code_of(&file.text)
    } else {
        file.text.clone()
    };
    let code: Vec<_> = code.lines().collect();
    let is_code = CODE.iter().any(|extension| file.is(extension));
    let tests = if file.is("rs") {
        tests_begin(&file.path, &code)
    } else {
        code.len()
    };
    let mut faults = Vec::new();
    for (at, line) in file.text.lines().enumerate() {
        let mut fault = |what: String| faults.push(Fault::new(&file.path, at + 1, what));
        if let Some(path) = MACHINE.iter().find(|path| has_path(line, path)) {
            fault(format!(
                "`{path}` is a place on one machine; take it from an argument or the environment"
            ));
        }
        if !is_code {
            continue;
        }
        if let Some(note) = NOTES.iter().find(|note| has_word(line, note)) {
            fault(format!(
                "`{note}` is left over; do it, or write down elsewhere that it is to be done"
            ));
        }
        let code = code.get(at).copied().unwrap_or_default();
        if let Some(hole) = HOLES
            .iter()
            .find(|hole| has_word(code, hole.trim_end_matches('!')) && code.contains(**hole))
        {
            fault(format!("`{hole}` is a hole; fill it"));
        }
        if at < tests && is_reader(&file.path) && code.contains("serde_json::") && has_word(code, "Value") {
            fault(
                "a `Value` of serde_json gives keys of others' JSON a meaning of its own; read a type, or a `JsonText`"
                    .to_owned(),
            );
        }
        if at >= tests && SLEEPS.iter().any(|sleep| code.contains(sleep)) {
            fault("a test sleeps; wait for the event itself, with a deadline".to_owned());
        }
    }
    faults
}

fn is_reader(path: &str) -> bool {
    READERS
        .iter()
        .any(|name| path.starts_with(&format!("crates/{name}/src/")))
}

/// Whether an absolute path that begins with `path` stands in `line`.
fn has_path(line: &str, path: &str) -> bool {
    let continues = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '}' | ')' | '*' | '~');
    line.match_indices(path)
        .any(|(at, _)| !line[..at].ends_with(continues))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(path: &str, text: &str) -> Vec<String> {
        let file = TextFile {
            path: path.to_owned(),
            text: text.to_owned(),
        };
        check(&[file]).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn notes_and_holes() {
        for line in [
            format!("// {}: later", NOTES[0]),
            format!("    {}(\"x\")", HOLES[0]),
            format!("{}()", HOLES[1]),
        ] {
            let faults = faults("crates/a/src/a.rs", &format!("//! A.\n{line}\n"));
            assert!(
                faults.len() == 1 && faults[0].starts_with("crates/a/src/a.rs:2: `"),
                "{line}: {faults:?}"
            );
        }
        assert_eq!(
            faults("docs/STYLE.md", NOTES[1]),
            [""; 0],
            "prose may speak of it"
        );
        assert_eq!(
            faults("Cargo.toml", "todo = \"warn\"\nmktemp = \"aXXXXXX\""),
            [""; 0]
        );
    }

    #[test]
    fn sleeping_tests() {
        let sleep = format!("    std::{}(a);\n", SLEEPS[0]);
        assert!(faults("crates/a/tests/it/main.rs", &sleep)[0].contains("a test sleeps"));
        assert!(
            faults("crates/a/tests/it/main.rs", &format!("use tokio::{};", SLEEPS[1]))[0].contains("sleeps")
        );
        let source = format!("fn a() {{\n{sleep}}}\n\n#[cfg(test)]\nmod tests {{\n{sleep}}}\n");
        assert_eq!(faults("crates/a/src/a.rs", &source).len(), 1, "only the test's");
        assert_eq!(
            faults("crates/a/tests/it/main.rs", &format!("// no {}", SLEEPS[0])),
            [""; 0]
        );
    }

    #[test]
    fn trees_of_foreign_json() {
        for line in ["use serde_json::{Map, Value};", "fn a(b: &serde_json::Value) {}"] {
            let text = format!("//! A.\n{line}\n\n#[cfg(test)]\nmod tests {{\n    {line}\n}}\n");
            let found = faults("crates/server/src/a.rs", &text);
            assert!(
                found.len() == 1 && found[0].starts_with("crates/server/src/a.rs:2: a `Value`"),
                "{found:?}"
            );
            assert_eq!(faults("crates/xtask/src/a.rs", &text), [""; 0], "a tool may");
        }
        let raw = "//! A.\nuse serde_json::value::RawValue;\n";
        assert_eq!(faults("crates/wire/src/a.rs", raw), [""; 0]);
    }

    #[test]
    fn machine_paths() {
        for path in MACHINE {
            let faults = faults("docs/A.md", &format!("see {path}x"));
            assert!(faults[0].contains("one machine"), "{path}");
        }
        let good = format!("https://example.org{}x crates{}", MACHINE[0], MACHINE[2]);
        assert_eq!(faults("docs/A.md", &good), [""; 0]);
    }
}
