//! The examples in the documents are what the program accepts.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tickwire_wire::{Codec, ServerMessage};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The README and the pages of `docs`, with their names.
fn documents() -> Vec<(String, String)> {
    let pages = fs::read_dir(root().join("docs")).expect("docs is there");
    let pages = pages.map(|entry| entry.expect("readable").path());
    pages
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .chain([root().join("README.md")])
        .map(|path| {
            let text = fs::read_to_string(&path).expect("a page is text");
            (
                path.file_name()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned(),
                text,
            )
        })
        .collect()
}

/// The code blocks of `language` in a page.
fn blocks<'t>(text: &'t str, language: &str) -> Vec<&'t str> {
    let fence = format!("```{language}\n");
    let starts = text.match_indices(&fence).map(|(at, _)| at + fence.len());
    starts
        .map(|start| text[start..].split("```").next().unwrap_or_default())
        .collect()
}

#[test]
fn messages_in_the_documents_are_messages_of_the_protocol() {
    let mut count = 0;
    for (name, text) in documents() {
        for block in blocks(&text, "json") {
            for value in serde_json::Deserializer::from_str(block).into_iter::<serde_json::Value>() {
                let value = value.unwrap_or_else(|e| panic!("{name}: {e} in\n{block}"));
                let Some(op) = value.get("op").and_then(|op| op.as_str()) else {
                    continue;
                };
                let bytes = value.to_string().into_bytes();
                count += 1;
                if matches!(
                    op,
                    "subscribe" | "positions" | "unsubscribe" | "publish" | "resync" | "auth" | "ping"
                ) {
                    Codec::Json
                        .decode_request(&bytes)
                        .unwrap_or_else(|e| panic!("{name}: {value}: {e:?}"));
                } else {
                    let message = Codec::Json
                        .decode_server(&bytes)
                        .unwrap_or_else(|e| panic!("{name}: {value}: {e}"));
                    assert!(!matches!(message, ServerMessage::Unknown(_)), "{name}: {value}");
                }
            }
        }
    }
    assert!(count >= 12, "only {count} messages were found");
}

/// The words of a command line. Quoted text stays together; a comment or a pipe ends the line.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted) = (Vec::new(), String::new(), false);
    for c in line.chars() {
        match c {
            '\'' => quoted = !quoted,
            '#' | '|' | '&' | '<' if !quoted => break,
            ' ' if !quoted => words.extend(Some(std::mem::take(&mut word)).filter(|word| !word.is_empty())),
            c => word.push(c),
        }
    }
    words.extend(Some(word).filter(|word| !word.is_empty()));
    words
}

#[test]
fn command_lines_in_the_documents_are_understood() {
    let mut count = 0;
    for (name, text) in documents() {
        for line in blocks(&text, "sh").into_iter().flat_map(str::lines) {
            let line = line.rsplit_once("| ").map_or(line, |(_, last)| last);
            let words = words(line);
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let (["tickwire", arguments @ ..] | ["cargo", "run", "--release", "--", arguments @ ..]) =
                words.as_slice()
            else {
                continue;
            };
            count += 1;
            // Flags that do not exist are refused before the help is printed.
            let output = Command::new(env!("CARGO_BIN_EXE_tickwire"))
                .args(arguments)
                .arg("--help")
                .output()
                .expect("the program runs");
            assert!(
                output.status.success(),
                "{name}: {line}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
    }
    assert!(count >= 5, "only {count} command lines were found");
}
