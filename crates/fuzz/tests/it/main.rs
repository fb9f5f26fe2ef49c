//! Runs every kept input with each run of the tests, so that a fault which the fuzzer found does not come back.

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
            // Each beginning of the input must pass as well.
            for end in 0..input.len().min(200) {
                target(&input[..end]);
            }
        }
    }
}

/// Parses an entry of a dictionary as libFuzzer does; `None` if it is not an entry.
fn word(line: &str) -> Option<Vec<u8>> {
    let mut word = Vec::new();
    let mut rest = line.strip_prefix('"')?.strip_suffix('"')?.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        word.push(match (byte, after) {
            (b'\\', [b'x', high, low, ..]) => {
                rest = &after[3..];
                let digits = [*high, *low];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            (b'\\', [escaped @ (b'\\' | b'"'), ..]) => {
                rest = &after[1..];
                *escaped
            }
            (b'\\' | b'"', _) => return None,
            (byte, _) => *byte,
        });
    }
    (!word.is_empty()).then_some(word)
}

#[test]
fn each_dictionary_is_of_a_target_and_has_the_keys_of_a_library() {
    let dictionaries = folder("dictionaries");
    for name in names(&dictionaries) {
        assert!(
            TARGETS.iter().any(|(target, _)| *target == name),
            "{name} is no target"
        );
        let text = fs::read_to_string(dictionaries.join(&name)).unwrap();
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let words: Vec<Vec<u8>> = lines
            .map(|line| word(line).unwrap_or_else(|| panic!("{name}: {line}")))
            .collect();
        for key in ["$serde_json::private::RawValue", "$serde_json::private::Number"] {
            assert!(
                words.iter().any(|word| word == key.as_bytes()),
                "{name} lacks {key}"
            );
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
