//! `X-Forwarded-For`: a trusted proxy names the client.
//!
//! Each proxy appends the address that it was connected from. So the list is read from its right end, as long as the
//! entries are trusted proxies. The first entry that is not is the client. Entries further left were sent by that
//! client and prove nothing. An entry that is not an address ends the reading; then the proxy that appended it counts
//! as the client.

use std::net::{IpAddr, SocketAddr};

use hyper::header::{HeaderMap, HeaderName};

use super::client_addr::ClientAddr;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The client of a request with `headers` from `peer`. `trusts` says whether a proxy is trusted.
pub(crate) fn client_of(
    headers: &HeaderMap,
    peer: ClientAddr,
    trusts: impl Fn(IpAddr) -> bool,
) -> ClientAddr {
    let mut client = peer;
    // Several lines make one list (RFC 9110 §5.3).
    let lines = headers.get_all(X_FORWARDED_FOR).into_iter().rev();
    let hops = lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','));
    for hop in hops.map(<[u8]>::trim_ascii).filter(|hop| !hop.is_empty()) {
        if !trusts(client.ip()) {
            break;
        }
        match address(hop) {
            Some(address) => client = address,
            None => break,
        }
    }
    client
}

/// An address as proxies write it: bare or in brackets, with or without a port.
fn address(hop: &[u8]) -> Option<ClientAddr> {
    let text = std::str::from_utf8(hop).ok()?;
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(text);
    if let Ok(ip) = bare.parse::<IpAddr>() {
        return Some(ClientAddr::new(ip, None));
    }
    text.parse::<SocketAddr>().ok().map(ClientAddr::from)
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    /// The client in `lines`, if 10.0.0.0/8 and ::1 are trusted.
    fn client(peer: &str, lines: &[&[u8]]) -> String {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(X_FORWARDED_FOR, HeaderValue::from_bytes(line).expect("a header"));
        }
        let peer: SocketAddr = peer.parse().expect("an address");
        let trusts = |ip: IpAddr| match ip {
            IpAddr::V4(ip) => ip.octets()[0] == 10,
            IpAddr::V6(ip) => ip.is_loopback(),
        };
        client_of(&headers, peer.into(), trusts).to_string()
    }

    #[test]
    fn the_rightmost_that_is_not_trusted() {
        for (lines, expected) in [
            (&[][..], "10.0.0.1:99"),
            (&[&b"192.0.2.1"[..]], "192.0.2.1"),
            (&[b"198.51.100.7, 192.0.2.1"], "192.0.2.1"),
            (&[b"198.51.100.7,192.0.2.1, 10.1.2.3"], "192.0.2.1"),
            (
                &[b"198.51.100.7", b"192.0.2.1", b"10.1.2.3,10.4.5.6"],
                "192.0.2.1",
            ),
            // All entries are trusted proxies, so the furthest one is the client.
            (&[b"10.9.9.9, 10.1.2.3"], "10.9.9.9"),
            (&[b"192.0.2.1:4711"], "192.0.2.1:4711"),
            (&[b"2001:db8::1"], "2001:db8::1"),
            (&[b"[2001:db8::1]"], "2001:db8::1"),
            (&[b"[2001:db8::1]:4711"], "[2001:db8::1]:4711"),
            (&[b"::ffff:192.0.2.1"], "192.0.2.1"),
            (&[b"192.0.2.9, ::ffff:10.0.0.3"], "192.0.2.9"),
            (&[b" \t192.0.2.1\t , "], "192.0.2.1"),
        ] {
            assert_eq!(client("10.0.0.1:99", lines), expected, "{lines:?}");
        }
    }

    #[test]
    fn what_is_no_address_ends_the_reading() {
        for (lines, expected) in [
            (&[&b"unknown"[..]], "10.0.0.1:99"),
            (&[b"192.0.2.1, unknown"], "10.0.0.1:99"),
            (&[b"192.0.2.1, _hidden, 10.1.2.3"], "10.1.2.3"),
            (&[b"192.0.2.1 198.51.100.7"], "10.0.0.1:99"),
            (&[b"for=192.0.2.1"], "10.0.0.1:99"),
            (&[b"1.2.3"], "10.0.0.1:99"),
            (&[b"1.2.3.4.5"], "10.0.0.1:99"),
            (&[b"192.0.2.1:"], "10.0.0.1:99"),
            (&[b"192.0.2.1:99999"], "10.0.0.1:99"),
            (&[b"[2001:db8::1"], "10.0.0.1:99"),
            (&[b"[[2001:db8::1]]"], "10.0.0.1:99"),
            (&[b"fe80::1%eth0"], "10.0.0.1:99"),
            (&[b"\xff\xfe"], "10.0.0.1:99"),
            (&[b",,,"], "10.0.0.1:99"),
        ] {
            assert_eq!(client("10.0.0.1:99", lines), expected, "{lines:?}");
        }
    }

    #[test]
    fn who_is_not_trusted_is_not_believed() {
        for peer in ["192.0.2.1:99", "[2001:db8::1]:99", "11.0.0.1:99"] {
            assert_eq!(client(peer, &[b"198.51.100.7", b"10.0.0.1"]), peer);
        }
        assert_eq!(client("[::1]:99", &[b"198.51.100.7"]), "198.51.100.7");
    }

    #[test]
    fn a_long_list_is_read_no_further_than_needed() {
        let mut line = b"192.0.2.1,".repeat(1_000);
        line.extend(b"198.51.100.7");
        assert_eq!(client("10.0.0.1:99", &[&line]), "198.51.100.7");
    }
}
