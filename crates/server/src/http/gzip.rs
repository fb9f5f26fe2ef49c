//! Gzip (RFC 1952) of bodies and answers. It is done in pieces, between which the thread does its other work.
//!
//! Bounded: a decoded body stops growing at its limit, whatever its coded bytes are. Each [`Encoder`] has memory for
//! one answer; further answers wait for it.

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

/// Answers with fewer bytes are not encoded.
const ANSWER_BYTES_MIN: u64 = 1024;
/// The number of bytes that are encoded or decoded at once.
const CHUNK_BYTES: usize = 32 * 1024;
/// The window of DEFLATE, as a power of 2: the largest one.
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
    /// A decoder for a body that may have `bytes_max` bytes after decoding.
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            inflate: Decompress::new_gzip(WINDOW_BITS),
            ended: false,
            bytes_max,
        }
    }

    /// Decodes at most one piece. Removes the bytes that it has used from `coded`, and appends the result to `whole`.
    pub(super) fn decode(&mut self, coded: &mut &[u8], whole: &mut Vec<u8>) -> Result<(), GzipError> {
        if self.ended {
            return Err(GzipError::Followed);
        }
        // One byte more than allowed shows that there is too much.
        let room = (self.bytes_max + 1).saturating_sub(whole.len());
        let (read, written, made) = (self.inflate.total_in(), self.inflate.total_out(), whole.len());
        // The room is limited here, because a vector grows by as much as it holds and so may have more.
        whole.resize(made + room.min(CHUNK_BYTES), 0);
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

    /// Checks that the body is complete.
    pub(super) fn finish(&self) -> Result<(), GzipError> {
        if self.ended { Ok(()) } else { Err(GzipError::Cut) }
    }
}

/// Encodes a whole answer to a GET with the headers `asked`, if the client prefers gzip and the answer is long enough.
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
    // The plain answer is right as well.
    coded.unwrap_or_else(|error| {
        tracing::error!(%error, "an answer could not be encoded and is sent as it is");
        None
    })
}

/// Replaces the body of an answer by `coded`, its gzip.
pub(crate) fn replace(answer: &mut Response<Full<Bytes>>, coded: Bytes) {
    *answer.body_mut() = Full::new(coded);
    let headers = answer.headers_mut();
    headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    // Two codings of a value differ in their bytes, so the tag becomes weak (RFC 9110 §8.8.3.3).
    let weak = headers.get(ETAG).and_then(etag::weak);
    weak.and_then(|weak| headers.insert(ETAG, weak));
}

/// Encodes answers, one at a time. Clones share one encoder.
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
    /// If the encoder fails, which it has no reason to do.
    async fn encode(&self, plain: &Bytes) -> io::Result<Option<Vec<u8>>> {
        let _turn = self.0.acquire().await.map_err(io::Error::other)?;
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        for piece in plain.chunks(CHUNK_BYTES) {
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
        let coded = gzip(&[0; 40 * CHUNK_BYTES]);
        let (mut decoder, mut left) = (Decoder::new(100 * CHUNK_BYTES), &coded[..]);
        let mut whole = Vec::with_capacity(100 * CHUNK_BYTES);
        while !left.is_empty() {
            let before = whole.len();
            decoder.decode(&mut left, &mut whole).expect("it is gzip");
            assert!(whole.len() - before <= CHUNK_BYTES, "{}", whole.len() - before);
        }
        assert_eq!(whole.len(), 40 * CHUNK_BYTES);
        let (mut decoder, mut whole) = (Decoder::new(5), Vec::with_capacity(CHUNK_BYTES));
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
            // This changes the checksum of its content.
            (changed(good.len() - 8), "it is no gzip"),
            // This changes its length.
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

    /// The decoded body would be a thousand times as long as the coded one. Decoding stops at the limit.
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
