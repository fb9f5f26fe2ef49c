//! The examples in the documents are what the program accepts. Those of HTTP.md are run by the server's tests.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rcgen::{KeyPair, PKCS_ED25519};
use tickwire_wire::{Codec, ServerMessage};

use crate::support::{Authority, Broker, Script, Tool, find_in_path, poll, skip};

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
            '#' | '|' | '&' | '<' | '>' if !quoted => break,
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

/// Each block of settings is a file that a broker starts with, if the files and the hash that it names are there.
#[test]
fn settings_in_the_documents_are_accepted() {
    let folder = Authority::new();
    folder.issue("cert");
    fs::rename(folder.path("cert.key"), folder.path("key.pem")).expect("the key was written");
    let issuer = KeyPair::generate_for(&PKCS_ED25519).expect("a key");
    fs::write(folder.path("issuer.pem"), issuer.public_key_pem()).expect("a file can be written");
    let here = folder.file("");
    let mut count = 0;
    for (name, text) in documents() {
        for block in blocks(&text, "toml") {
            let settings = block
                .replace("/etc/tickwire/tls/", &here)
                .replace("644d8117…", &"6".repeat(64));
            fs::write(folder.path("tickwire.toml"), settings).expect("a file can be written");
            let output = Command::new(env!("CARGO_BIN_EXE_tickwire"))
                .args(["check-config", "tickwire.toml"])
                .current_dir(&here)
                .env("CREDENTIALS_DIRECTORY", &here)
                .output()
                .expect("the program runs");
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{name}: {said} for\n{block}");
            count += 1;
        }
    }
    assert!(count >= 6, "only {count} blocks were found");
}

/// Each line with curl gets an answer from a broker with the simulated market, and none is a refusal.
#[test]
fn requests_in_the_documents_are_answered() {
    if Tool::Curl
        .find("requests_in_the_documents_are_answered")
        .is_none()
    {
        return;
    }
    let broker = Broker::start(&["--feed", "sim"]);
    let ticker = broker.http("/v1/topics/ticker.BTC-USD");
    poll("there is a ticker", || {
        let asked = Command::new("curl").args(["-sf", &ticker]).output();
        asked.expect("curl runs").status.success().then_some(())
    });
    let mut count = 0;
    for (name, text) in documents() {
        let lines = blocks(&text, "sh").into_iter().flat_map(str::lines);
        for line in lines.filter(|line| line.starts_with("curl ")) {
            let here = line
                .replace("127.0.0.1:7400", &broker.listen.to_string())
                .replace("127.0.0.1:7401", &broker.ops.to_string())
                .replacen("curl", "exec curl -s", 1);
            // A stream has no end, so only its beginning is read.
            let first = Script::start(Path::new("sh"), &["-c", &here]).line();
            let first = first.unwrap_or_else(|| panic!("{name}: {line}: nothing came"));
            assert!(!first.contains("\"error\""), "{name}: {line}: {first}");
            count += 1;
        }
    }
    assert!(count >= 6, "only {count} lines were found");
    broker.stop();
}

/// The recording in the page about recordings has a line of each form. All are read: what is reported is that they repeat a
/// trade and are not in the order of their times.
#[test]
fn lines_of_recordings_in_the_documents_are_read() {
    let page = fs::read_to_string(root().join("docs/RECORDINGS.md")).expect("a page is text");
    let lines = blocks(&page, "text").concat();
    let folder = tempfile::tempdir().expect("a folder can be made");
    let file = folder.path().join("lines.jsonl");
    fs::write(&file, &lines).expect("a file can be written");
    let output = Command::new(env!("CARGO_BIN_EXE_tickwire"))
        .args(["check-recording", "--format", "json"])
        .arg(&file)
        .output()
        .expect("the program runs");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("a report");
    assert_eq!(report["lines"], lines.lines().count());
    assert_eq!(
        report["counts"],
        serde_json::json!({"time_back": 1, "repeated_trade": 1, "message_gap": 1}),
        "{report}"
    );
}

#[test]
fn a_key_is_made_as_the_documents_show() {
    let page = fs::read_to_string(root().join("docs/OPERATING.md")).expect("a page is text");
    let block = blocks(&page, "console").concat();
    let (command, shown) = block.split_once('\n').expect("a command and its output");
    let words = words(command.strip_prefix("$ tickwire ").expect("a command"));
    let output = Command::new(env!("CARGO_BIN_EXE_tickwire"))
        .args(&words)
        .output()
        .expect("the program runs");
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let shape = |text: &str| -> Vec<String> {
        let begins = text
            .lines()
            .map(|line| line.split(['_', '"']).next().unwrap_or(line));
        begins.map(str::to_owned).collect()
    };
    assert_eq!(shape(&printed), shape(shown), "{printed}");
}

/// The command that makes a certificate for a trial makes one with which a broker starts.
#[test]
fn the_certificate_in_the_documents_is_accepted() {
    let test = "the_certificate_in_the_documents_is_accepted";
    if find_in_path("openssl").is_none() {
        return skip(test, "openssl is not installed").unwrap_or_default();
    }
    let page = fs::read_to_string(root().join("docs/OPERATING.md")).expect("a page is text");
    let command = blocks(&page, "text")
        .into_iter()
        .find(|block| block.starts_with("openssl "));
    let folder = tempfile::tempdir().expect("a folder can be made");
    let settings = "[tls]\ncert_file = \"cert.pem\"\nkey_file = \"key.pem\"\n";
    fs::write(folder.path().join("tickwire.toml"), settings).expect("a file can be written");
    let check = format!("{} check-config tickwire.toml", env!("CARGO_BIN_EXE_tickwire"));
    for command in [command.expect("the command"), &check] {
        let output = Command::new("sh")
            .args(["-c", command])
            .current_dir(folder.path())
            .output()
            .expect("a shell runs");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}
