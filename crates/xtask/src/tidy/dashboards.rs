//! The rule for dashboards: their files are what the source says.

use std::collections::BTreeMap;

use super::Fault;
use crate::dashboards::{FOLDER, SOURCE, made_from};
use crate::workspace::ProjectFile;

/// The faults of the dashboards' files.
pub(super) fn check(files: &[ProjectFile]) -> Vec<Fault> {
    let Some(source) = files.iter().find(|file| file.path == SOURCE) else {
        return Vec::new();
    };
    let made = match made_from(&source.text) {
        Ok(made) => made,
        Err(error) => return vec![Fault::new(SOURCE, 0, format!("{error:#}"))],
    };
    let folder = format!("{FOLDER}/");
    let below = files.iter().filter(|file| file.path.starts_with(&folder));
    let mut kept: BTreeMap<&str, &str> = below
        .map(|file| (file.path.as_str(), file.text.as_str()))
        .collect();
    let mut faults = Vec::new();
    for (path, text) in &made {
        if kept.remove(path.as_str()) != Some(text) {
            let what = format!("is not what {SOURCE} says; run `cargo xtask dashboards`");
            faults.push(Fault::new(path, 0, what));
        }
    }
    let gone = kept.keys();
    faults.extend(gone.map(|path| Fault::new(path, 0, format!("is no dashboard of {SOURCE}; remove it"))));
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_differ_are_named() {
        let source =
            "variable = []\n[[dashboard]]\nuid = \"a\"\ntitle = \"A\"\ntells = \"What.\"\nrow = []\n";
        let (path, text) = made_from(source).unwrap().remove(0);
        let file = |path: &str, text: &str| ProjectFile {
            path: path.to_owned(),
            text: text.to_owned(),
        };
        let faults = |files: &[(&str, &str)]| {
            let files: Vec<_> = files.iter().map(|(path, text)| file(path, text)).collect();
            check(&files).iter().map(ToString::to_string).collect::<String>()
        };
        let other = format!("{FOLDER}/b.json");
        assert_eq!(faults(&[(SOURCE, source), (&path, &text)]), "");
        assert_eq!(faults(&[("README.md", "")]), "");
        assert!(faults(&[(SOURCE, source)]).contains("run `cargo xtask dashboards`"));
        assert!(faults(&[(SOURCE, source), (&path, "{}")]).contains("run `cargo xtask dashboards`"));
        assert!(
            faults(&[(SOURCE, source), (&path, &text), (&other, "")]).contains("b.json: is no dashboard")
        );
        assert!(faults(&[(SOURCE, "x")]).contains("cannot be read"));
    }
}
