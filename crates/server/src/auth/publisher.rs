//! The publishers that quotas and rates tell apart: all clients with one grant are one publisher.
//!
//! A publisher is a static key, a subject of one issuer's JSON Web Tokens, or an address without a token. Its name is a
//! hash, so that all names are equally short.

use std::net::IpAddr;

use sha2::{Digest, Sha256};
use tickwire_router::Publisher;

use super::{Admission, Holder};
use crate::limits::AddressKey;

impl Holder {
    /// The holder as a publisher.
    pub(crate) fn publisher(&self) -> Publisher {
        match self {
            Self::Key(hash) => publisher(&[b"key", hash.bytes()]),
            Self::Subject { issuer, subject } => {
                // The number of parts tells whether there is an issuer.
                let parts = [b"subject", subject.as_bytes()].into_iter();
                let parts: Vec<&[u8]> = parts.chain(issuer.as_deref().map(str::as_bytes)).collect();
                publisher(&parts)
            }
        }
    }
}

impl Admission {
    /// The publisher of a client that was admitted and connects from `ip`.
    pub(crate) fn publisher(&self, ip: IpAddr) -> Publisher {
        match &self.holder {
            Some(holder) => holder.publisher(),
            None => publisher(&[b"address", &AddressKey::from(ip).to_bytes()]),
        }
    }
}

fn publisher(parts: &[&[u8]]) -> Publisher {
    let mut hash = Sha256::new();
    for part in parts {
        // The length of each part goes in too, so that no two lists of parts give the same bytes.
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    let hash: [u8; 32] = hash.finalize().into();
    let (half, _) = hash.split_at(16);
    Publisher(
        half.iter()
            .fold(0, |number, byte| number << 8 | u128::from(*byte)),
    )
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use tickwire_router::Rights;

    use super::*;
    use crate::config::KeyHash;

    #[test]
    fn who_has_one_grant_is_one_publisher() {
        let subject = |issuer: Option<&str>, subject: &str| {
            Some(Holder::Subject {
                issuer: issuer.map(str::to_owned),
                subject: subject.to_owned(),
            })
        };
        let by = |holder: Option<Holder>, ip: &str| {
            let admission = Admission {
                holder,
                rights: Rights::none(),
                expires: None,
                token_id: None,
                place: None,
            };
            admission.publisher(ip.parse().expect("an address"))
        };
        let key = |text| Some(Holder::Key(KeyHash::of(text)));
        let different = [
            by(None, "192.0.2.1"),
            by(None, "192.0.2.2"),
            by(None, "2001:db8:1:2::1"),
            by(key("a"), "192.0.2.1"),
            by(key("b"), "192.0.2.1"),
            by(subject(None, "a"), "192.0.2.1"),
            by(subject(Some(""), "a"), "192.0.2.1"),
            by(subject(Some("a"), ""), "192.0.2.1"),
            by(subject(Some("i"), "a"), "192.0.2.1"),
            by(subject(Some("ia"), ""), "192.0.2.1"),
        ];
        let distinct: HashSet<Publisher> = different.into_iter().collect();
        assert_eq!(distinct.len(), different.len());
        for (one, other) in [
            (by(None, "::ffff:192.0.2.1"), different[0]),
            (by(None, "2001:db8:1:2:ffff::9"), different[2]),
            (by(key("a"), "198.51.100.7"), different[3]),
            (by(subject(Some("i"), "a"), "::1"), different[8]),
        ] {
            assert_eq!(one, other);
        }
    }
}
