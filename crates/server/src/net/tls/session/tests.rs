//! A session and a client of the same library, without sockets.

use std::io::{Read, Write};

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use super::super::suites;
use super::*;

/// A session, and a client that trusts its certificate.
pub(in crate::net::tls) fn pair() -> (ClientConnection, TlsSession) {
    pair_of(ring::default_provider())
}

/// A session, and a client with the cryptography `offered` that trusts its certificate.
pub(in crate::net::tls) fn pair_of(offered: CryptoProvider) -> (ClientConnection, TlsSession) {
    let key = rcgen::KeyPair::generate().expect("a key");
    let params = rcgen::CertificateParams::new(["localhost".to_owned()]).expect("a name");
    let certificate = params.self_signed(&key).expect("a certificate").der().clone();
    let served = ServerConfig::builder_with_provider(Arc::new(suites::provider()))
        .with_safe_default_protocol_versions()
        .expect("known versions")
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.clone()],
            PrivateKeyDer::Pkcs8(key.serialize_der().into()),
        )
        .expect("a pair");
    let mut roots = RootCertStore::empty();
    roots.add(certificate).expect("a certificate");
    let trusting = ClientConfig::builder_with_provider(Arc::new(offered))
        .with_safe_default_protocol_versions()
        .expect("known versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").expect("a name");
    let client = ClientConnection::new(Arc::new(trusting), name).expect("a configuration");
    let session = TlsSession::new(Arc::new(served)).expect("a configuration");
    (client, session)
}

/// Moves what the client has to say to the session, in pieces of at most `piece` bytes.
pub(in crate::net::tls) fn say(
    client: &mut ClientConnection,
    session: &mut TlsSession,
    piece: usize,
) -> Result<(), Error> {
    let mut said = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut said).expect("memory takes all");
    }
    said.chunks_mut(piece)
        .try_for_each(|piece| session.receive(piece))
}

/// Moves what the session has for its socket to the client.
pub(in crate::net::tls) fn hear(session: &mut TlsSession, client: &mut ClientConnection) {
    let mut left = session.outward();
    while !left.is_empty() {
        client.read_tls(&mut left).expect("memory gives all");
        client.process_new_packets().expect("good records");
    }
    session.sent(session.outward().len());
}

/// A client and a session that have shaken hands, in pieces of at most `piece` bytes.
pub(in crate::net::tls) fn shaken(piece: usize) -> (ClientConnection, TlsSession) {
    let (mut client, mut session) = pair();
    shake(&mut client, &mut session, piece);
    (client, session)
}

/// Lets a client and a session shake hands, in pieces of at most `piece` bytes.
pub(in crate::net::tls) fn shake(client: &mut ClientConnection, session: &mut TlsSession, piece: usize) {
    while session.is_handshaking() || client.is_handshaking() {
        say(client, session, piece).expect("a good client");
        hear(session, client);
    }
}

fn is_empty(session: &TlsSession) -> bool {
    let buffers = [&session.inward, &session.heard, &session.outward];
    buffers.iter().all(|buffer| buffer.capacity() == 0)
}

#[test]
fn an_idle_session_kept_the_buffer_of_its_last_record() {
    for piece in [1, 7, 1_000, usize::MAX] {
        let (mut client, mut session) = shaken(piece);
        assert!(is_empty(&session), "after the handshake");
        let text: Vec<u8> = (0..50_000_u32).flat_map(u32::to_le_bytes).collect();
        let mut heard = Vec::new();
        // More than the client's own buffer holds.
        for part in text.chunks(30_000) {
            client.writer().write_all(part).expect("there is room");
            say(&mut client, &mut session, piece).expect("good records");
            let mut buffer = [0; 999];
            while let Some(count) = session.take(&mut buffer) {
                heard.extend_from_slice(&buffer[..count]);
            }
        }
        assert_eq!(heard, text);
        assert!(is_empty(&session), "after reading");
        for part in text.chunks(RECORD_BYTES) {
            session.say(part).expect("a live session");
            hear(&mut session, &mut client);
            let mut said = vec![0; part.len()];
            client.reader().read_exact(&mut said).expect("all of it");
            assert_eq!(said, part);
        }
        assert!(is_empty(&session), "after writing");
    }
}

#[test]
fn a_record_that_is_under_way_does_not_disturb_what_is_encrypted() {
    let (mut client, mut session) = shaken(usize::MAX);
    client.writer().write_all(b"half").expect("there is room");
    let mut record = Vec::new();
    client.write_tls(&mut record).expect("memory takes all");
    let (first, second) = record.split_at_mut(9);
    session.receive(first).expect("the beginning of a record");
    session.say(b"meanwhile").expect("a live session");
    hear(&mut session, &mut client);
    let mut said = [0; 9];
    client.reader().read_exact(&mut said).expect("all of it");
    assert_eq!(&said, b"meanwhile");
    session.receive(second).expect("the rest of it");
    let mut heard = [0; 9];
    assert_eq!(session.take(&mut heard), Some(4));
    assert_eq!(&heard[..4], b"half");
}

#[test]
fn what_comes_behind_the_end_of_a_client_is_not_kept() {
    let (mut client, mut session) = shaken(usize::MAX);
    client.writer().write_all(b"bye").expect("there is room");
    client.send_close_notify();
    say(&mut client, &mut session, usize::MAX).expect("good records");
    session.receive(&mut [0; 1_000]).expect("it means nothing");
    let mut heard = [0; 9];
    assert_eq!(session.take(&mut heard), Some(3));
    assert_eq!(session.take(&mut heard), Some(0));
    assert!(is_empty(&session));
    // This side may go on (RFC 8446 §6.1).
    session.say(b"still here").expect("a live session");
    session.say_goodbye().expect("a live session");
    hear(&mut session, &mut client);
    let mut said = Vec::new();
    client.reader().read_to_end(&mut said).expect("a proper end");
    assert_eq!(said, b"still here");
}

#[test]
fn a_handshake_in_records_of_one_byte_was_kept_without_bound() {
    let (_, mut session) = pair();
    // A ClientHello that says that it is 65,000 bytes long (RFC 8446 §4).
    let message = [1, 0, 0xfd, 0xe8]
        .into_iter()
        .chain(std::iter::repeat_n(0, 65_000));
    let refused = message
        .map(|byte| session.receive(&mut [0x16, 3, 1, 0, 1, byte]))
        .position(|received| received.is_err());
    assert!(refused.is_some_and(|at| at * 6 <= KEPT_BYTES_MAX), "{refused:?}");
    assert!(session.inward.len() <= KEPT_BYTES_MAX + 6);
}

#[test]
fn a_session_went_on_behind_a_fault_and_panicked() {
    // A message of TLS that is not whole, and then data.
    let (_, mut session) = pair();
    session
        .receive(&mut [0x16, 3, 1, 0, 1, 1])
        .expect("the beginning of a ClientHello");
    assert!(session.receive(&mut [0x17, 3, 3, 0, 1, 0]).is_err());
    let alert = session.outward().to_vec();
    assert!(session.is_broken());
    // Nothing more is said.
    assert!(session.say(b"x").is_err() && session.say_goodbye().is_err());
    assert!(session.encrypt(b"x", &mut Vec::new()).is_err());
    assert!(session.receive(&mut [0x16, 3, 1, 0, 1, 1]).is_err());
    assert_eq!(session.outward(), alert);
}

#[test]
fn a_client_is_told_what_is_wrong_with_its_records() {
    let (mut client, mut session) = shaken(usize::MAX);
    let mut forged = [&[0x17, 3, 3, 0, 40][..], &[7; 40]].concat();
    assert!(session.receive(&mut forged).is_err());
    let mut alert = session.outward();
    client.read_tls(&mut alert).expect("memory gives all");
    let told = client.process_new_packets().expect_err("a fatal alert");
    assert_eq!(told, Error::AlertReceived(rustls::AlertDescription::BadRecordMac));
}
