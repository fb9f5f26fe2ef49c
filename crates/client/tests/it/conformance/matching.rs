//! Compares what came with what a case expects.

use serde_json::{Value, json};

/// Whether `found` is what `expected` describes. `found` is `None` where there is no such field.
pub(super) fn matches(expected: &Value, found: Option<&Value>) -> bool {
    let found = found.unwrap_or(&Value::Null);
    if let Some(verdict) = rule(expected, found) {
        return verdict;
    }
    match (expected, found) {
        (Value::Object(fields), Value::Object(found)) => fields
            .iter()
            .all(|(name, expected)| matches(expected, found.get(name))),
        (Value::Array(expected), Value::Array(found)) => {
            expected.len() == found.len()
                && expected
                    .iter()
                    .zip(found)
                    .all(|(expected, found)| matches(expected, Some(found)))
        }
        (expected, found) => expected == found,
    }
}

/// What an expected value with one of the special fields says.
fn rule(expected: &Value, found: &Value) -> Option<bool> {
    let fields = expected.as_object()?;
    if fields.get("absent") == Some(&Value::Bool(true)) {
        return Some(found.is_null());
    }
    if let Some(Value::Array(any)) = fields.get("any") {
        return Some(any.iter().any(|one| matches(one, Some(found))));
    }
    let (min, max) = (fields.get("min"), fields.get("max"));
    if min.is_none() && max.is_none() {
        return None;
    }
    let within = |found: f64| {
        min.and_then(Value::as_f64).is_none_or(|min| found >= min)
            && max.and_then(Value::as_f64).is_none_or(|max| found <= max)
    };
    Some(found.as_f64().is_some_and(within))
}

#[test]
fn expected_values_match_what_they_describe() {
    let check = |expected: Value, found: Value| matches(&expected, Some(&found));
    assert!(check(json!({"a": 1}), json!({"a": 1, "b": 2})));
    assert!(!check(json!({"a": 1}), json!({"b": 1})));
    assert!(!check(json!([1]), json!([1, 2])));
    assert!(check(json!({"a": {"absent": true}}), json!({"a": null})));
    assert!(!check(json!({"a": {"absent": true}}), json!({"a": 0})));
    assert!(check(json!({"any": ["x", "y"]}), json!("y")));
    assert!(!check(json!({"any": ["x", "y"]}), json!("z")));
    assert!(check(json!({"min": 2, "max": 3}), json!(3)));
    assert!(!check(json!({"min": 2}), json!(1)));
    assert!(!check(json!({"min": 2}), json!("3")));
}
