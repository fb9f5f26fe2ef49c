//! The query of a request: its decoded parameters in order.
//!
//! Parameters that an endpoint does not know are ignored, as receivers ignore unknown fields. An endpoint names those
//! that it knows, and never gets another one. Their number is bounded by the size of the request's head.

use std::borrow::Cow;
use std::str::FromStr;

use super::ErrorResponse;
use super::percent::decode;

/// The query of a request as text, and the names of the parameters that its endpoint knows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct UnreadQuery<'r> {
    pub(crate) text: Option<&'r str>,
    pub(crate) names: &'static [&'static str],
}

impl UnreadQuery<'_> {
    /// Parses the query.
    ///
    /// # Errors
    /// 400 if a name or value cannot be decoded.
    pub(crate) fn read(self) -> Result<Query, ErrorResponse> {
        Query::parse(self.text, self.names)
    }
}

/// The parameters of a request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Parses `query`, the part of a target after the `?`, if there is one, and keeps the parameters with these `names`.
    /// A `+` is a space, as browsers write it.
    ///
    /// # Errors
    /// 400 if a name or value cannot be decoded, whether or not it is kept.
    pub fn parse(query: Option<&str>, names: &[&str]) -> Result<Self, ErrorResponse> {
        let mut parameters = Vec::new();
        for part in query
            .unwrap_or_default()
            .split('&')
            .filter(|part| !part.is_empty())
        {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let text = |encoded: &str| {
                let spaced = encoded.replace('+', " ");
                decode(&spaced).map(Cow::into_owned).map_err(|e| {
                    let shown: String = encoded.chars().take(40).collect();
                    ErrorResponse::bad_request(format!("{shown:?} in the query cannot be decoded: {e}"))
                })
            };
            let (name, value) = (text(name)?, text(value)?);
            if names.contains(&name.as_str()) {
                parameters.push((name, value));
            }
        }
        Ok(Self(parameters))
    }

    /// Every value of `name`, in the request's order.
    pub fn all<'q>(&'q self, name: &str) -> impl Iterator<Item = &'q str> {
        self.0
            .iter()
            .filter(move |(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    /// The value of `name`, if there is one.
    ///
    /// # Errors
    /// 400 if there is more than one.
    pub fn one<'q>(&'q self, name: &str) -> Result<Option<&'q str>, ErrorResponse> {
        let mut values = self.all(name);
        let first = values.next();
        match values.next() {
            None => Ok(first),
            Some(_) => Err(ErrorResponse::bad_request(format!(
                "the query has {name:?} more than once"
            ))),
        }
    }

    /// The value of `name` as a `T`, if there is one. `needed` describes a `T` in errors, such as "a whole number".
    ///
    /// # Errors
    /// 400 if there is more than one, or the value is not a `T`.
    pub fn one_as<T: FromStr>(&self, name: &str, needed: &str) -> Result<Option<T>, ErrorResponse> {
        self.one(name)?
            .map(|text| {
                text.parse().map_err(|_| {
                    let shown: String = text.chars().take(40).collect();
                    ErrorResponse::bad_request(format!("{name}={shown:?} in the query must be {needed}"))
                })
            })
            .transpose()
    }

    /// The number in the parameter `name`, at least one, or `default` if it is missing.
    ///
    /// # Errors
    /// 400 if there is more than one, or the value is not a whole number from 1 to `most`.
    pub fn count(&self, name: &str, default: usize, most: usize) -> Result<usize, ErrorResponse> {
        match self.one_as::<usize>(name, &format!("a whole number from 1 to {most}"))? {
            None => Ok(default),
            Some(count) if (1..=most).contains(&count) => Ok(count),
            Some(count) => Err(ErrorResponse::bad_request(format!(
                "{name}={count} in the query must be a whole number from 1 to {most}"
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    #[track_caller]
    fn check(query: &str, expected: &Expect) {
        expected.assert_eq(
            &match Query::parse(Some(query), &["topic", "mode", "name", "a", "b", ""]) {
                Ok(Query(parameters)) => format!("{parameters:?}"),
                Err(refused) => refused.to_string(),
            },
        );
    }

    #[test]
    fn queries() {
        assert_eq!(Query::parse(None, &["topic"]), Ok(Query::default()));
        check("", &expect!["[]"]);
        check(
            "topic=trade.*&topic=ticker.%3E&mode=every",
            &expect![[r#"[("topic", "trade.*"), ("topic", "ticker.>"), ("mode", "every")]"#]],
        );
        check(
            "a&b=&=c&&a=b=c",
            &expect![[r#"[("a", ""), ("b", ""), ("", "c"), ("a", "b=c")]"#]],
        );
        check("name=a+b%2Bc", &expect![[r#"[("name", "a b+c")]"#]]);
        check("unknown=1&name=2", &expect![[r#"[("name", "2")]"#]]);
        check("%74opic=a", &expect![[r#"[("topic", "a")]"#]]);
        check(
            "topic=%",
            &expect![[
                r#"400 Bad Request: bad_request: "%" in the query cannot be decoded: '%' at byte 0 is not followed by two hexadecimal digits"#
            ]],
        );
        check(
            "%zz=1",
            &expect![[
                r#"400 Bad Request: bad_request: "%zz" in the query cannot be decoded: '%' at byte 0 is not followed by two hexadecimal digits"#
            ]],
        );
        check(
            "a=%C3",
            &expect![[
                r#"400 Bad Request: bad_request: "%C3" in the query cannot be decoded: it is not UTF-8 once decoded"#
            ]],
        );
    }

    #[test]
    fn values_by_name() {
        let top = |query| {
            Query::parse(Some(query), &["top"])
                .unwrap()
                .count("top", 20, 1_000)
        };
        assert_eq!(
            (top(""), top("top=1"), top("top=1000")),
            (Ok(20), Ok(1), Ok(1_000))
        );
        expect![["top=0 in the query must be a whole number from 1 to 1000"]]
            .assert_eq(&top("top=0").unwrap_err().refusal.reason);
        expect![["top=1001 in the query must be a whole number from 1 to 1000"]]
            .assert_eq(&top("top=1001").unwrap_err().refusal.reason);
        expect![[r#"top="all" in the query must be a whole number from 1 to 1000"#]]
            .assert_eq(&top("top=all").unwrap_err().refusal.reason);
        let names = ["topic", "since", "limit", "n", "mode"];
        let query = Query::parse(Some("topic=b&since=7&topic=a&limit=x&limit=1&n=-1"), &names).unwrap();
        assert_eq!(query.all("topic").collect::<Vec<_>>(), ["b", "a"]);
        assert_eq!(query.one("since"), Ok(Some("7")));
        assert_eq!(query.one("mode"), Ok(None));
        assert_eq!(query.one_as("since", "a whole number"), Ok(Some(7_u64)));
        let refused = |refused: ErrorResponse| refused.refusal.reason;
        expect![[r#"the query has "limit" more than once"#]]
            .assert_eq(&refused(query.one("limit").unwrap_err()));
        expect![[r#"n="-1" in the query must be a whole number"#]]
            .assert_eq(&refused(query.one_as::<u64>("n", "a whole number").unwrap_err()));
    }
}
