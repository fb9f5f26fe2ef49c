//! The documents of docs/spec as the tools of others read them, and the broker under requests that schemathesis makes from
//! them.
//!
//! The requests are the same in each run, and their number is bounded. schemathesis checks each answer: its status, its
//! headers and its body must be in the document, data that the document allows must be accepted, and other data must be
//! refused.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use crate::admin;
use crate::support::{Broker, Tool, test_file};

/// The number of requests that are made for each operation in each way.
const EXAMPLES: &str = "30";

fn document(name: &str) -> String {
    format!("{}/../../docs/spec/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// Runs `program` and checks that it succeeds.
fn run(program: &Path, arguments: &[&str]) {
    let output = Command::new(program)
        .args(arguments)
        .env("SCHEMATHESIS_HOOKS", "hooks")
        .env("PYTHONPATH", test_file("python"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .current_dir(tempfile::tempdir().expect("a folder can be made").path())
        .output()
        .expect("it starts");
    assert!(
        output.status.success(),
        "{arguments:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn asyncapis_own_parser_finds_nothing_to_object_to() {
    let Some(node) = Tool::Node.find("asyncapis_own_parser_finds_nothing_to_object_to") else {
        return;
    };
    run(
        &node,
        &[&test_file("node/asyncapi.mjs"), &document("asyncapi.yaml")],
    );
}

#[test]
fn the_validator_of_openapi_finds_nothing_to_object_to() {
    let Some(python) = Tool::Python.find("the_validator_of_openapi_finds_nothing_to_object_to") else {
        return;
    };
    for name in ["openapi.yaml", "openapi-operators.yaml"] {
        run(&python, &["-m", "openapi_spec_validator", &document(name)]);
    }
}

/// A broker without a feed, to which anyone may publish everything.
fn broker() -> Broker {
    Broker::start(&["--feed", "none", "--anonymous-publish", ">"])
}

fn fuzz(python: &Path, name: &str, address: SocketAddr, more: &[&str]) {
    let (document, url) = (document(name), format!("http://{address}"));
    let arguments = ["-m", "schemathesis.cli", "run", &document, "--url", &url];
    let settings = [
        "--checks=all",
        // A check of the hooks takes its place.
        "--exclude-checks=use_after_free",
        "--generation-deterministic",
        "--max-examples",
        EXAMPLES,
    ];
    let shown = ["--no-color", "--continue-on-failure"];
    run(python, &[&arguments[..], &settings, &shown, more].concat());
}

#[test]
fn schemathesis_finds_no_fault_of_the_clients_listener() {
    let Some(python) = Tool::Python.find("schemathesis_finds_no_fault_of_the_clients_listener") else {
        return;
    };
    let broker = broker();
    let endless = ["--exclude-path=/v1/ws", "--exclude-path=/v1/sse"];
    fuzz(&python, "openapi.yaml", broker.listen, &endless);
    broker.stop();
}

#[test]
fn schemathesis_finds_no_fault_of_the_operators_listener() {
    let Some(python) = Tool::Python.find("schemathesis_finds_no_fault_of_the_operators_listener") else {
        return;
    };
    let broker = broker();
    fuzz(
        &python,
        "openapi-operators.yaml",
        broker.ops,
        &["--exclude-path=/v1/ws", "--exclude-path-regex=^/admin/"],
    );
    broker.stop();
}

#[test]
fn schemathesis_finds_no_fault_of_the_admin_api() {
    let Some(python) = Tool::Python.find("schemathesis_finds_no_fault_of_the_admin_api") else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder can be made");
    let path = folder.path().join("tickwire.toml");
    std::fs::write(&path, admin::operator_lines()).expect("a file can be written");
    let broker = Broker::start(&["--feed", "none", "--config", &path.display().to_string()]);
    let bearer = format!("Authorization: Bearer {}", admin::OPERATOR);
    let only_admin = ["--include-path-regex=^/admin/", "--exclude-path=/admin/v1/drain"];
    // The names of keys are the broker's, so a name that the document allows may be refused.
    let names = [
        "--exclude-checks=use_after_free,positive_data_acceptance",
        "--header",
        &bearer,
    ];
    fuzz(
        &python,
        "openapi-operators.yaml",
        broker.ops,
        &[&only_admin[..], &names].concat(),
    );
    broker.stop();
}

#[test]
fn schemathesis_finds_no_fault_of_streams_and_handshakes() {
    let Some(python) = Tool::Python.find("schemathesis_finds_no_fault_of_streams_and_handshakes") else {
        return;
    };
    let broker = broker();
    let script = test_file("python/fuzz_streams.py");
    for (name, address) in [
        ("openapi.yaml", broker.listen),
        ("openapi-operators.yaml", broker.ops),
    ] {
        let url = format!("http://{address}");
        run(&python, &[&script, &document(name), &url, EXAMPLES]);
    }
    broker.stop();
}
