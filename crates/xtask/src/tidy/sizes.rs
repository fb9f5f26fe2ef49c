//! Rule: no file over 500 lines and no function over 70, but for those on the list, which may only shrink.
//!
//! Test code is counted by itself and more leniently: tables of cases are long and easy to read.

use super::Fault;
use super::code::code_of;
use super::outline::tests_begin;
use super::ratchet::{PATH, Ratchet};
use crate::workspace::TextFile;

/// Most lines of a file before its test module.
const FILE_LINES_MAX: usize = 500;
/// Most lines of a test module or of a file of tests.
const TEST_FILE_LINES_MAX: usize = 1_000;
/// Most lines of a function, from `fn` to the closing brace.
const FUNCTION_LINES_MAX: usize = 70;
/// Most lines of a function in test code.
const TEST_FUNCTION_LINES_MAX: usize = 150;

/// Something whose lines were counted.
#[derive(Debug)]
struct Measured {
    /// What the list calls it: the path, `path (tests)` or `path::function`.
    key: String,
    path: String,
    /// Its first line, from 1; 0 for a file.
    line: usize,
    size: usize,
    limit: usize,
}

/// The faults of all Rust files, and of entries on the list that no longer hold.
pub(super) fn check(files: &[TextFile], ratchet: &Ratchet) -> Vec<Fault> {
    let measured: Vec<_> = files
        .iter()
        .filter(|file| file.is("rs"))
        .flat_map(measure)
        .collect();
    let listed = |key: &str| {
        ratchet
            .files
            .get(key)
            .or_else(|| ratchet.functions.get(key))
            .copied()
    };
    let mut faults = Vec::new();
    for Measured {
        key,
        path,
        line,
        size,
        limit,
    } in measured.iter().filter(|it| it.size > it.limit)
    {
        let what = match listed(key) {
            Some(listed) if *size <= listed => continue,
            Some(listed) => format!("{key} grew from {listed} to {size} lines; it may only shrink"),
            None => format!("{key} has {size} lines, the limit is {limit}; split it, or list it in {PATH}"),
        };
        faults.push(Fault::new(path, *line, what));
    }
    for (key, &listed) in ratchet.files.iter().chain(&ratchet.functions) {
        let over = measured.iter().filter(|it| it.key == *key && it.size > it.limit);
        match over.map(|it| it.size).max() {
            None => faults.push(Fault::new(
                PATH,
                0,
                format!("{key} is within the limit or gone; remove its entry"),
            )),
            Some(size) if size < listed => {
                faults.push(Fault::new(
                    PATH,
                    0,
                    format!("{key} shrank from {listed} to {size} lines; lower its entry"),
                ));
            }
            Some(_) => {}
        }
    }
    faults
}

fn measure(file: &TextFile) -> Vec<Measured> {
    let path = &file.path;
    let code = code_of(&file.text);
    let lines: Vec<_> = code.lines().collect();
    let tests = tests_begin(path, &lines);
    let part = |key: String, size, limit| Measured {
        key,
        path: path.clone(),
        line: 0,
        size,
        limit,
    };
    let mut measured = vec![
        part(path.clone(), tests, FILE_LINES_MAX),
        part(
            format!("{path} (tests)"),
            lines.len() - tests,
            TEST_FILE_LINES_MAX,
        ),
    ];
    measured.extend(functions(&lines).into_iter().map(|(name, first, size)| Measured {
        key: format!("{path}::{name}"),
        path: path.clone(),
        line: first + 1,
        size,
        limit: if first < tests {
            FUNCTION_LINES_MAX
        } else {
            TEST_FUNCTION_LINES_MAX
        },
    }));
    measured
}

/// Every function with a body on more than one line: its name, the index of its first line, its number of lines.
fn functions<'a>(lines: &[&'a str]) -> Vec<(&'a str, usize, usize)> {
    let named = lines
        .iter()
        .enumerate()
        .filter_map(|(first, line)| Some((function_name(line)?, first)));
    named
        .filter_map(|(name, first)| Some((name, first, end_of_function(lines, first)? + 1 - first)))
        .collect()
}

/// The name in a line such as `pub(crate) async unsafe fn name<T>(`.
fn function_name(line: &str) -> Option<&str> {
    let (qualifiers, rest) = line.split_once("fn ")?;
    let known = |word: &str| {
        matches!(word, "pub" | "const" | "async" | "unsafe" | "extern" | "default")
            || word.starts_with("pub(")
            || word.ends_with(')')
    };
    if !qualifiers.split_whitespace().all(known) {
        return None;
    }
    let end = rest
        .find(|c: char| !c.is_alphanumeric() && c != '_')
        .unwrap_or(rest.len());
    (end > 0).then(|| &rest[..end])
}

/// The index of the line that ends the function which begins at `first`: the first one with a closing brace at its
/// indentation. Nothing for one without a body or with all of it on one line.
fn end_of_function(lines: &[&str], first: usize) -> Option<usize> {
    let indent = lines[first].len() - lines[first].trim_start().len();
    if lines[first].ends_with([';', '}']) {
        return None;
    }
    for (at, line) in lines.iter().enumerate().skip(first + 1) {
        let text = line.trim_start();
        if text.is_empty() || line.len() - text.len() != indent {
            continue;
        }
        if text.starts_with('}') {
            return Some(at);
        }
        // `) -> T;` ends a declaration that has no body, `) -> T { body }` one that has it all on a line.
        if text.starts_with(')') && text.ends_with([';', '}']) {
            return None;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: String) -> TextFile {
        TextFile {
            path: path.to_owned(),
            text,
        }
    }

    fn function(name: &str, lines: usize) -> String {
        format!(
            "fn {name}(\n    a: u8,\n) -> u8 {{\n{}}}\n",
            "    a;\n".repeat(lines - 4)
        )
    }

    fn faults(files: &[TextFile], ratchet: &str) -> Vec<String> {
        let ratchet = Ratchet::parse(ratchet).unwrap();
        check(files, &ratchet).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn functions_of_every_shape() {
        let code = "\
impl A {
    pub(crate) async fn one(&self) -> u8 {
        0
    }
    const fn two() {}
    fn three<T>(
        a: T,
    ) -> u8
    where
        T: Copy,
    {
        if a {
        }
    }
    fn four(
        a: u8,
    ) -> u8;
    pub(in crate::a) extern     fn five() {
        1
    }
}
    a fn six of the text
let fn_seven = 1;
";
        let lines: Vec<_> = code.lines().collect();
        assert_eq!(
            functions(&lines),
            [("one", 1, 3), ("three", 5, 9), ("five", 17, 3)]
        );
    }

    #[test]
    fn limits_are_inclusive() {
        let fits = [file("crates/a/src/a.rs", function("f", 70) + &"\n".repeat(430))];
        assert_eq!(faults(&fits, ""), [""; 0]);
        let long = [file("crates/a/src/a.rs", function("f", 71) + &"\n".repeat(430))];
        assert_eq!(
            faults(&long, ""),
            [
                "crates/a/src/a.rs: crates/a/src/a.rs has 501 lines, the limit is 500; split it, or list it in crates/xtask/tidy-ratchet.toml",
                "crates/a/src/a.rs:1: crates/a/src/a.rs::f has 71 lines, the limit is 70; split it, or list it in crates/xtask/tidy-ratchet.toml",
            ]
        );
    }

    #[test]
    fn tests_count_by_themselves() {
        let tests = "#[cfg(test)]\nmod tests {\n".to_owned() + &"\n".repeat(900) + "}\n";
        let both = [file("crates/a/src/a.rs", "\n".repeat(500) + &tests)];
        assert_eq!(faults(&both, ""), [""; 0]);
        let long = [file("crates/a/tests/it/main.rs", "\n".repeat(1_001))];
        assert!(faults(&long, "")[0].contains("(tests) has 1001 lines"));
    }

    #[test]
    fn the_list_may_only_shrink() {
        let files = [file("crates/a/src/a.rs", function("f", 80))];
        let with = |lines: usize| {
            faults(
                &files,
                &format!("[functions]\n\"crates/a/src/a.rs::f\" = {lines}\n"),
            )
        };
        assert_eq!(with(80), [""; 0]);
        assert!(with(79)[0].contains("grew from 79 to 80"));
        assert!(with(81)[0].contains("shrank from 81 to 80"));
        let gone = faults(&files[..0], "[files]\n\"crates/a/src/b.rs\" = 600\n");
        assert!(gone[0].contains("remove its entry"));
    }
}
