//! Gzip (RFC 1952) of bodies and answers: in pieces, between which the thread does its other work.
//!
//! Bounded: a body that is decoded grows to its limit and no further, whatever it was made of. The memory of an encoder is there once
//! for each [`Encoder`]; further answers wait for it.

use std::io::{self, Write};
use std::sync::Arc;

use bytes::Bytes;
use flate2::write::GzEncoder;
use flate2::{Compression, Decompress, FlushDecompress, Status};
use http_body_util::{BodyExt, Full};
use hyper::body::Body;
use hyper::header::{CONTENT_ENCODING, ETAG, HeaderMap, HeaderValue};
use hyper::{Response, StatusCode};
use thiserror::Error;
use tokio::sync::Semaphore;

use super::{coding, etag};

/// Bytes of an answer from which on it is encoded.
const ANSWER_BYTES_MIN: u64 = 1024;
/// Bytes that are encoded or decoded at once.
const PIECE_BYTES: usize = 32 * 1024;
/// The window of DEFLATE, as an exponent of 2: the largest.
const WINDOW_BITS: u8 = 15;

/// Why a body cannot be decoded.
#[derive(Debug, Error, PartialEq, Eq)]
pub(super) enum GzipError {
    #[error("it is longer than {0} bytes when it is decoded")]
    TooLarge(usize),
    #[error("it is no gzip, as Content-Encoding says: {0}")]
    Broken(String),
    #[error("something follows on the end of its gzip")]
    Followed,
    #[error("it ends before its gzip does")]
    Cut,
}

/// A body that is being decoded.
#[derive(Debug)]
pub(super) struct Decoder {
    inflate: Decompress,
    ended: bool,
    bytes_max: usize,
}

impl Decoder {
    /// One for a body that may have so many bytes when it is decoded.
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            inflate: Decompress::new_gzip(WINDOW_BITS),
            ended: false,
            bytes_max,
        }
    }

    /// Decodes what comes next, at most a piece. Takes from `coded` what it has used, and appends to `whole`.
    pub(super) fn decode(&mut self, coded: &mut &[u8], whole: &mut Vec<u8>) -> Result<(), GzipError> {
        if self.ended {
            return Err(GzipError::Followed);
        }
        // One byte more than there may be tells that there are more.
        let room = (self.bytes_max + 1).saturating_sub(whole.len());
        let (read, written, made) = (self.inflate.total_in(), self.inflate.total_out(), whole.len());
        // Not into all the room that the vector has: it grows by as much again as it holds.
        whole.resize(made + room.min(PIECE_BYTES), 0);
        let status = self
            .inflate
            .decompress(coded, &mut whole[made..], FlushDecompress::None)
            .map_err(|error| GzipError::Broken(error.to_string()))?;
        let since = |now: u64, before: u64| usize::try_from(now - before).unwrap_or(usize::MAX);
        let used = since(self.inflate.total_in(), read).min(coded.len());
        whole.truncate(made.saturating_add(since(self.inflate.total_out(), written)));
        *coded = &coded[used..];
        if whole.len() > self.bytes_max {
            return Err(GzipError::TooLarge(self.bytes_max));
        }
        self.ended = status == Status::StreamEnd;
        if !self.ended && used == 0 && whole.len() == made {
            return Err(GzipError::Broken("it does not go on".to_owned()));
        }
        Ok(())
    }

    /// Checks that nothing is missing.
    pub(super) fn finish(&self) -> Result<(), GzipError> {
        if self.ended { Ok(()) } else { Err(GzipError::Cut) }
    }
}

/// A whole answer to a GET with the headers `asked` as gzip, if the client prefers that and it is worth it.
pub(crate) async fn of_answer(
    encoder: &Encoder,
    asked: &HeaderMap,
    answer: &Response<Full<Bytes>>,
) -> Option<Vec<u8>> {
    let is_long = answer.body().size_hint().lower() >= ANSWER_BYTES_MIN;
    if answer.status() != StatusCode::OK || !is_long || !coding::prefers_gzip(asked) {
        return None;
    }
    let Ok(plain) = answer.body().clone().collect().await;
    let coded = encoder.encode(&plain.to_bytes()).await;
    // Plain, it is right as well.
    coded.unwrap_or_else(|error| {
        tracing::error!(%error, "an answer could not be encoded and is sent as it is");
        None
    })
}

/// Puts `coded`, the gzip of an answer, in its place.
pub(crate) fn replace(answer: &mut Response<Full<Bytes>>, coded: Bytes) {
    *answer.body_mut() = Full::new(coded);
    let headers = answer.headers_mut();
    headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    // Two codings of a value are not the same, byte by byte (RFC 9110 §8.8.3.3).
    let weak = headers.get(ETAG).and_then(etag::weak);
    weak.and_then(|weak| headers.insert(ETAG, weak));
}

/// Encodes answers, one at a time. Clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Encoder(Arc<Semaphore>);

impl Default for Encoder {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }
}

impl Encoder {
    /// `plain` as gzip, if that is shorter.
    ///
    /// # Errors
    /// When the encoder fails, which it has no reason to.
    async fn encode(&self, plain: &Bytes) -> io::Result<Option<Vec<u8>>> {
        let _turn = self.0.acquire().await.map_err(io::Error::other)?;
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        for piece in plain.chunks(PIECE_BYTES) {
            encoder.write_all(piece)?;
            tokio::task::yield_now().await;
        }
        let coded = encoder.finish()?;
        Ok((coded.len() < plain.len()).then_some(coded))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gzip(plain: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(plain).expect("memory takes it");
        encoder.finish().expect("memory takes it")
    }

    fn decoded(coded: &[u8], piece: usize, bytes_max: usize) -> Result<Vec<u8>, GzipError> {
        let (mut decoder, mut whole) = (Decoder::new(bytes_max), Vec::new());
        for mut piece in coded.chunks(piece) {
            while !piece.is_empty() {
                decoder.decode(&mut piece, &mut whole)?;
            }
        }
        decoder.finish().map(|()| whole)
    }

    /// A vector that grows has room for as much again as it holds.
    #[test]
    fn no_more_than_a_piece_is_decoded_at_once_whatever_room_there_is() {
        let coded = gzip(&[0; 40 * PIECE_BYTES]);
        let (mut decoder, mut left) = (Decoder::new(100 * PIECE_BYTES), &coded[..]);
        let mut whole = Vec::with_capacity(100 * PIECE_BYTES);
        while !left.is_empty() {
            let before = whole.len();
            decoder.decode(&mut left, &mut whole).expect("it is gzip");
            assert!(whole.len() - before <= PIECE_BYTES, "{}", whole.len() - before);
        }
        assert_eq!(whole.len(), 40 * PIECE_BYTES);
        let (mut decoder, mut whole) = (Decoder::new(5), Vec::with_capacity(PIECE_BYTES));
        assert_eq!(
            decoder.decode(&mut &coded[..], &mut whole),
            Err(GzipError::TooLarge(5))
        );
        assert!(whole.len() <= 6, "{} bytes of one that is too long", whole.len());
    }

    #[test]
    fn bodies_are_decoded_however_they_come() {
        let long: Vec<u8> = (0..200_000_u32).flat_map(u32::to_le_bytes).collect();
        for plain in [&b""[..], b"1", b"{\"a\":1}", &long, &[b' '; 500_000]] {
            for piece in [1, 7, 1_000, usize::MAX] {
                let found = decoded(&gzip(plain), piece, plain.len());
                assert!(found.as_deref() == Ok(plain), "{} {piece}", plain.len());
                if let Some(bytes_max) = plain.len().checked_sub(1) {
                    let found = decoded(&gzip(plain), piece, bytes_max);
                    assert_eq!(found, Err(GzipError::TooLarge(bytes_max)));
                }
            }
        }
    }

    #[test]
    fn what_is_no_gzip_is_refused() {
        let good = gzip(b"{\"a\":1}");
        let changed = |at: usize| {
            let mut changed = good.clone();
            changed[at] ^= 0xff;
            changed
        };
        for (coded, error) in [
            (b"{\"a\":1}".to_vec(), "it is no gzip"),
            (changed(0), "it is no gzip"),
            (changed(2), "it is no gzip"),
            // The sum of its content.
            (changed(good.len() - 8), "it is no gzip"),
            // Its length.
            (changed(good.len() - 1), "it is no gzip"),
            (good[..good.len() - 1].to_vec(), "it ends before its gzip does"),
            (Vec::new(), "it ends before its gzip does"),
            ([&good[..], b"x"].concat(), "something follows"),
            ([&good[..], &good].concat(), "something follows"),
        ] {
            for piece in [1, usize::MAX] {
                let found = decoded(&coded, piece, 1_000).expect_err("it is bad").to_string();
                assert!(found.starts_with(error), "{found}, not {error}: {coded:x?}");
            }
        }
    }

    /// A thousand times its length: what is made of it stops at the limit.
    #[test]
    fn a_bomb_is_decoded_to_its_limit_and_no_further() {
        let bomb = gzip(&vec![0; 50_000_000]);
        let (mut decoder, mut whole) = (Decoder::new(100_000), Vec::new());
        let mut rest = &bomb[..];
        let mut pieces = 0;
        let error = loop {
            pieces += 1;
            if let Err(error) = decoder.decode(&mut rest, &mut whole) {
                break error;
            }
        };
        assert_eq!(error, GzipError::TooLarge(100_000));
        assert!(
            whole.len() <= 100_000 + whole.capacity() && pieces <= 8,
            "{pieces}"
        );
        assert!(whole.capacity() <= 300_000, "{}", whole.capacity());
    }

    #[tokio::test(flavor = "current_thread")]
    async fn answers_are_encoded_where_that_is_shorter() {
        let encoder = Encoder::default();
        let plain = Bytes::from("{\"op\":\"update\"}".repeat(10_000));
        let coded = encoder.encode(&plain).await.expect("it is encoded");
        let coded = coded.expect("it is shorter");
        assert!(coded.len() < plain.len() / 10);
        assert_eq!(decoded(&coded, usize::MAX, plain.len()), Ok(plain.to_vec()));
        let short = Bytes::from_static(b"1");
        assert_eq!(encoder.encode(&short).await.expect("it is encoded"), None);
    }
}
