//! Origins of web pages (RFC 6454), and the rules that name them in the settings.
//!
//! The crate `headers` parses origins too, but accepts an origin with a path, and treats one with the scheme's default
//! port as different from one without a port.

use std::fmt;

/// Scheme, host and port of a page. Two origins are the same only if all three are (RFC 6454 §5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebOrigin {
    scheme: String,
    host: String,
    /// The port, by default that of the scheme. `None` if there is neither.
    port: Option<u16>,
}

impl WebOrigin {
    /// Parses the origin `text`, such as `https://example.com`, with a port if that is not the scheme's default. The
    /// case of scheme and host does not matter (RFC 6454 §4).
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (scheme, authority) = text.split_once("://")?;
        let is_scheme = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.');
        if !scheme.starts_with(|c: char| c.is_ascii_alphabetic()) || !scheme.bytes().all(is_scheme) {
            return None;
        }
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => {
                let (address, after) = rest.split_once(']')?;
                address.parse::<std::net::Ipv6Addr>().ok()?;
                let port = if after.is_empty() {
                    None
                } else {
                    Some(after.strip_prefix(':')?)
                };
                (&authority[..address.len() + 2], port)
            }
            None => match authority.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (authority, None),
            },
        };
        let is_host =
            |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b'[' | b']' | b':');
        if host.is_empty() || !host.bytes().all(is_host) {
            return None;
        }
        let scheme = scheme.to_ascii_lowercase();
        let port = match port {
            None => default_port(&scheme),
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => Some(digits.parse().ok()?),
            Some(_) => return None,
        };
        Some(Self {
            scheme,
            host: host.to_ascii_lowercase(),
            port,
        })
    }
}

impl fmt::Display for WebOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scheme, host, port } = self;
        match port {
            Some(port) if default_port(scheme) != Some(*port) => write!(f, "{scheme}://{host}:{port}"),
            _ => write!(f, "{scheme}://{host}"),
        }
    }
}

/// Pages that may connect: those of an origin, or of all hosts below one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OriginRule {
    origin: WebOrigin,
    /// Whether the rule matches only hosts below that of `origin`.
    below: bool,
}

impl OriginRule {
    /// Parses the rule `text`: an origin, or one whose host begins with `*.`, which stands for one or more labels.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let Some((scheme, rest)) = text.split_once("://*.") else {
            let origin = WebOrigin::parse(text)?;
            return Some(Self { origin, below: false });
        };
        let origin = WebOrigin::parse(&format!("{scheme}://{rest}"))?;
        let is_name = !origin.host.starts_with('[') && origin.host.parse::<std::net::Ipv4Addr>().is_err();
        let is_whole = origin.host.split('.').all(|label| !label.is_empty());
        (is_name && is_whole).then_some(Self { origin, below: true })
    }

    /// Whether the rule matches pages of `origin`.
    pub(crate) fn covers(&self, origin: &WebOrigin) -> bool {
        let rule = &self.origin;
        if !self.below {
            return rule == origin;
        }
        let labels = origin
            .host
            .strip_suffix(rule.host.as_str())
            .and_then(|labels| labels.strip_suffix('.'));
        (&rule.scheme, rule.port) == (&origin.scheme, origin.port)
            && labels.is_some_and(|labels| labels.split('.').all(|label| !label.is_empty()))
    }
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" | "ws" => Some(80),
        "https" | "wss" => Some(443),
        _ => None,
    }
}
