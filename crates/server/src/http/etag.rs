//! Entity tags of snapshots: `"epoch:seq"`, and what `If-None-Match` says of them (RFC 9110 §8.8.3, §13.1.2).
//!
//! The crate `headers` reads that list too, but goes on behind a fault in it, and does not tell whether a tag was named as weak.

use std::fmt;

use hyper::header::{HeaderMap, HeaderValue, IF_NONE_MATCH};
use tickwire_wire::message::Position;
use tickwire_wire::{Epoch, Seq};

/// The tag of a topic's value: the same tag means the same value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Etag(Position);

impl Etag {
    /// The tag of the value that message `seq` of `epoch` left.
    #[must_use]
    pub fn new(epoch: Epoch, seq: Seq) -> Self {
        Self(Position { epoch, seq })
    }

    /// The tag as the header `ETag` has it; none when the epoch holds a byte that no header may hold, as those of the broker
    /// do not.
    #[must_use]
    pub fn header(&self) -> Option<HeaderValue> {
        HeaderValue::try_from(self.to_string()).ok()
    }

    /// The tag as `If-None-Match` names it: weak, if that is what the client has of the value.
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

    /// Whether `If-None-Match` names this tag, so that the answer is 304. A header that is no list of tags names none from its fault
    /// on: the client then gets the value, which is always right.
    #[must_use]
    pub fn is_named_by(&self, headers: &HeaderMap) -> bool {
        let own = self.to_string();
        headers.get_all(IF_NONE_MATCH).into_iter().any(|line| {
            line.as_bytes() == b"*" || opaque_tags(line.as_bytes()).any(|tag| tag == own.as_bytes())
        })
    }
}

impl fmt::Display for Etag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}:{}\"", self.0.epoch, self.0.seq)
    }
}

/// The weak tag of a value with the strong one `tag`: of another coding of the same value (RFC 9110 §8.8.3).
pub(super) fn weak(tag: &HeaderValue) -> Option<HeaderValue> {
    HeaderValue::from_bytes(&[b"W/", tag.as_bytes()].concat()).ok()
}

/// The tags of a list, quotes included and `W/` not: the comparison for `If-None-Match` is the weak one.
fn opaque_tags(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = line;
    std::iter::from_fn(move || {
        // Commas may stand inside of a tag, so the list cannot be split at them.
        while let [b',' | b' ' | b'\t', after @ ..] = rest {
            rest = after;
        }
        let tag = rest.strip_prefix(b"W/").unwrap_or(rest);
        let end = tag.strip_prefix(b"\"")?.iter().position(|byte| *byte == b'"')? + 2;
        let (tag, after) = tag.split_at(end);
        // What follows a tag is a comma or the end.
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
