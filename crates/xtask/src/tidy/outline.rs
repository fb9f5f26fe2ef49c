//! The outline of a Rust file: how it opens, and where its tests begin.
//!
//! Relies on the layout that rustfmt gives.

use super::Fault;
use crate::workspace::TextFile;

/// Rule: every Rust file opens by saying what it is.
pub(super) fn check_heads(files: &[TextFile]) -> Vec<Fault> {
    let rust = files.iter().filter(|file| file.is("rs"));
    rust.filter(|file| !file.text.starts_with("//! "))
        .map(|file| Fault::new(&file.path, 1, "does not open with `//!`: say what the file is, its invariants, what happens when it is full or fails"))
        .collect()
}

/// Whether a whole file is test code, by its path.
pub(super) fn is_test_file(path: &str) -> bool {
    let mut folders = path.split('/').rev();
    let file = folders.next().unwrap_or(path);
    file == "tests.rs" || folders.any(|folder| folder == "tests" || folder == "benches" || folder == "fuzz")
}

/// The index of the line at which the test module that closes the file begins; the number of lines if there is none.
pub(super) fn tests_begin(path: &str, lines: &[&str]) -> usize {
    if is_test_file(path) {
        return 0;
    }
    let module =
        |pair: &[&str]| pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod ") && pair[1].ends_with('{');
    lines.windows(2).position(module).unwrap_or(lines.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads() {
        let file = |path: &str, text: &str| TextFile {
            path: path.to_owned(),
            text: text.to_owned(),
        };
        let files = [
            file("a.rs", "//! What it is.\n"),
            file("b.rs", "// What it is.\n"),
            file("c.rs", "\n//! Late.\n"),
            file("d.py", "import os\n"),
        ];
        let paths: Vec<_> = check_heads(&files).into_iter().map(|fault| fault.path).collect();
        assert_eq!(paths, ["b.rs", "c.rs"]);
    }

    #[test]
    fn where_tests_begin() {
        let lines: Vec<_> = "//! A.\nfn a() {}\n\n#[cfg(test)]\nmod tests {\n}"
            .lines()
            .collect();
        assert_eq!(tests_begin("crates/a/src/a.rs", &lines), 3);
        assert_eq!(tests_begin("crates/a/tests/it/main.rs", &lines), 0);
        assert_eq!(tests_begin("crates/a/src/a.rs", &lines[..3]), 3);
        let lines = ["#[cfg(test)]", "use std::fmt;", "fn a() {}"];
        assert_eq!(tests_begin("crates/a/src/a.rs", &lines), 3);
        assert!(is_test_file("crates/a/src/shard/tests.rs") && !is_test_file("crates/tests.rs.d/a.rs"));
    }
}
