//! Checks that a request has exactly one `Host` (RFC 9112 §3.2). Which host it names does not matter to the broker.

use hyper::header::HOST;
use hyper::http::uri::Authority;
use hyper::{Request, Version};

/// The reason for a client whose request does not have it.
pub(crate) const ONE_HOST: &str = "exactly one Host header is needed, with a host and perhaps a port";

/// Whether a request has its `Host` as required. HTTP/1.0 does not require it, and an empty value is allowed.
pub(crate) fn is_named<B>(request: &Request<B>) -> bool {
    let mut hosts = request.headers().get_all(HOST).into_iter();
    match (hosts.next(), hosts.next()) {
        (None, _) => request.version() < Version::HTTP_11,
        (Some(host), None) => host.is_empty() || is_host(host.as_bytes()),
        (Some(_), Some(_)) => false,
    }
}

fn is_host(text: &[u8]) -> bool {
    let Ok(authority) = Authority::try_from(text) else {
        return false;
    };
    let (whole, host) = (authority.as_str(), authority.host());
    // User information is not part of the header (RFC 9110 §7.2). It would be before the host.
    whole.strip_prefix(host).is_some_and(|port| {
        let digits = port.strip_prefix(':').unwrap_or(port);
        digits.bytes().all(|byte| byte.is_ascii_digit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_names_one_host() {
        for (version, hosts, named) in [
            (Version::HTTP_11, &["example.com"][..], true),
            (Version::HTTP_11, &["example.com:7400"], true),
            (Version::HTTP_11, &["[::1]:7400"], true),
            (Version::HTTP_11, &[""], true),
            (Version::HTTP_11, &[], false),
            (Version::HTTP_11, &["a", "a"], false),
            (Version::HTTP_11, &["a b"], false),
            (Version::HTTP_11, &["a/b"], false),
            (Version::HTTP_11, &["user@a"], false),
            (Version::HTTP_11, &["a:x"], false),
            (Version::HTTP_10, &[], true),
            (Version::HTTP_10, &["a", "b"], false),
        ] {
            let mut request = Request::builder().version(version);
            for host in hosts {
                request = request.header(HOST, *host);
            }
            let request = request.body(()).expect("a request");
            assert_eq!(is_named(&request), named, "{version:?} {hosts:?}");
        }
    }
}
