//! Entity tags of snapshots, `"epoch:seq"`, and how `If-None-Match` is compared with them (RFC 9110 §8.8.3, §13.1.2).
//!
//! The crate `headers` reads such lists too, but continues after a fault in one, and does not tell whether a tag was
//! weak.

use std::fmt;

use hyper::header::{HeaderMap, HeaderValue, IF_NONE_MATCH};
use tickwire_wire::message::Position;
use tickwire_wire::{Epoch, Seq};

/// The tag of a topic's value. Equal tags mean equal values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Etag(Position);

impl Etag {
    /// The tag of the value after message `seq` of `epoch`.
    #[must_use]
    pub fn new(epoch: Epoch, seq: Seq) -> Self {
        Self(Position { epoch, seq })
    }

    /// The tag as a value of the header `ETag`. `None` if the epoch has a byte that a header may not have; the broker's
    /// epochs have none.
    #[must_use]
    pub fn header(&self) -> Option<HeaderValue> {
        HeaderValue::try_from(self.to_string()).ok()
    }

    /// The tag as `If-None-Match` names it: weak if the client has it as a weak tag.
    #[must_use]
    pub fn header_as_named(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let own = self.header()?;
        let is_weak = |weak: &HeaderValue| {
            let mut lines = headers.get_all(IF_NONE_MATCH).into_iter();
            lines.any(|line| {
                line.as_bytes()
                    .windows(weak.len())
                    .any(|part| part == weak.as_bytes())
            })
        };
        Some(weak(&own).filter(is_weak).unwrap_or(own))
    }

    /// Whether `If-None-Match` names this tag, so that the answer is 304. In a malformed list only the tags before the
    /// fault count. A client whose tag is missed gets the value, which is always right.
    #[must_use]
    pub fn is_named_by(&self, headers: &HeaderMap) -> bool {
        is_named_by(self.to_string().as_bytes(), headers)
    }
}

/// Whether `If-None-Match` names the strong tag `own`, which is given with its quotes.
pub(crate) fn is_named_by(own: &[u8], headers: &HeaderMap) -> bool {
    let mut lines = headers.get_all(IF_NONE_MATCH).into_iter();
    lines.any(|line| line.as_bytes() == b"*" || opaque_tags(line.as_bytes()).any(|tag| tag == own))
}

impl fmt::Display for Etag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}:{}\"", self.0.epoch, self.0.seq)
    }
}

/// The weak tag for a value with the strong tag `tag`, for another coding of the same value (RFC 9110 §8.8.3).
pub(super) fn weak(tag: &HeaderValue) -> Option<HeaderValue> {
    HeaderValue::from_bytes(&[b"W/", tag.as_bytes()].concat()).ok()
}

/// The tags of a list with their quotes and without `W/`: `If-None-Match` uses the weak comparison.
fn opaque_tags(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = line;
    std::iter::from_fn(move || {
        // A tag may contain commas, so the list cannot be split at them.
        while let [b',' | b' ' | b'\t', after @ ..] = rest {
            rest = after;
        }
        let tag = rest.strip_prefix(b"W/").unwrap_or(rest);
        let end = tag.strip_prefix(b"\"")?.iter().position(|byte| *byte == b'"')? + 2;
        let (tag, after) = tag.split_at(end);
        // After a tag comes a comma or the end.
        let comma = after.trim_ascii_start().first().is_none_or(|byte| *byte == b',');
        rest = if comma { after } else { b"" };
        Some(tag)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn if_none_match() {
        let etag = Etag::new("k3v9".into(), Seq(57));
        assert_eq!(etag.header().unwrap(), "\"k3v9:57\"");
        assert_eq!(
            Etag::new("a\nb".into(), Seq(1)).header(),
            None,
            "rather than a panic"
        );
        for (lines, named) in [
            (&[][..], false),
            (&["\"k3v9:57\""], true),
            (&["W/\"k3v9:57\""], true),
            (&["*"], true),
            (&["\"k3v9:56\""], false),
            (&["\"k3v9:5\""], false),
            (&["\"k3v9:577\""], false),
            (&["\"other:57\""], false),
            (&["\"a\", W/\"b\" ,\t\"k3v9:57\""], true),
            (&["\"a,b\",\"k3v9:57\""], true),
            (&["\"a\"", "\"k3v9:57\""], true),
            (&[",, \"k3v9:57\","], true),
            (&["k3v9:57"], false),
            (&["\"k3v9:57"], false),
            (&["\"a\"\"k3v9:57\""], false),
            (&["\"a\" x, \"k3v9:57\""], false),
            (&["w/\"k3v9:57\""], false),
            (&["\"*\""], false),
            (&[""], false),
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(IF_NONE_MATCH, HeaderValue::from_str(line).unwrap());
            }
            assert_eq!(etag.is_named_by(&headers), named, "{lines:?}");
        }
    }

    #[test]
    fn a_tag_is_named_as_the_client_has_it() {
        let etag = Etag::new("k3v9".into(), Seq(57));
        for (line, named) in [
            ("\"k3v9:57\"", "\"k3v9:57\""),
            ("\"a\", W/\"k3v9:57\"", "W/\"k3v9:57\""),
            ("W/\"k3v9:5\", \"k3v9:57\"", "\"k3v9:57\""),
            ("*", "\"k3v9:57\""),
        ] {
            let mut headers = HeaderMap::new();
            headers.append(IF_NONE_MATCH, HeaderValue::from_str(line).unwrap());
            assert_eq!(etag.header_as_named(&headers).unwrap(), named, "{line}");
        }
    }
}
