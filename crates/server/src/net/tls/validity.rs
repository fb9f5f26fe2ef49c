//! The end of a certificate's validity.

use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

/// Seconds from 1970 to the end of the certificate `der` (RFC 5280 §4.1.2.5), if it can be read.
pub(super) fn not_after(der: &[u8]) -> Option<u64> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    u64::try_from(certificate.validity().not_after.timestamp()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end_of(year: i32, month: u8, day: u8) -> Option<u64> {
        let key = rcgen::KeyPair::generate().expect("a key");
        let mut params = rcgen::CertificateParams::new(["localhost".to_owned()]).expect("a name");
        params.not_after = rcgen::date_time_ymd(year, month, day);
        not_after(params.self_signed(&key).expect("a certificate").der())
    }

    #[test]
    fn ends_of_certificates() {
        for ((year, month, day), seconds) in [
            ((1999, 12, 31), 946_598_400),
            ((2024, 2, 29), 1_709_164_800),
            ((2024, 3, 1), 1_709_251_200),
            ((2049, 12, 31), 2_524_521_600),
            // From 2050 on the time is written in another form.
            ((2050, 1, 1), 2_524_608_000),
            ((2100, 3, 1), 4_107_542_400),
            ((4096, 1, 1), 67_090_118_400),
        ] {
            assert_eq!(end_of(year, month, day), Some(seconds), "{year}-{month}-{day}");
        }
    }

    #[test]
    fn what_is_no_certificate_has_no_end() {
        let key = rcgen::KeyPair::generate().expect("a key");
        let params = rcgen::CertificateParams::new(["localhost".to_owned()]).expect("a name");
        let whole = params.self_signed(&key).expect("a certificate").der().to_vec();
        assert!(not_after(&whole).is_some());
        for end in 0..whole.len() {
            assert_eq!(not_after(&whole[..end]), None, "cut at {end}");
        }
        for at in 0..whole.len().min(200) {
            // The result does not matter, but it must not panic.
            let mut changed = whole.clone();
            changed[at] ^= 0xff;
            let _ = not_after(&changed);
        }
    }
}
