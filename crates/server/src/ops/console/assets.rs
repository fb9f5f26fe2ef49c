//! The files of the page. They are built from `clients/console`, and a test compares them with a new build.
//!
//! The policy of the page allows scripts, styles and connections of its own origin only, so nothing that a message holds
//! can load or run anything.

use std::sync::OnceLock;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderMap, HeaderName, HeaderValue,
    REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Response, StatusCode};
use sha2::{Digest as _, Sha256};

use crate::http::is_named_by;

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// A file of the page.
struct Asset {
    path: &'static str,
    content_type: &'static str,
    content: &'static [u8],
    /// Its tag, from its content, once it was asked for.
    etag: OnceLock<Option<HeaderValue>>,
}

macro_rules! asset {
    ($path:literal, $content_type:literal, $file:literal) => {
        Asset {
            path: $path,
            content_type: $content_type,
            content: include_bytes!(concat!("../../../console/", $file)),
            etag: OnceLock::new(),
        }
    };
}

static ASSETS: [Asset; 3] = [
    asset!("/", "text/html; charset=utf-8", "index.html"),
    asset!("/console.js", "text/javascript; charset=utf-8", "console.js"),
    asset!("/console.css", "text/css; charset=utf-8", "console.css"),
];

/// The file at `path`; 304 if the client with these `headers` has it already.
///
/// # Panics
/// If there is no such file, which is a fault of the caller.
pub(in crate::ops) fn asset(path: &str, headers: &HeaderMap) -> Response<Full<Bytes>> {
    let asset = ASSETS.iter().find(|asset| asset.path == path);
    let asset = asset.unwrap_or_else(|| panic!("{path} is a file of the page"));
    let etag = asset.etag.get_or_init(|| etag_of(asset.content));
    let is_known = etag
        .as_ref()
        .is_some_and(|etag| is_named_by(etag.as_bytes(), headers));
    let mut response = Response::new(match is_known {
        true => Full::default(),
        false => Full::new(Bytes::from_static(asset.content)),
    });
    let answer = response.headers_mut();
    for (name, value) in [
        (CONTENT_TYPE, asset.content_type),
        // It is asked for each time, since another version of the broker has another page.
        (CACHE_CONTROL, "no-cache"),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
    ] {
        answer.insert(name, HeaderValue::from_static(value));
    }
    if let Some(etag) = etag {
        answer.insert(ETAG, etag.clone());
    }
    if is_known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    response
}

/// The strong tag of `content`.
fn etag_of(content: &[u8]) -> Option<HeaderValue> {
    let hash = Sha256::digest(content);
    let digits = hash.iter().take(16).map(|byte| format!("{byte:02x}"));
    HeaderValue::try_from(format!("\"{}\"", digits.collect::<String>())).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_the_browser_has_is_not_sent_again() {
        let first = asset("/console.js", &HeaderMap::new());
        assert_eq!(first.status(), StatusCode::OK);
        let etag = first.headers()[ETAG].to_str().expect("text").to_owned();
        for (named, status) in [
            (etag.clone(), StatusCode::NOT_MODIFIED),
            (format!("W/{etag}"), StatusCode::NOT_MODIFIED),
            ("\"other\"".to_owned(), StatusCode::OK),
        ] {
            let mut headers = HeaderMap::new();
            let named = HeaderValue::try_from(named).expect("a value");
            headers.insert(hyper::header::IF_NONE_MATCH, named);
            assert_eq!(asset("/console.js", &headers).status(), status, "{headers:?}");
            assert_eq!(asset("/", &headers).status(), StatusCode::OK, "another file");
        }
    }

    /// A name of another host in the page would be asked for by every operator's browser.
    #[test]
    fn the_page_names_nothing_of_other_hosts_to_load() {
        for asset in &ASSETS {
            let text = std::str::from_utf8(asset.content).expect("text");
            for loads in ["src=\"http", "src=\"//", "url(http", "@import", "importScripts("] {
                assert!(!text.contains(loads), "{} has {loads}", asset.path);
            }
        }
        let page = std::str::from_utf8(ASSETS[0].content).expect("text");
        for asset in &ASSETS[1..] {
            assert!(page.contains(&format!("\"{}\"", asset.path)), "{}", asset.path);
        }
        assert!(!page.contains("<style") && !page.contains("onload="));
    }
}
