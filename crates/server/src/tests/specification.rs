//! The paths, methods and parameters in an `OpenAPI` document, for the tests that compare them with a table of endpoints.

use std::collections::BTreeMap;

use serde_json::Value;

/// For each path its methods and the names of its query's parameters, both sorted.
pub(crate) type Paths = BTreeMap<String, (Vec<String>, Vec<String>)>;

/// The paths in the document `name` of docs/spec.
pub(crate) fn paths(name: &str) -> Paths {
    let file = format!("{}/../../docs/spec/{name}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(file).expect("a document");
    let document: Value = serde_saphyr::from_str(&text).expect("the document is YAML");
    let paths = document["paths"].as_object().expect("paths").iter();
    paths
        .map(|(path, item)| {
            let parameters = &item["parameters"];
            let operations = item.as_object().expect("a path");
            let operations = operations.iter().filter(|(name, _)| *name != "parameters");
            let mut methods: Vec<String> = operations.clone().map(|(name, _)| name.to_uppercase()).collect();
            let of_operations = operations.map(|(_, operation)| &operation["parameters"]);
            let all = of_operations
                .chain([parameters])
                .filter_map(Value::as_array)
                .flatten();
            let mut names: Vec<String> = all
                .filter_map(|parameter| in_query(&document, parameter))
                .collect();
            methods.sort();
            names.sort();
            names.dedup();
            (path.clone(), (methods, names))
        })
        .collect()
}

/// The name of a parameter, if it is one of the query.
fn in_query(document: &Value, parameter: &Value) -> Option<String> {
    let parameter = match parameter["$ref"].as_str() {
        Some(reference) => document.pointer(reference.trim_start_matches('#'))?,
        None => parameter,
    };
    (parameter["in"] == "query").then(|| parameter["name"].as_str().map(str::to_owned))?
}

/// The words of a row of a table, sorted.
pub(crate) fn sorted<'a>(words: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let mut words: Vec<String> = words.into_iter().map(str::to_owned).collect();
    words.sort();
    words
}
