//! Rule: links between the project's documents lead somewhere, and every page of `docs/` can be found from the start.

use std::collections::BTreeSet;

use super::Fault;
use crate::workspace::TextFile;

/// Where a reader begins.
const STARTS: &[&str] = &["README.md", "docs/ARCHITECTURE.md"];

/// A relative link in a document.
#[derive(Debug)]
struct Link<'a> {
    line: usize,
    /// The path, relative to the document; empty for a link within it.
    path: &'a str,
    /// The heading.
    anchor: Option<&'a str>,
}

/// The faults of all documents.
pub(super) fn check(files: &[TextFile]) -> Vec<Fault> {
    let documents: Vec<_> = files.iter().filter(|file| file.is("md")).collect();
    let mut faults = Vec::new();
    let mut from_starts = BTreeSet::new();
    for document in &documents {
        for link in links(&document.text) {
            let target = if link.path.is_empty() {
                Some(document.path.clone())
            } else {
                resolve(&document.path, link.path)
            };
            let exists = |path: &str| {
                path.is_empty()
                    || files
                        .iter()
                        .any(|file| file.path == path || file.path.starts_with(&format!("{path}/")))
            };
            let Some(target) = target.filter(|target| exists(target)) else {
                faults.push(Fault::new(
                    &document.path,
                    link.line,
                    format!("the link to {} leads nowhere", link.path),
                ));
                continue;
            };
            let page = documents.iter().find(|page| page.path == target);
            if let Some((anchor, page)) = link.anchor.zip(page)
                && !headings(&page.text).contains(anchor)
            {
                faults.push(Fault::new(
                    &document.path,
                    link.line,
                    format!("{target} has no heading #{anchor}"),
                ));
            }
            if STARTS.contains(&document.path.as_str()) {
                from_starts.insert(target);
            }
        }
    }
    for document in documents {
        let is_page = document
            .path
            .strip_prefix("docs/")
            .is_some_and(|name| !name.contains('/'));
        if is_page && !STARTS.contains(&document.path.as_str()) && !from_starts.contains(&document.path) {
            faults.push(Fault::new(
                &document.path,
                0,
                "no link leads here; add one to README.md or docs/ARCHITECTURE.md",
            ));
        }
    }
    faults
}

/// The lines of a document outside of fenced code, numbered from 1.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut is_fenced = false;
    text.lines().enumerate().filter_map(move |(at, line)| {
        let is_fence = line.trim_start().starts_with("```");
        is_fenced ^= is_fence;
        (!is_fence && !is_fenced).then_some((at + 1, line))
    })
}

fn links(text: &str) -> Vec<Link<'_>> {
    let mut links = Vec::new();
    for (line, text) in prose(text) {
        for (at, _) in text.match_indices("](") {
            let rest = &text[at + 2..];
            let target = rest.split([')', ' ']).next().unwrap_or(rest);
            if target.is_empty() || target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let (path, anchor) = match target.split_once('#') {
                Some((path, anchor)) => (path, Some(anchor)),
                None => (target, None),
            };
            links.push(Link { line, path, anchor });
        }
    }
    links
}

/// The path that `link` in `document` leads to; nothing when it leaves the project.
fn resolve(document: &str, link: &str) -> Option<String> {
    let folder = document.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut parts: Vec<_> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in link.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// The anchors of a document's headings, as the usual renderers make them.
fn headings(text: &str) -> BTreeSet<String> {
    let lines = prose(text).filter(|(_, line)| line.starts_with('#'));
    lines
        .map(|(_, line)| {
            let title = line.trim_start_matches('#').trim().to_lowercase();
            let kept = title
                .chars()
                .filter(|&c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
            kept.map(|c| if c == ' ' { '-' } else { c }).collect()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(files: &[(&str, &str)]) -> Vec<String> {
        let files: Vec<_> = files
            .iter()
            .map(|&(path, text)| TextFile {
                path: path.to_owned(),
                text: text.to_owned(),
            })
            .collect();
        check(&files).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn links_that_lead_somewhere() {
        let readme = "[a](docs/A.md#some-heading-2) [b](crates/) [c](https://example.org/x) [d](#here)\n# Here\n```\n[e](none)\n```\n";
        let a = "[up](../README.md) [self](./A.md)\n## Some *heading* 2!\n";
        assert_eq!(
            faults(&[("README.md", readme), ("docs/A.md", a), ("crates/a.rs", "")]),
            [""; 0]
        );
    }

    #[test]
    fn links_that_do_not() {
        for (readme, expected) in [
            (
                "\n[a](docs/B.md)",
                "README.md:2: the link to docs/B.md leads nowhere",
            ),
            ("[a](../x)", "README.md:1: the link to ../x leads nowhere"),
            (
                "[a](docs/A.md#none)",
                "README.md:1: docs/A.md has no heading #none",
            ),
            ("[a](#none)", "README.md:1: README.md has no heading #none"),
        ] {
            let faults = faults(&[
                ("README.md", readme),
                ("docs/A.md", "# A"),
                ("docs/ARCHITECTURE.md", "[a](A.md)"),
            ]);
            assert_eq!(faults, [expected]);
        }
    }

    #[test]
    fn pages_that_cannot_be_found() {
        let found = faults(&[
            ("README.md", ""),
            ("docs/A.md", "[b](B.md)"),
            ("docs/B.md", ""),
            ("docs/adr/0001.md", ""),
        ]);
        assert_eq!(found.len(), 2);
        assert!(found[0].starts_with("docs/A.md: no link leads here"));
    }
}
