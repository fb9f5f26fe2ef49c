//! Every input that is kept, on every run of the tests: a fault that the fuzzer once found stays found.

use std::fs;
use std::path::{Path, PathBuf};

use tickwire_fuzz::TARGETS;

fn folder(of: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(of)
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut names: Vec<_> = entries
        .map(|entry| entry.expect("a folder can be read").file_name())
        .map(|name| {
            name.into_string()
                .expect("a file of the project has a name in UTF-8")
        })
        .collect();
    names.sort();
    names
}

#[test]
fn what_is_kept_is_in_order() {
    for (name, target) in TARGETS {
        let seeds = folder("seeds").join(name);
        let kept = names(&seeds);
        assert!(!kept.is_empty(), "{name} has no seeds");
        for seed in kept {
            let input = fs::read(seeds.join(&seed)).unwrap();
            let held = std::panic::catch_unwind(|| target(&input));
            assert!(held.is_ok(), "seeds/{name}/{seed} found a fault");
            // Nor any beginning of it.
            for end in 0..input.len().min(200) {
                target(&input[..end]);
            }
        }
    }
}

#[test]
fn each_target_has_a_program_and_seeds() {
    let known: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
    assert_eq!(names(&folder("seeds")), known);
    let programs: Vec<String> = known.iter().map(|name| format!("{name}.rs")).collect();
    assert_eq!(names(&folder("libfuzzer/fuzz_targets")), programs);
    let manifest = fs::read_to_string(folder("libfuzzer/Cargo.toml")).unwrap();
    for name in known {
        assert!(
            manifest.contains(&format!("name = \"{name}\"")),
            "{name} is not built"
        );
    }
}
