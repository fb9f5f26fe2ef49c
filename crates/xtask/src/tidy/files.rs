//! Rules for single files: a file says what it is and is not too long. It has no notes to oneself, no sleeping tests,
//! no paths of one machine, and no foreign JSON as a tree.
//!
//! Lines are checked as text. The checks rely on the layout of rustfmt.

use super::Fault;
use crate::workspace::ProjectFile;

/// Most lines of a file before its test module.
const LINES_MAX: usize = 500;
/// Most lines of a test module or of a file of tests: tables of cases are long and easy to read.
const TEST_LINES_MAX: usize = 1_000;
/// Notes to oneself, as words. They are split here so that this file passes.
const NOTES: &[&str] = &[concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
/// Calls that wait for time to pass. Tests may not make them; the broker and the tools may.
const SLEEPS: &[&str] = &[concat!("thread::", "sleep"), concat!("time::", "sleep")];
/// Folders that exist on one machine only.
const MACHINE: &[&str] = &[
    concat!("/wo", "rk/"),
    concat!("/ro", "ot/"),
    concat!("/ho", "me/"),
    concat!("/Us", "ers/"),
    concat!("/tmp/", "tgt"),
];
/// Crates that read foreign JSON.
const READERS: &str = "client feed metrics router server wire";
/// Endings of files with code.
const CODE: &[&str] = &["rs", "py", "js", "mjs", "ts", "sh", "toml", "yml", "yaml"];

/// The faults of all files.
pub(super) fn check(files: &[ProjectFile]) -> Vec<Fault> {
    let written = |file: &&ProjectFile| !file.is("lock") && !file.path.ends_with("package-lock.json");
    files.iter().filter(written).flat_map(check_file).collect()
}

fn check_file(file: &ProjectFile) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut fault = |line, what: String| faults.push(Fault::new(&file.path, line, what));
    let lines: Vec<&str> = file.text.lines().collect();
    let mut tests = lines.len();
    if file.is("rs") {
        tests = tests_begin(&file.path, &lines);
        if !file.text.starts_with("//! ") {
            let what = "does not open with `//!`: say what the file is, its invariants, what happens when it is full or fails";
            fault(1, what.to_owned());
        }
        if tests > LINES_MAX {
            fault(
                0,
                format!("has {tests} lines, the limit is {LINES_MAX}; split it"),
            );
        }
        let of_tests = lines.len() - tests;
        if of_tests > TEST_LINES_MAX {
            fault(
                0,
                format!("has {of_tests} lines of tests, the limit is {TEST_LINES_MAX}; split it"),
            );
        }
    }
    let is_code = CODE.iter().any(|extension| file.is(extension));
    let mut readers = READERS.split(' ').map(|name| format!("crates/{name}/src/"));
    let is_reader = readers.any(|folder| file.path.starts_with(&folder));
    for (at, line) in lines.iter().enumerate() {
        let mut fault = |what: String| fault(at + 1, what);
        if let Some(path) = MACHINE.iter().find(|path| has_path(line, path)) {
            fault(format!(
                "`{path}` is a place on one machine; take it from an argument or the environment"
            ));
        }
        if let Some(note) = NOTES.iter().find(|note| is_code && has_word(line, note)) {
            fault(format!(
                "`{note}` is left over; do it, or write down elsewhere that it is to be done"
            ));
        }
        let code = line.split("//").next().unwrap_or_default();
        if at < tests && is_reader && code.contains("serde_json::") && has_word(code, "Value") {
            let what = "a `Value` of serde_json gives keys of others' JSON a meaning of its own; read a type, or a `JsonText`";
            fault(what.to_owned());
        }
        if at >= tests && SLEEPS.iter().any(|sleep| code.contains(sleep)) {
            fault("a test sleeps; wait for the event itself, with a deadline".to_owned());
        }
    }
    faults
}

/// The index of the line at which a Rust file's tests begin: 0 for a file of tests, the line of a test module at the
/// end, or the number of lines if there are no tests.
pub(super) fn tests_begin(path: &str, lines: &[&str]) -> usize {
    let mut folders = path.split('/').rev();
    let name = folders.next();
    if name == Some("tests.rs") || folders.any(|folder| matches!(folder, "tests" | "benches" | "fuzz")) {
        return 0;
    }
    let module =
        |pair: &[&str]| pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod ") && pair[1].ends_with('{');
    lines.windows(2).position(module).unwrap_or(lines.len())
}

/// Whether `word` occurs in `text` without a letter, digit or underscore on either side.
fn has_word(text: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word)
        .any(|(at, _)| !text[..at].ends_with(is_part) && !text[at + word.len()..].starts_with(is_part))
}

/// Whether `line` contains an absolute path that begins with `path`.
fn has_path(line: &str, path: &str) -> bool {
    let continues = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '}' | ')' | '*' | '~');
    line.match_indices(path)
        .any(|(at, _)| !line[..at].ends_with(continues))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_in_order_and_not() {
        let [a, it] = ["crates/a/src/a.rs", "crates/a/tests/it/main.rs"];
        let lines = |count: usize| format!("//! A.\n{}", "\n".repeat(count - 1));
        let module = |body: &str| format!("#[cfg(test)]\nmod tests {{\n{body}}}\n");
        let sleep = format!("    std::{}(a);\n", SLEEPS[0]);
        let tree = "//! A.\nuse serde_json::{Map, Value};\n".to_owned();
        for (path, text, expected) in [
            (a, lines(500), ""),
            (a, lines(501), "a.rs: has 501 lines, the limit is 500"),
            (a, lines(500) + &module(&"\n".repeat(900)), ""),
            (it, lines(1_001), "main.rs: has 1001 lines of tests"),
            (a, "// What it is.\n".to_owned(), "a.rs:1: does not open"),
            (a, "\n//! Late.\n".to_owned(), "a.rs:1: does not open"),
            ("a.py", "import os\n".to_owned(), ""),
            (a, format!("//! A.\n// {}: later", NOTES[0]), "a.rs:2: `TO"),
            ("docs/STYLE.md", NOTES[1].to_owned(), ""),
            ("Cargo.toml", "todo = \"warn\" # aXXXXXX".to_owned(), ""),
            (it, format!("//! A.\n{sleep}"), "main.rs:2: a test sleeps"),
            (it, format!("//! A.\nuse tokio::{};", SLEEPS[1]), "a test sleeps"),
            (it, format!("//! A.\n// no {}", SLEEPS[0]), ""),
            (a, format!("//! A.\n{sleep}"), ""),
            (a, lines(2) + &sleep + &module(&sleep), "a.rs:6: a test sleeps"),
            ("crates/server/src/a.rs", tree.clone(), "a.rs:2: a `Value`"),
            ("crates/server/src/tests.rs", tree.clone(), ""),
            ("crates/xtask/src/a.rs", tree, ""),
            (
                "crates/wire/src/a.rs",
                "//! A.\nuse serde_json::value::RawValue;".to_owned(),
                "",
            ),
            ("docs/A.md", format!("see {}x", MACHINE[0]), "A.md:1: `/wo"),
            ("docs/A.md", format!("a://b.c{}x crates{0}", MACHINE[0]), ""),
        ] {
            let path = path.to_owned();
            let file = ProjectFile { path, text };
            let faults: Vec<String> = check(&[file]).iter().map(ToString::to_string).collect();
            assert_eq!(faults.len(), usize::from(!expected.is_empty()), "{faults:?}");
            assert!(faults.concat().contains(expected), "{expected:?}: {faults:?}");
        }
    }
}
