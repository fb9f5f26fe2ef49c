//! Rule: `unsafe` stands only in files that are listed, and each says why it is sound.

use super::Fault;
use super::code::{code_of, has_word};
use super::ratchet::{PATH, Ratchet};
use crate::workspace::TextFile;

/// How many lines above an `unsafe` its reason is looked for.
const REASON_LINES: usize = 8;

/// The faults of all Rust files, and of listed files without `unsafe`.
pub(super) fn check(files: &[TextFile], ratchet: &Ratchet) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut found = Vec::new();
    for file in files.iter().filter(|file| file.is("rs")) {
        let lines: Vec<_> = file.text.lines().collect();
        let code = code_of(&file.text);
        let uses = code
            .lines()
            .enumerate()
            .filter(|(_, line)| has_word(line, "unsafe"));
        for (at, _) in uses {
            found.push(file.path.as_str());
            if !ratchet.unsafe_files.contains(&file.path) {
                let what = format!("`unsafe` in a file that is not listed; do without, or list it in {PATH}");
                faults.push(Fault::new(&file.path, at + 1, what));
            }
            let above = &lines[at.saturating_sub(REASON_LINES)..=at];
            if !above
                .iter()
                .any(|line| line.contains("SAFETY:") || line.contains("# Safety"))
            {
                faults.push(Fault::new(
                    &file.path,
                    at + 1,
                    "`unsafe` without a `SAFETY:` comment; say why it is sound",
                ));
            }
        }
    }
    let stale = ratchet
        .unsafe_files
        .iter()
        .filter(|path| !found.contains(&path.as_str()));
    faults.extend(stale.map(|path| Fault::new(PATH, 0, format!("{path} has no `unsafe`; remove its entry"))));
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str, ratchet: &str) -> Vec<String> {
        let file = TextFile {
            path: "crates/a/src/a.rs".to_owned(),
            text: text.to_owned(),
        };
        check(&[file], &Ratchet::parse(ratchet).unwrap())
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    const LISTED: &str = "unsafe_files = [\"crates/a/src/a.rs\"]";

    #[test]
    fn unsafe_needs_a_listing_and_a_reason() {
        let bare = "//! A.\nfn a() {\n    unsafe { b() }\n}\n";
        let said = "//! A.\nfn a() {\n    // SAFETY: b has no preconditions here.\n    unsafe { b() }\n}\n";
        assert_eq!(faults(said, LISTED), [""; 0]);
        assert!(faults(said, "")[0].starts_with("crates/a/src/a.rs:4: `unsafe` in a file"));
        assert!(faults(bare, LISTED)[0].starts_with("crates/a/src/a.rs:3: `unsafe` without"));
        assert_eq!(faults(bare, "").len(), 2);
    }

    #[test]
    fn what_only_speaks_of_it() {
        let text = "//! No unsafe.\n#![deny(unsafe_code)]\nsay(\"unsafe\");\n";
        assert_eq!(faults(text, ""), [""; 0]);
        assert!(faults(text, LISTED)[0].contains("remove its entry"));
    }
}
