//! The rule for links: links between the project's documents lead somewhere, and every page of `docs/` can be reached
//! from the start.

use std::collections::BTreeSet;

use super::Fault;
use crate::workspace::ProjectFile;

/// The documents at which a reader starts.
const STARTS: &[&str] = &["README.md", "docs/ARCHITECTURE.md"];

/// A relative link in a document.
#[derive(Debug)]
struct Link<'a> {
    line: usize,
    /// The path, relative to the document; empty for a link within the document.
    path: &'a str,
    /// The heading that the link leads to, if it names one.
    anchor: Option<&'a str>,
}

/// The faults of all documents.
pub(super) fn check(files: &[ProjectFile]) -> Vec<Fault> {
    let documents: Vec<_> = files.iter().filter(|file| file.is("md")).collect();
    let exists = |path: &str| {
        let below = format!("{path}/");
        path.is_empty()
            || files
                .iter()
                .any(|file| file.path == path || file.path.starts_with(&below))
    };
    let is_start = |path: &str| STARTS.contains(&path);
    let mut faults = Vec::new();
    let mut from_starts = BTreeSet::new();
    for document in &documents {
        for link in links(&document.text) {
            let mut fault = |what| faults.push(Fault::new(&document.path, link.line, what));
            let target = match link.path {
                "" => Some(document.path.clone()),
                path => resolve(&document.path, path),
            };
            let Some(target) = target.filter(|target| exists(target)) else {
                fault(format!("the link to {} leads nowhere", link.path));
                continue;
            };
            let page = documents.iter().find(|page| page.path == target);
            if let Some((anchor, page)) = link.anchor.zip(page)
                && !headings(&page.text).contains(anchor)
            {
                fault(format!("{target} has no heading #{anchor}"));
            }
            if is_start(&document.path) {
                from_starts.insert(target);
            }
        }
    }
    for path in documents.iter().map(|document| &document.path) {
        let is_page = path.strip_prefix("docs/").is_some_and(|name| !name.contains('/'));
        if is_page && !is_start(path) && !from_starts.contains(path) {
            let what = "no link leads here; add one to README.md or docs/ARCHITECTURE.md";
            faults.push(Fault::new(path, 0, what));
        }
    }
    faults
}

/// The lines of a document outside fenced code, numbered from 1.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut is_fenced = false;
    text.lines().enumerate().filter_map(move |(at, line)| {
        let is_fence = is_fence(line);
        is_fenced ^= is_fence;
        (!is_fence && !is_fenced).then_some((at + 1, line))
    })
}

/// Whether `line` begins or ends fenced code.
pub(crate) fn is_fence(line: &str) -> bool {
    line.trim_start().starts_with("```")
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

/// The path that `link` in `document` leads to; `None` if it leaves the project.
pub(crate) fn resolve(document: &str, link: &str) -> Option<String> {
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

/// The anchors of a document's headings, as common renderers make them.
fn headings(text: &str) -> BTreeSet<String> {
    let lines = prose(text).filter(|(_, line)| line.starts_with('#'));
    lines
        .map(|(_, line)| {
            let title = line.trim_start_matches('#').trim().to_lowercase();
            let is_kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
            let kept = title.chars().filter(is_kept);
            kept.map(|c| if c == ' ' { '-' } else { c }).collect()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(files: &[(&str, &str)]) -> Vec<String> {
        let files = files.iter().map(|&(path, text)| ProjectFile {
            path: path.to_owned(),
            text: text.to_owned(),
        });
        let faults = check(&files.collect::<Vec<_>>());
        faults.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn links_that_lead_somewhere_and_not() {
        let good = "[a](docs/A.md#some-heading-2) [b](docs/) [c](https://example.org/x) [d](#here)\n# Here\n\
                    ```\n[e](none)\n```\n";
        for (readme, expected) in [
            (good, ""),
            ("\n[a](docs/B.md)", "2: the link to docs/B.md leads nowhere"),
            ("[a](../x)", "1: the link to ../x leads nowhere"),
            ("[a](docs/A.md#none)", "1: docs/A.md has no heading #none"),
            ("[a](#none)", "1: README.md has no heading #none"),
        ] {
            let a = "[up](../README.md) [self](./A.md)\n## Some *heading* 2!\n";
            let start = ("docs/ARCHITECTURE.md", "[a](A.md)");
            let found = faults(&[("README.md", readme), ("docs/A.md", a), start]).concat();
            assert_eq!(found.strip_prefix("README.md:").unwrap_or(&found), expected);
        }
    }

    #[test]
    fn pages_that_cannot_be_found() {
        let [a, b] = [("docs/A.md", "[b](B.md)"), ("docs/B.md", "")];
        let found = faults(&[a, b, ("docs/adr/0001.md", "")]);
        assert_eq!(found.len(), 2);
        assert!(found[0].starts_with("docs/A.md: no link leads here"));
    }
}
