//! The check of a built site: each link of its pages leads to a file of the site, and to a place in it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use anyhow::Result;

use crate::workspace::read;

/// The faults of the pages `chapters` of the site in `folder`.
pub(super) fn check(folder: &Path, chapters: &[PathBuf]) -> Result<Vec<String>> {
    let mut texts = BTreeMap::new();
    for chapter in chapters {
        texts.insert(chapter.clone(), read(chapter)?);
    }
    let places: BTreeMap<&Path, BTreeSet<&str>> = texts
        .iter()
        .map(|(path, text)| (path.as_path(), values(text, " id=\"").collect()))
        .collect();
    let mut faults = Vec::new();
    for (page, text) in &texts {
        let shown = page.strip_prefix(folder).unwrap_or(page).display();
        for link in values(text, " href=\"").chain(values(text, " src=\"")) {
            if ["://", "mailto:", "data:"]
                .iter()
                .any(|outside| link.contains(outside))
            {
                continue;
            }
            let (path, anchor) = link
                .split_once('#')
                .map_or((link, None), |(path, anchor)| (path, Some(anchor)));
            let target = match path {
                "" => page.clone(),
                path => normal(&page.with_file_name("").join(path)),
            };
            let places = places.get(target.as_path());
            if !target.is_file() {
                faults.push(format!("{shown}: the link to {link} leads nowhere"));
            } else if let (Some(anchor), Some(places)) = (anchor.filter(|anchor| !anchor.is_empty()), places)
                && !places.contains(anchor)
            {
                faults.push(format!("{shown}: the link to {link} leads to no heading"));
            }
        }
    }
    Ok(faults)
}

/// The values of an attribute, which is written as `begin`. Text that looks like one is none.
fn values<'t>(text: &'t str, begin: &'t str) -> impl Iterator<Item = &'t str> {
    let tags = text.split('<').skip(1).filter_map(|rest| rest.split('>').next());
    tags.flat_map(move |tag| tag.split(begin).skip(1))
        .filter_map(|rest| rest.split('"').next())
}

/// The path without `..`.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                normal.pop();
            }
            part => normal.push(part),
        }
    }
    normal
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::{make, write};

    #[test]
    fn links_that_lead_nowhere_are_found() {
        let folder = std::env::temp_dir().join(format!("xtask-book-{}", std::process::id()));
        make(&folder.join("a")).unwrap();
        let pages = [
            (
                "index.html",
                r#"<h1 id="top"></h1><a href="a/b.html#there"><a href="https://a.b/c"><a href="gone.html"><code>&lt;a href="shown.html"&gt;</code>"#,
            ),
            (
                "a/b.html",
                r##"<h2 id="there"><a href="../index.html#top"><a href="#nowhere"><img src="i.svg"><a href="">"##,
            ),
        ];
        let chapters: Vec<PathBuf> = pages.iter().map(|(path, _)| folder.join(path)).collect();
        for (path, (_, text)) in chapters.iter().zip(pages) {
            write(path, text).unwrap();
        }
        let faults = check(&folder, &chapters).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!(
            faults,
            [
                "a/b.html: the link to #nowhere leads to no heading",
                "a/b.html: the link to i.svg leads nowhere",
                "index.html: the link to gone.html leads nowhere",
            ]
        );
    }
}
