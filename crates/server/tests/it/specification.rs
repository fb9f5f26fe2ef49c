//! The documents docs/spec/openapi.yaml and openapi-operators.yaml, as checks of answers.
//!
//! Every answer that a test of this program gets is checked against them (`support.rs`): its status must be in the
//! document, its headers and its body must be as described, and the body may have no other fields.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use jsonschema::Validator;
use serde_json::{Value, json};

use crate::support::Answer;

/// That of the clients' listener.
pub(crate) static CLIENTS: LazyLock<Specification> =
    LazyLock::new(|| Specification::read(include_str!("../../../../docs/spec/openapi.yaml")));
/// That of the operators' listener.
pub(crate) static OPERATORS: LazyLock<Specification> =
    LazyLock::new(|| Specification::read(include_str!("../../../../docs/spec/openapi-operators.yaml")));

/// A status of an operation: the path with its placeholder, the method and the status.
pub(crate) type Documented = (String, String, u16);

pub(crate) struct Specification {
    document: Value,
    /// Validators by the path of their schema in the document.
    validators: Mutex<HashMap<String, Arc<Validator>>>,
}

impl Specification {
    fn read(text: &str) -> Self {
        let mut document = serde_saphyr::from_str(text).expect("the document is YAML");
        close(&mut document);
        Self {
            document,
            validators: Mutex::default(),
        }
    }

    /// Every status of every operation.
    pub(crate) fn statuses(&self) -> Vec<Documented> {
        let mut statuses = Vec::new();
        for (path, item) in object(&self.document["paths"]) {
            for (method, operation) in object(item).filter(|(name, _)| *name != "parameters") {
                for (status, _) in object(&operation["responses"]) {
                    let status = status.parse().expect("a status");
                    statuses.push((path.clone(), method.to_uppercase(), status));
                }
            }
        }
        statuses
    }

    /// The schema at this path, as JSON.
    pub(crate) fn at(&self, pointer: &str) -> &Value {
        let found = self.document.pointer(pointer);
        found.unwrap_or_else(|| panic!("the document has no {pointer}"))
    }

    /// Checks the answer to a request.
    #[track_caller]
    pub(crate) fn check(&self, method: &str, target: &str, answer: &Answer) {
        let request = format!("{method} {target} was answered with {}", answer.status);
        let path = target.split('?').next().unwrap_or(target);
        let paths = self.document["paths"].as_object().expect("paths");
        let Some(template) = paths.keys().find(|template| is_of(template, path)) else {
            assert!(
                (400..600).contains(&answer.status) || method == "OPTIONS",
                "{request}"
            );
            return;
        };
        let operation = format!("/paths/{}/{}", escaped(template), method.to_lowercase());
        if self.document.pointer(&operation).is_none() {
            assert!(answer.status >= 400, "{request}, and there is no such operation");
            return;
        }
        let pointer = self.resolved(format!("{operation}/responses/{}", answer.status));
        let response = self.document.pointer(&pointer);
        let response = response.unwrap_or_else(|| panic!("{request}, which is not in the document"));
        for (name, _) in response.get("headers").into_iter().flat_map(object) {
            let header = self.resolved(format!("{pointer}/headers/{name}"));
            match answer.headers.get(&name.to_lowercase()) {
                None => assert!(self.at(&header)["required"] != true, "{request} without {name}"),
                Some(value) => {
                    let schema = self.resolved(format!("{header}/schema"));
                    let number = value.parse::<u64>().ok();
                    let number = number.filter(|_| self.at(&schema)["type"] == "integer");
                    self.validate(
                        &schema,
                        &number.map_or_else(|| json!(value), Value::from),
                        &request,
                    );
                }
            }
        }
        if !answer.body.is_empty() && answer.header("content-encoding").is_empty() {
            let kind = answer
                .header("content-type")
                .split(';')
                .next()
                .unwrap_or_default();
            let schema = format!("{pointer}/content/{}/schema", escaped(kind));
            assert!(self.document.pointer(&schema).is_some(), "{request} as {kind:?}");
            let body = match kind {
                "application/json" => answer.json(),
                _ => json!(String::from_utf8_lossy(&answer.body)),
            };
            self.validate(&schema, &body, &request);
        }
    }

    #[track_caller]
    fn validate(&self, schema: &str, value: &Value, what: &str) {
        let mut validators = self.validators.lock().unwrap_or_else(PoisonError::into_inner);
        let validator = validators.entry(schema.to_owned()).or_insert_with(|| {
            let root = json!({"allOf": [self.at(schema)], "components": self.document["components"]});
            Arc::new(jsonschema::draft202012::new(&root).unwrap_or_else(|error| panic!("{schema}: {error}")))
        });
        let validator = validator.clone();
        drop(validators);
        let faults: Vec<String> = validator
            .iter_errors(value)
            .map(|fault| fault.to_string())
            .collect();
        assert_eq!(faults, [""; 0], "{what}: {value}");
    }

    /// The path that is meant by `pointer`, which may lead to a reference.
    fn resolved(&self, pointer: String) -> String {
        let reference = self
            .document
            .pointer(&pointer)
            .and_then(|value| value["$ref"].as_str());
        reference.map_or(pointer, |reference| reference.trim_start_matches('#').to_owned())
    }
}

/// Adds to each object of a schema that it has no other fields.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            fields.values_mut().for_each(close);
            if fields.contains_key("properties") {
                fields.insert("additionalProperties".to_owned(), Value::Bool(false));
            }
        }
        Value::Array(elements) => elements.iter_mut().for_each(close),
        _ => {}
    }
}

fn object(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().expect("an object").iter()
}

/// A name as a part of a JSON pointer (RFC 6901 §3).
fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// Whether `path` is one of those of `template`.
fn is_of(template: &str, path: &str) -> bool {
    let Some((before, after)) = template.split_once("{topic}") else {
        return template == path;
    };
    let topic = path
        .strip_prefix(before)
        .and_then(|rest| rest.strip_suffix(after));
    topic.is_some_and(|topic| !topic.contains('/'))
}
