//! The pages of the book, from the table of contents, with links that lead somewhere on a site.

use std::collections::{BTreeMap, BTreeSet};

use crate::tidy::links::{is_fence, resolve};
use crate::workspace::ProjectFile;

/// The table of contents.
const SUMMARY: &str = "docs/book/SUMMARY.md";
/// Its path in the book.
pub(super) const CONTENTS: &str = "SUMMARY.md";
/// Folders whose documents need not be in it: those of single measurements.
const MEASURED: [&str; 2] = ["docs/perf/", "docs/reliability/"];

/// A book before it is built.
#[derive(Debug, Default)]
pub(super) struct Book {
    /// The pages, and the table of contents, by their paths.
    pub(super) pages: BTreeMap<String, String>,
    /// The files of the project that pages link to.
    pub(super) files: BTreeSet<String>,
    pub(super) faults: Vec<String>,
}

/// The book of the project with these files.
pub(super) fn gather(files: &[ProjectFile]) -> Book {
    let mut book = Book::default();
    let find = |path: &str| files.iter().find(|file| file.path == path);
    let Some(summary) = find(SUMMARY) else {
        book.faults.push(format!("{SUMMARY}: it is missing"));
        return book;
    };
    let mut chapters = BTreeSet::new();
    let contents = relink(summary, |target| {
        chapters.insert(target.to_owned());
        Some(page_path(target))
    });
    book.pages.insert(CONTENTS.to_owned(), contents);
    let documents = files
        .iter()
        .filter(|file| file.is("md") && file.path.starts_with("docs/"));
    for document in documents.filter(|document| document.path != SUMMARY) {
        let is_measured = MEASURED.iter().any(|folder| document.path.starts_with(folder));
        if !is_measured && !chapters.contains(&document.path) {
            book.faults
                .push(format!("{}: {SUMMARY} does not list it", document.path));
        }
    }
    for chapter in chapters.iter().filter_map(|path| find(path)) {
        let text = relink(chapter, |target| {
            if chapters.contains(target) {
                return Some(page_path(target));
            }
            find(target)?;
            book.files.insert(target.to_owned());
            Some(target.to_owned())
        });
        book.pages.insert(page_path(&chapter.path), text);
    }
    book
}

/// The path of a page in the book: the page of a folder is its index.
fn page_path(path: &str) -> String {
    match path.strip_suffix("README.md") {
        Some(folder) => format!("{folder}index.md"),
        None => path.to_owned(),
    }
}

/// The text of a document whose links to paths of the project lead to what `place` makes of them, as paths of the book. A
/// link becomes its text where that is nothing.
fn relink(document: &ProjectFile, mut place: impl FnMut(&str) -> Option<String>) -> String {
    let own = match document.path.as_str() {
        SUMMARY => CONTENTS.to_owned(),
        path => page_path(path),
    };
    let (mut text, mut is_fenced) = (String::new(), false);
    for line in document.text.lines() {
        is_fenced ^= is_fence(line);
        if is_fenced {
            text += line;
        } else {
            relink_line(line, &mut text, |path| {
                let target = resolve(&document.path, path)?;
                place(&target).map(|target| relative(&own, &target))
            });
        }
        text.push('\n');
    }
    text
}

/// Appends `line` with its links changed. `place` gets their paths, without anchors.
fn relink_line(line: &str, out: &mut String, mut place: impl FnMut(&str) -> Option<String>) {
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("](") {
        let (Some((target, behind)), Some(begin)) = (after.split_once(')'), opening(before)) else {
            break;
        };
        let (path, anchor) = target.find('#').map_or((target, ""), |at| target.split_at(at));
        if path.is_empty() || path.contains("://") || path.starts_with("mailto:") {
            out.push_str(&rest[..rest.len() - behind.len()]);
        } else if let Some(path) = place(path) {
            *out += &format!("{before}]({path}{anchor})");
        } else {
            *out += before[..begin].trim_end_matches('!');
            *out += &before[begin + 1..];
        }
        rest = behind;
    }
    out.push_str(rest);
}

/// The place of the bracket that a link's text begins with. Its text may hold brackets, as that of a linked image.
fn opening(before: &str) -> Option<usize> {
    let mut depth = 0;
    before
        .rmatch_indices(['[', ']'])
        .find_map(|(at, bracket)| match bracket {
            "]" => {
                depth += 1;
                None
            }
            _ if depth > 0 => {
                depth -= 1;
                None
            }
            _ => Some(at),
        })
}

/// The way from the page `from` to `to`, both paths of the book.
fn relative(from: &str, to: &str) -> String {
    let folder: Vec<&str> = from.split('/').collect();
    let target: Vec<&str> = to.split('/').collect();
    let shared = folder[..folder.len() - 1]
        .iter()
        .zip(&target)
        .take_while(|(a, b)| a == b)
        .count();
    let up = "../".repeat(folder.len() - 1 - shared);
    up + &target[shared..].join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn book(files: &[(&str, &str)]) -> Book {
        let files: Vec<ProjectFile> = files
            .iter()
            .map(|(path, text)| ProjectFile {
                path: (*path).to_owned(),
                text: (*text).to_owned(),
            })
            .collect();
        gather(&files)
    }

    #[test]
    fn links_lead_to_pages_to_files_or_nowhere() {
        let book = book(&[
            (
                SUMMARY,
                "[A](../../README.md)\n- [B](../B.md)\n- [C](../perf/x/README.md)\n",
            ),
            (
                "README.md",
                "[b](docs/B.md#x) and [code `a[0]`](src/) and [out](https://a.b/c)\n",
            ),
            (
                "docs/B.md",
                "![i](img/i.svg) [l](../src/l.rs) [c](perf/x/README.md) [here](#x)\n```\n[b](../src/)\n```\n",
            ),
            ("docs/perf/x/README.md", "[up](../../../README.md)\n"),
            ("docs/perf/y/README.md", "\n"),
            ("docs/img/i.svg", ""),
            ("src/l.rs", ""),
        ]);
        assert_eq!(book.faults, [""; 0]);
        let page = |path: &str| book.pages[path].as_str();
        assert_eq!(
            page("SUMMARY.md"),
            "[A](index.md)\n- [B](docs/B.md)\n- [C](docs/perf/x/index.md)\n"
        );
        assert_eq!(
            page("index.md"),
            "[b](docs/B.md#x) and code `a[0]` and [out](https://a.b/c)\n"
        );
        assert_eq!(
            page("docs/B.md"),
            "![i](img/i.svg) [l](../src/l.rs) [c](perf/x/index.md) [here](#x)\n```\n[b](../src/)\n```\n"
        );
        assert_eq!(page("docs/perf/x/index.md"), "[up](../../../index.md)\n");
        assert!(
            book.files.iter().eq(["docs/img/i.svg", "src/l.rs"]),
            "{:?}",
            book.files
        );
    }

    #[test]
    fn a_page_that_is_not_in_the_contents() {
        let book = book(&[(SUMMARY, ""), ("docs/B.md", "")]);
        assert_eq!(book.faults, ["docs/B.md: docs/book/SUMMARY.md does not list it"]);
        assert_eq!(gather(&[]).faults, ["docs/book/SUMMARY.md: it is missing"]);
    }
}
