//! The header of the PROXY protocol, version 2, by which a proxy names the client at the beginning of a connection.
//!
//! The parser is strict: everything except a whole, well-formed header of a stream connection is refused, and a header
//! has at most [`BYTES_MAX`] bytes. The TLVs after the addresses must be well-formed, too, and are ignored, including a
//! checksum. No byte behind the header is taken: those belong to the client.
//!
//! Source: `doc/proxy-protocol.txt` of HAProxy, section 2.2. It is written here because strictness is its purpose and
//! the format is two fixed layouts. A parser that also accepts version 1 and UNIX paths would accept more than is
//! wanted.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use thiserror::Error;
use tokio::net::TcpStream;

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// The length of the fixed part in bytes.
const HEAD_BYTES: usize = 16;
/// The longest variable part in bytes: addresses and TLVs, which may contain the name of a certificate.
const BYTES_MAX: usize = 4_096;
const IPV4_BYTES: usize = 12;
const IPV6_BYTES: usize = 36;
/// The number of bytes before the value of a TLV: its type and length.
const TLV_HEAD_BYTES: usize = 3;

/// The client of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// A client at this address.
    Client(SocketAddr),
    /// The proxy itself, for example for a health check, or a client without an internet address.
    Proxy,
}

/// Why a header is not accepted.
#[derive(Debug, Error)]
pub(crate) enum HeaderError {
    #[error("it does not begin with the signature of the PROXY protocol, version 2")]
    NotAHeader,
    #[error("version {0} of the PROXY protocol; 2 is the one that is taken")]
    Version(u8),
    #[error("command {0} of the PROXY protocol is not known")]
    Command(u8),
    #[error("family and transport {0:#04x}: not a stream of the internet")]
    Family(u8),
    #[error("{0} bytes follow the fixed part; at most {BYTES_MAX} are taken")]
    TooLong(usize),
    #[error("{0} bytes are too few for the addresses")]
    TooShort(usize),
    #[error("what follows the addresses is cut short at byte {0}")]
    CutShort(usize),
    #[error("the connection ended within the header")]
    Ended,
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The fixed part of a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Head {
    is_local: bool,
    family: u8,
    length: usize,
}

/// Reads a header from the front of `stream`. The caller bounds the time.
///
/// # Errors
/// If there is no acceptable header.
pub(crate) async fn read(stream: &TcpStream) -> Result<Source, HeaderError> {
    let mut fixed = [0; HEAD_BYTES];
    fill(stream, &mut fixed).await?;
    let head = Head::read(&fixed)?;
    let mut rest = vec![0; head.length];
    fill(stream, &mut rest).await?;
    head.source(&rest)
}

async fn fill(stream: &TcpStream, mut into: &mut [u8]) -> Result<(), HeaderError> {
    while !into.is_empty() {
        stream.readable().await?;
        match stream.try_read(into) {
            Ok(0) => return Err(HeaderError::Ended),
            Ok(count) => into = &mut into[count..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

impl Head {
    fn read(bytes: &[u8; HEAD_BYTES]) -> Result<Self, HeaderError> {
        let [signature @ .., version_and_command, family, high, low] = bytes;
        if *signature != SIGNATURE {
            return Err(HeaderError::NotAHeader);
        }
        let (version, command) = (version_and_command >> 4, version_and_command & 0x0f);
        if version != 2 {
            return Err(HeaderError::Version(version));
        }
        if command > 1 {
            return Err(HeaderError::Command(command));
        }
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        if length > BYTES_MAX {
            return Err(HeaderError::TooLong(length));
        }
        Ok(Self {
            is_local: command == 0,
            family: *family,
            length,
        })
    }

    fn source(&self, rest: &[u8]) -> Result<Source, HeaderError> {
        if self.is_local {
            // Addresses in such a header must be ignored.
            return Ok(Source::Proxy);
        }
        match self.family {
            // The family is not specified: the proxy does not know the client.
            0x00 => Ok(Source::Proxy),
            0x11 => {
                let (fields, tlvs) = addresses::<IPV4_BYTES>(rest)?;
                check_tlvs(tlvs)?;
                let [a, b, c, d, _, _, _, _, high, low, _, _] = *fields;
                let port = u16::from_be_bytes([high, low]);
                Ok(Source::Client((Ipv4Addr::new(a, b, c, d), port).into()))
            }
            0x21 => {
                let (fields, tlvs) = addresses::<IPV6_BYTES>(rest)?;
                check_tlvs(tlvs)?;
                let mut ip = [0; 16];
                ip.copy_from_slice(&fields[..16]);
                let port = u16::from_be_bytes([fields[32], fields[33]]);
                Ok(Source::Client((Ipv6Addr::from(ip), port).into()))
            }
            other => Err(HeaderError::Family(other)),
        }
    }
}

fn addresses<const N: usize>(rest: &[u8]) -> Result<(&[u8; N], &[u8]), HeaderError> {
    rest.split_first_chunk().ok_or(HeaderError::TooShort(rest.len()))
}

/// Checks the TLVs. Each has a type, a length of two bytes and a value of that length (section 2.2.1).
fn check_tlvs(all: &[u8]) -> Result<(), HeaderError> {
    let mut rest = all;
    while !rest.is_empty() {
        let cut = HeaderError::CutShort(all.len() - rest.len());
        let Some(([_, high, low], value)) = rest.split_first_chunk::<TLV_HEAD_BYTES>() else {
            return Err(cut);
        };
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        rest = value.get(length..).ok_or(cut)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const IPV4: [u8; 12] = [192, 0, 2, 1, 127, 0, 0, 1, 0x12, 0x67, 0x1c, 0xe8];

    /// The client in a header with these parts.
    fn source(version_and_command: u8, family: u8, rest: &[u8]) -> Result<Source, String> {
        let mut bytes = [0; HEAD_BYTES];
        bytes[..12].copy_from_slice(&SIGNATURE);
        bytes[12] = version_and_command;
        bytes[13] = family;
        let length = u16::try_from(rest.len()).expect("it is short");
        bytes[14..].copy_from_slice(&length.to_be_bytes());
        let head = Head::read(&bytes).map_err(|error| error.to_string())?;
        assert_eq!(head.length, rest.len());
        head.source(rest).map_err(|error| error.to_string())
    }

    #[test]
    fn clients() {
        let client = |text: &str| Ok(Source::Client(text.parse().expect("an address")));
        assert_eq!(source(0x21, 0x11, &IPV4), client("192.0.2.1:4711"));
        let mut ipv6 = [0; 36];
        ipv6[..2].copy_from_slice(&[0x20, 0x01]);
        ipv6[15] = 9;
        ipv6[33] = 80;
        assert_eq!(source(0x21, 0x21, &ipv6), client("[2001::9]:80"));
        // An ALPN and an empty TLV follow.
        let tlvs = [&IPV4[..], &[1, 0, 2, b'h', b'2', 4, 0, 0]].concat();
        assert_eq!(source(0x21, 0x11, &tlvs), client("192.0.2.1:4711"));
    }

    #[test]
    fn the_proxy_itself() {
        assert_eq!(source(0x20, 0x00, &[]), Ok(Source::Proxy));
        assert_eq!(source(0x20, 0x11, &IPV4), Ok(Source::Proxy));
        assert_eq!(source(0x20, 0x77, &[1, 2, 3]), Ok(Source::Proxy));
        assert_eq!(source(0x21, 0x00, &[1, 2, 3]), Ok(Source::Proxy));
    }

    #[test]
    fn what_is_refused() {
        for (version_and_command, family, rest, why) in [
            (0x11, 0x11, &IPV4[..], "version 1 of"),
            (0x31, 0x11, &IPV4, "version 3 of"),
            (0x22, 0x11, &IPV4, "command 2 of"),
            (0x21, 0x12, &IPV4, "family and transport 0x12"),
            (0x21, 0x31, &[0; 216], "family and transport 0x31"),
            (0x21, 0x11, &IPV4[..11], "11 bytes are too few"),
            (0x21, 0x21, &IPV4, "12 bytes are too few"),
            (0x21, 0x11, &[0; 13], "cut short at byte 0"),
            (0x21, 0x11, &[0; 4_097], "4097 bytes follow"),
        ] {
            let error = source(version_and_command, family, rest).expect_err(why);
            assert!(error.contains(why), "{error}");
        }
        let tlvs = [&IPV4[..], &[4, 0, 1, 0, 4, 0, 2, 0]].concat();
        let error = source(0x21, 0x11, &tlvs).expect_err("one byte is missing");
        assert!(error.contains("cut short at byte 4"), "{error}");
        assert!(matches!(
            Head::read(b"PROXY TCP4 192.0"),
            Err(HeaderError::NotAHeader)
        ));
        assert!(matches!(
            Head::read(b"GET / HTTP/1.1\r\n"),
            Err(HeaderError::NotAHeader)
        ));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_source_or_an_error(
            command in 0_u8..=255,
            family in prop_oneof![Just(0x11_u8), Just(0x21), 0..=255_u8],
            rest in prop::collection::vec(0_u8..=255, 0..200),
        ) {
            if let Ok(Source::Client(_)) = source(command, family, &rest) {
                prop_assert_eq!(command, 0x21);
                prop_assert!(matches!((family, rest.len()), (0x11, 12..) | (0x21, 36..)));
            }
        }
    }
}
