//! The address of a broker, parsed from a URL.

use std::fmt;

use url::{Host, Url};

use crate::error::UrlError;

/// The path of the WebSocket endpoint, used when a URL names none.
const DEFAULT_PATH: &str = "/v1/ws";

/// A `ws://` or `wss://` URL, valid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    url: Url,
    /// Host name or address, IPv6 without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Endpoint {
    /// Parses `text`. A URL without a path means `/v1/ws`.
    pub(crate) fn parse(text: &str) -> Result<Self, UrlError> {
        let mut url = Url::parse(text).map_err(|error| UrlError::Malformed {
            url: text.to_owned(),
            reason: error.to_string(),
        })?;
        if !matches!(url.scheme(), "ws" | "wss") {
            return Err(UrlError::UnsupportedScheme {
                url: text.to_owned(),
                scheme: url.scheme().to_owned(),
            });
        }
        let host = match url.host() {
            Some(Host::Domain(name)) => name.to_owned(),
            Some(Host::Ipv4(address)) => address.to_string(),
            Some(Host::Ipv6(address)) => address.to_string(),
            None => return Err(malformed(text, "it names no host")),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(malformed(text, "credentials in a URL are not supported"));
        }
        if url.path() == "/" {
            url.set_path(DEFAULT_PATH);
        }
        // A fragment is not sent, so it makes no other address.
        url.set_fragment(None);
        let port = url.port_or_known_default().unwrap_or(80);
        Ok(Self { url, host, port })
    }

    /// Whether the URL's scheme is `wss`, so that the connection uses TLS.
    pub(crate) fn is_tls(&self) -> bool {
        self.url.scheme() == "wss"
    }

    /// The request target: the URL's path and query.
    pub(crate) fn target(&self) -> &str {
        &self.url[url::Position::BeforePath..url::Position::AfterQuery]
    }

    /// The value of the `Host` header (RFC 9110 §7.2).
    pub(crate) fn host_header(&self) -> &str {
        &self.url[url::Position::BeforeHost..url::Position::AfterPort]
    }
}

fn malformed(url: &str, reason: &str) -> UrlError {
    UrlError::Malformed {
        url: url.to_owned(),
        reason: reason.to_owned(),
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.url[..url::Position::AfterQuery].as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        for (text, host, port, header, target) in [
            ("ws://localhost", "localhost", 80, "localhost", "/v1/ws"),
            ("wss://localhost", "localhost", 443, "localhost", "/v1/ws"),
            (
                "ws://127.0.0.1:7400/",
                "127.0.0.1",
                7400,
                "127.0.0.1:7400",
                "/v1/ws",
            ),
            (
                "ws://[::1]:7400/other?a=b#c",
                "::1",
                7400,
                "[::1]:7400",
                "/other?a=b",
            ),
        ] {
            let endpoint = Endpoint::parse(text).expect(text);
            let found = (
                endpoint.host.as_str(),
                endpoint.port,
                endpoint.host_header(),
                endpoint.target(),
            );
            assert_eq!(found, (host, port, header, target), "{text}");
        }
    }

    #[test]
    fn urls_that_name_no_broker() {
        for (text, message) in [
            (
                "",
                "\"\" is no URL: relative URL without a base; write ws://HOST:PORT/v1/ws",
            ),
            (
                "http://a/",
                "\"http://a/\" has the scheme \"http\", which is not supported: this client speaks ws:// and wss://",
            ),
            (
                "localhost:7400",
                "\"localhost:7400\" has the scheme \"localhost\", which is not supported: this client speaks ws:// and wss://",
            ),
            (
                "ws://u:p@a/",
                "\"ws://u:p@a/\" is no URL: credentials in a URL are not supported; write ws://HOST:PORT/v1/ws",
            ),
        ] {
            assert_eq!(Endpoint::parse(text).expect_err(text).to_string(), message);
        }
    }
}
