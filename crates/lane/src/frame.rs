//! The frame around everything that a log consists of: a mark, the length, a checksum, and the body.
//!
//! The mark has bytes that no text in UTF-8 has. So nobody who publishes can have something taken for a frame, when a
//! damaged file is searched for the next one. The first two bytes of a body say its form and what it is.

use thiserror::Error;

use crate::bytes::{Malformed, Reader};

const MARK: [u8; 4] = [0xFF, b'T', b'W', 0xFE];
/// The bytes of a frame before its body.
const HEAD: usize = MARK.len() + 4 + 4;
/// Most bytes of a frame's body. A book of the most levels has fewer than 4 MiB.
pub const FRAME_BYTES_MAX: usize = 64 * 1024 * 1024;
/// The form of all bodies.
const FORM: u8 = 1;

/// What a body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyKind {
    SegmentHead = 1,
    Entry = 2,
    CheckpointHead = 3,
    CheckpointTopic = 4,
    CheckpointEnd = 5,
    CheckpointKeys = 6,
    CheckpointMark = 7,
    CheckpointDerived = 8,
    IndexHead = 16,
    LaneHead = 32,
    Submissions = 33,
    Notice = 34,
    LaneState = 35,
}

/// Why bytes are no frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum FrameError {
    /// They end before the frame does.
    #[error("the bytes end in the middle of a frame")]
    Short,
    /// They do not begin with the mark of a frame.
    #[error("no frame begins here")]
    NoMark,
    /// The length is more than [`FRAME_BYTES_MAX`].
    #[error("the frame says that it has {0} bytes")]
    TooLong(u32),
    /// The checksum is that of other bytes.
    #[error("the checksum of the frame is wrong")]
    Checksum,
}

/// Appends a frame around what `body` appends.
pub(crate) fn put(out: &mut Vec<u8>, kind: BodyKind, body: impl FnOnce(&mut Vec<u8>)) {
    let begin = out.len();
    out.extend_from_slice(&MARK);
    out.extend_from_slice(&[0; HEAD - MARK.len()]);
    out.extend_from_slice(&[FORM, kind as u8]);
    body(out);
    let length = u32::try_from(out.len() - begin - HEAD)
        .unwrap_or(u32::MAX)
        .to_le_bytes();
    out[begin + 4..begin + 8].copy_from_slice(&length);
    let sum = checksum(length, &out[begin + HEAD..]);
    out[begin + 8..begin + HEAD].copy_from_slice(&sum.to_le_bytes());
}

/// The checksum over the length and the body.
fn checksum(length: [u8; 4], body: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&length), body)
}

/// The first frame of `bytes`, whole.
pub(crate) fn first(bytes: &[u8]) -> Result<&[u8], FrameError> {
    let mark = &bytes[..bytes.len().min(MARK.len())];
    if !MARK.starts_with(mark) {
        return Err(FrameError::NoMark);
    }
    let (head, rest) = bytes.split_first_chunk::<HEAD>().ok_or(FrameError::Short)?;
    let [_, _, _, _, l0, l1, l2, l3, s0, s1, s2, s3] = *head;
    let (length, sum) = ([l0, l1, l2, l3], u32::from_le_bytes([s0, s1, s2, s3]));
    let count = u32::from_le_bytes(length);
    let body = match usize::try_from(count) {
        Ok(count) if count <= FRAME_BYTES_MAX => rest.get(..count).ok_or(FrameError::Short)?,
        _ => return Err(FrameError::TooLong(count)),
    };
    if checksum(length, body) != sum {
        return Err(FrameError::Checksum);
    }
    Ok(&bytes[..HEAD + body.len()])
}

/// The first frame of bytes that may end anywhere, such as those of a part of a file.
///
/// # Errors
/// If they do not begin with a whole frame. [`FrameError::Short`] says that more bytes may make one.
pub fn first_frame(bytes: &[u8]) -> Result<&[u8], FrameError> {
    first(bytes)
}

/// The bytes that the first frame of `bytes` says that it has, if they have its head.
#[must_use]
pub fn frame_length(bytes: &[u8]) -> Option<usize> {
    let (head, _) = bytes.split_first_chunk::<HEAD>()?;
    let [f, t, w, e, l0, l1, l2, l3, ..] = *head;
    let length = usize::try_from(u32::from_le_bytes([l0, l1, l2, l3])).ok()?;
    ([f, t, w, e] == MARK && length <= FRAME_BYTES_MAX).then_some(HEAD + length)
}

/// The offset of the next whole frame at or behind `from`, if there is one.
#[must_use]
pub fn next_frame(bytes: &[u8], from: usize) -> Option<usize> {
    next_valid(bytes, from)
}

/// The offset of the next frame at or behind `from`, if there is a valid one.
pub(crate) fn next_valid(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        at += rest.windows(MARK.len()).position(|window| window == MARK)?;
        if first(&bytes[at..]).is_ok() {
            return Some(at);
        }
        at += 1;
    }
    None
}

/// The body of a whole frame, behind its form, if it is of this kind.
pub(crate) fn body(frame: &[u8], kind: BodyKind) -> Result<Reader<'_>, Malformed> {
    let mut reader = Reader::new(frame.get(HEAD..).unwrap_or_default());
    if reader.byte("a form")? != FORM {
        return Err(Malformed("a form that this version knows"));
    }
    if reader.byte("a kind")? != kind as u8 {
        return Err(Malformed(match kind {
            BodyKind::SegmentHead => "the head of a segment",
            BodyKind::Entry => "an entry",
            BodyKind::CheckpointHead => "the head of a checkpoint",
            BodyKind::CheckpointTopic => "a topic",
            BodyKind::CheckpointEnd => "the end of a checkpoint",
            BodyKind::CheckpointKeys => "keys",
            BodyKind::CheckpointMark => "the place of a feed",
            BodyKind::CheckpointDerived => "what is derived",
            BodyKind::IndexHead => "the head of an index",
            BodyKind::LaneHead => "the head of an entry of a lane",
            BodyKind::Submissions => "submissions",
            BodyKind::Notice => "a notice of a node",
            BodyKind::LaneState => "the state of a lane",
        }));
    }
    Ok(reader)
}

/// The kind of a whole frame's body as a number.
pub(crate) fn kind(frame: &[u8]) -> Option<u8> {
    frame.get(HEAD + 1).copied()
}
