//! The cases as they are in the file.

use serde::Deserialize;
use serde_json::Value;
use tickwire_wire::{Codec, Pattern};

/// The root of the repository.
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
/// The least number of cases.
const LEAST: usize = 150;

/// One case.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Case {
    pub(super) name: String,
    why: String,
    #[serde(default = "both")]
    codecs: Vec<String>,
    #[serde(default)]
    pub(super) needs: Vec<String>,
    pub(super) client: Made,
    pub(super) steps: Vec<Value>,
}

/// How the client of a case is made.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Made {
    pub(super) token: Option<String>,
    pub(super) token_function: Option<String>,
    pub(super) books: Option<String>,
    pub(super) quiet_margin_ms: Option<u64>,
    pub(super) urls: Option<usize>,
}

fn both() -> Vec<String> {
    vec!["json".to_owned(), "msgpack".to_owned()]
}

impl Case {
    pub(super) fn codecs(&self) -> impl Iterator<Item = Codec> + '_ {
        self.codecs.iter().map(|name| match name.as_str() {
            "json" => Codec::Json,
            "msgpack" => Codec::MessagePack,
            other => panic!("{}: {other} is no codec", self.name),
        })
    }
}

/// Reads all cases.
pub(super) fn read() -> Vec<Case> {
    serde_json::from_str(&file("clients/conformance/cases.json")).expect("the file holds cases")
}

fn file(path: &str) -> String {
    std::fs::read_to_string(format!("{ROOT}/{path}")).expect(path)
}

/// The kinds of steps, with the fields that a step may have besides.
const STEPS: [(&str, &[&str]); 18] = [
    ("dial", &[]),
    ("welcome", &[]),
    ("expect", &["as"]),
    ("grant", &["as"]),
    ("synced", &[]),
    ("say", &[]),
    ("say_text", &[]),
    ("say_hex", &[]),
    ("say_msgpack", &[]),
    ("raw", &[]),
    ("close", &["reason"]),
    ("cut", &[]),
    ("expect_end", &[]),
    (
        "do",
        &[
            "topics",
            "mode",
            "conflate_ms",
            "snapshot",
            "topic",
            "data",
            "key",
            "token",
            "as",
        ],
    ),
    ("answer", &["ok", "error"]),
    ("report", &["order"]),
    ("settle", &[]),
    ("book", &[]),
];

fn is_a_step(step: &Value) -> bool {
    let Some(fields) = step.as_object() else {
        return false;
    };
    STEPS.iter().any(|(kind, others)| {
        fields.contains_key(*kind)
            && fields
                .keys()
                .all(|field| field == kind || others.contains(&field.as_str()))
    })
}

#[test]
fn the_cases_are_many_and_well_formed() {
    let cases = read();
    assert!(cases.len() >= LEAST, "{} cases are too few", cases.len());
    let mut names: Vec<&str> = cases.iter().map(|case| case.name.as_str()).collect();
    names.sort_unstable();
    for pair in names.windows(2) {
        assert_ne!(pair[0], pair[1], "names are unique");
    }
    let protocol = file("docs/PROTOCOL.md");
    let sections: Vec<&str> = protocol
        .lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| line.trim_start_matches(['#', ' ']))
        .collect();
    for case in &cases {
        let Case { name, why, .. } = case;
        assert!(case.codecs().count() > 0, "{name}: no codec");
        assert!(
            why == "client" || sections.contains(&why.as_str()),
            "{name}: PROTOCOL.md has no section {why:?}"
        );
        for step in &case.steps {
            assert!(is_a_step(step), "{name}: {step} is no step");
        }
        if let Some(books) = &case.client.books {
            books
                .parse::<Pattern>()
                .unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        assert_eq!(
            case.client.urls.is_some(),
            case.needs.iter().any(|need| need == "urls"),
            "{name}: several URLs are an ability"
        );
    }
}

#[test]
fn the_readme_says_which_abilities_this_client_lacks() {
    let readme = file("clients/conformance/README.md");
    // The rows of the table are `| `name`: what it is | Rust | JavaScript | Python |`.
    let rows = readme.lines().filter_map(|line| {
        let cells: Vec<&str> = line.split(" | ").collect();
        let name = cells[0].strip_prefix("| `")?.split_once("`: ")?.0;
        (cells.len() == 4 && cells[1] == "no").then_some(name)
    });
    assert_eq!(rows.collect::<Vec<_>>(), super::LACKS);
}
