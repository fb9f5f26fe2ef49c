//! Request bodies: read whole within a size and a time, or refused.
//!
//! Never holds more than the limit and one piece of the client's bytes, decoded or not. Bodies that share a room take
//! as much of it as has arrived, not what they announce, until they are whole and handled or their time is over.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use hyper::header::{CONNECTION, EXPECT, RETRY_AFTER};
use hyper::{Request, StatusCode};
use thiserror::Error;
use tickwire_metrics::{Catalogue, Metric};
use tickwire_wire::{ErrorCode, Refusal};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::ErrorResponse;
use super::coding::{self, Coding};
use super::gzip::{Decoder, GzipError};

/// Bytes of an unwanted body that are still read, so that its sender gets to read the answer.
const LINGER_BYTES: usize = 1024 * 1024;
/// The time for which they are read.
const LINGER: Duration = Duration::from_secs(2);

/// The bytes that gzip may add to a body, however short it is: header, checksums, a file name.
const GZIP_FRAME_BYTES: usize = 1024;

/// Why a body was not read.
#[derive(Debug, Error)]
pub(super) enum BodyError {
    #[error("the body is longer than {0} bytes")]
    TooLarge(usize),
    #[error("the body did not come within {} ms", .0.as_millis())]
    TooSlow(Duration),
    #[error("too many bulk publications are under way; try again")]
    NoRoom,
    #[error("the body cannot be read: {0}")]
    Broken(hyper::Error),
    #[error("the body cannot be read: {0}")]
    Undecodable(GzipError),
}

impl From<GzipError> for BodyError {
    fn from(error: GzipError) -> Self {
        match error {
            GzipError::TooLarge(bytes_max) => Self::TooLarge(bytes_max),
            error => Self::Undecodable(error),
        }
    }
}

impl From<BodyError> for ErrorResponse {
    fn from(error: BodyError) -> Self {
        let reason = error.to_string();
        match error {
            BodyError::TooLarge(_) => Refusal::new(ErrorCode::TooLarge, reason).into(),
            BodyError::TooSlow(_) => Self::new(StatusCode::REQUEST_TIMEOUT, Refusal::bad_request(reason))
                .with_header(CONNECTION, "close"),
            BodyError::NoRoom => {
                Self::from(Refusal::new(ErrorCode::LimitExceeded, reason)).with_header(RETRY_AFTER, "1")
            }
            BodyError::Broken(_) | BodyError::Undecodable(_) => Self::bad_request(reason),
        }
    }
}

/// Reads the whole body. It may have at most `bytes_max` bytes after decoding, and must arrive `within` this time.
pub(super) async fn read(
    (body, coding): (&mut Incoming, Coding),
    bytes_max: usize,
    within: Duration,
) -> Result<Bytes, BodyError> {
    read_while((body, coding), bytes_max, within, |_| Ok(())).await
}

/// Reads the body of an operator's request: at most `bytes_max` bytes. It may be gzip if that is `allowed`.
///
/// # Errors
/// 415 if it has another coding; 413, 408 or 400 if it is too long, does not come in time or cannot be read.
pub(crate) async fn read_operators(
    request: &mut Request<Incoming>,
    allowed: bool,
    bytes_max: usize,
    within: Duration,
) -> Result<Bytes, ErrorResponse> {
    let coding = coding::of_body(request.headers(), allowed)?;
    Ok(read((request.body_mut(), coding), bytes_max, within).await?)
}

/// The part of a room that a body takes, with a permit for each byte. It is freed when this is dropped.
#[derive(Debug)]
pub(super) struct Taken {
    permit: OwnedSemaphorePermit,
    metrics: Arc<Catalogue>,
}

impl Taken {
    fn nothing_of(room: &Arc<Semaphore>, metrics: Arc<Catalogue>) -> Result<Self, BodyError> {
        let permit = room.clone().try_acquire_many_owned(0);
        let permit = permit.map_err(|_| BodyError::NoRoom)?;
        Ok(Self { permit, metrics })
    }

    /// Takes `bytes` more of `room`, if there are so many.
    fn grow(&mut self, room: &Arc<Semaphore>, bytes: usize) -> Result<(), BodyError> {
        let count = u32::try_from(bytes).map_err(|_| BodyError::NoRoom)?;
        let more = room.clone().try_acquire_many_owned(count);
        self.permit.merge(more.map_err(|_| BodyError::NoRoom)?);
        self.metrics.add(Metric::BulkBytes, &[], bytes as u64);
        Ok(())
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.metrics
            .sub(Metric::BulkBytes, &[], self.permit.num_permits() as u64);
    }
}

/// Does the same, and also takes the body's part of `room`. `charge` is called with the length of each piece.
pub(super) async fn read_into(
    room: &Arc<Semaphore>,
    (body, coding): (&mut Incoming, Coding),
    bytes_max: usize,
    within: Duration,
    metrics: &Arc<Catalogue>,
    charge: impl Fn(usize),
) -> Result<(Bytes, Taken), BodyError> {
    let mut taken = Taken::nothing_of(room, metrics.clone())?;
    let whole = read_while((body, coding), bytes_max, within, |bytes| {
        charge(bytes);
        taken.grow(room, bytes)
    });
    let whole = whole.await?;
    Ok((whole, taken))
}

/// Reads the whole body, as long as `take` agrees to the length of each decoded piece.
async fn read_while(
    (body, coding): (&mut Incoming, Coding),
    bytes_max: usize,
    within: Duration,
    take: impl FnMut(usize) -> Result<(), BodyError>,
) -> Result<Bytes, BodyError> {
    // A body that announces too many bytes is refused before it is sent.
    if body.size_hint().lower() > sent_max(coding, bytes_max) as u64 {
        return Err(BodyError::TooLarge(bytes_max));
    }
    let whole = async {
        match coding {
            Coding::Identity => collect(body, bytes_max, take).await,
            Coding::Gzip => collect_gzip(body, bytes_max, take).await,
        }
    };
    tokio::time::timeout(within, whole)
        .await
        .unwrap_or(Err(BodyError::TooSlow(within)))
}

/// The most bytes to send for a body of `bytes_max` bytes. Gzip makes a body that cannot be compressed longer, but not
/// by much.
fn sent_max(coding: Coding, bytes_max: usize) -> usize {
    match coding {
        Coding::Identity => bytes_max,
        Coding::Gzip => bytes_max + bytes_max / 64 + GZIP_FRAME_BYTES,
    }
}

async fn collect_gzip(
    body: &mut Incoming,
    bytes_max: usize,
    mut take: impl FnMut(usize) -> Result<(), BodyError>,
) -> Result<Bytes, BodyError> {
    let (mut decoder, mut whole) = (Decoder::new(bytes_max), Vec::new());
    let mut left = sent_max(Coding::Gzip, bytes_max);
    while let Some(frame) = body.frame().await {
        let Ok(piece) = frame.map_err(BodyError::Broken)?.into_data() else {
            continue;
        };
        left = left
            .checked_sub(piece.len())
            .ok_or(BodyError::TooLarge(bytes_max))?;
        let mut coded = &piece[..];
        while !coded.is_empty() {
            let before = whole.len();
            decoder.decode(&mut coded, &mut whole)?;
            take(whole.len() - before)?;
            // A few bytes may be much work to decode.
            tokio::task::yield_now().await;
        }
    }
    decoder.finish()?;
    Ok(whole.into())
}

async fn collect(
    body: &mut Incoming,
    bytes_max: usize,
    mut take: impl FnMut(usize) -> Result<(), BodyError>,
) -> Result<Bytes, BodyError> {
    let mut whole = Vec::new();
    while let Some(frame) = body.frame().await {
        // Trailers are ignored.
        let Ok(piece) = frame.map_err(BodyError::Broken)?.into_data() else {
            continue;
        };
        if whole.len() + piece.len() > bytes_max {
            return Err(BodyError::TooLarge(bytes_max));
        }
        take(piece.len())?;
        whole.extend_from_slice(&piece);
    }
    Ok(whole.into())
}

/// Reads what is left of the body of an operator's request while its answer is sent.
pub(crate) fn read_rest(request: Request<Incoming>) {
    // A client that waits for a 100 (Continue) sends no body before it is asked for it.
    let waits = request.headers().contains_key(EXPECT);
    let body = request.into_body();
    if !body.is_end_stream() && !waits {
        tokio::task::spawn_local(linger(body));
    }
}

/// Reads the rest of an unwanted body for a while. A socket that is closed with unread bytes resets the connection, and
/// the answer would be lost on its way (RFC 9112 §9.6).
pub(super) async fn linger(mut body: Incoming) {
    let discard = async {
        let mut left = LINGER_BYTES;
        while let Some(Ok(frame)) = body.frame().await {
            let length = frame.data_ref().map_or(0, Bytes::len);
            if length > left {
                return;
            }
            left -= length;
        }
    };
    if tokio::time::timeout(LINGER, discard).await.is_err() {
        tracing::debug!("a client went on sending a body that was refused");
    }
}
