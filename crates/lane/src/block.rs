//! Blocks: segments in compressed pieces, as recordings have them.
//!
//! A block has a head of 16 bytes and a frame of zstd (RFC 8878). The head is a skippable frame of zstd (section 3.1.2), so
//! that the program `zstd` unpacks a file of blocks, too: it says how long the frame behind it is, and the CRC-32C of it. The
//! content of a block is the head of a segment, or whole entries, or both. So a file that breaks off loses no more than its last block.

use std::io::{self, Read};

use ruzstd::decoding::StreamingDecoder;
use ruzstd::encoding::{CompressionLevel, compress_to_vec};
use thiserror::Error;

use crate::frame::FRAME_BYTES_MAX;

/// A skippable frame with eight bytes.
const MARK: [u8; 8] = [0x5E, 0x2A, 0x4D, 0x18, 8, 0, 0, 0];
/// The bytes of a block before its frame: the mark, the length of the frame, its checksum.
const HEAD: usize = MARK.len() + 4 + 4;
/// Most bytes of a block's content, unpacked. Most blocks have some hundred KiB.
pub const BLOCK_BYTES_MAX: usize = 2 * FRAME_BYTES_MAX;
/// Most bytes of a block's frame. What cannot be compressed becomes longer by three bytes for each 128 KiB.
const PACKED_BYTES_MAX: usize = BLOCK_BYTES_MAX + BLOCK_BYTES_MAX / 1_024;
/// The bytes that are read at once.
const READ_BYTES: usize = 128 * 1024;

/// Why bytes are no block.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BlockError {
    /// They end before the block does.
    #[error("the bytes end in the middle of a block")]
    Short,
    /// They do not begin with the mark of a block.
    #[error("no block begins here")]
    NoMark,
    /// The length is more than any block has.
    #[error("the block says that it has {0} bytes")]
    TooLong(u32),
    /// The checksum is that of other bytes.
    #[error("the checksum of the block is wrong")]
    Checksum,
    /// The frame cannot be unpacked.
    #[error("the block cannot be unpacked: {0}")]
    Packing(String),
}

/// Appends a block with `content`, which is at most [`BLOCK_BYTES_MAX`] bytes.
pub fn put_block(out: &mut Vec<u8>, content: &[u8]) {
    let packed = compress_to_vec(content, CompressionLevel::Fastest);
    out.extend_from_slice(&MARK);
    // No block that is this long can be read.
    let length = u32::try_from(packed.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&crc32c::crc32c(&packed).to_le_bytes());
    out.extend_from_slice(&packed);
}

/// The packed bytes of the first block.
fn first(bytes: &[u8]) -> Result<&[u8], BlockError> {
    let mark = &bytes[..bytes.len().min(MARK.len())];
    if !MARK.starts_with(mark) {
        return Err(BlockError::NoMark);
    }
    let (head, rest) = bytes.split_first_chunk::<HEAD>().ok_or(BlockError::Short)?;
    let [_, _, _, _, _, _, _, _, l0, l1, l2, l3, s0, s1, s2, s3] = *head;
    let (length, sum) = (
        u32::from_le_bytes([l0, l1, l2, l3]),
        u32::from_le_bytes([s0, s1, s2, s3]),
    );
    let packed = match usize::try_from(length) {
        Ok(count) if count <= PACKED_BYTES_MAX => rest.get(..count).ok_or(BlockError::Short)?,
        _ => return Err(BlockError::TooLong(length)),
    };
    if crc32c::crc32c(packed) != sum {
        return Err(BlockError::Checksum);
    }
    Ok(packed)
}

fn unpack(packed: &[u8]) -> Result<Vec<u8>, BlockError> {
    let failed = |error: &dyn std::fmt::Display| BlockError::Packing(error.to_string());
    let decoder = StreamingDecoder::new(packed).map_err(|error| failed(&error))?;
    let mut content = Vec::new();
    let most = BLOCK_BYTES_MAX as u64;
    let read = decoder.take(most + 1).read_to_end(&mut content);
    read.map_err(|error| failed(&error))?;
    if content.len() > BLOCK_BYTES_MAX {
        return Err(failed(&format_args!("it has more than {BLOCK_BYTES_MAX} bytes")));
    }
    Ok(content)
}

/// The next part of a file of blocks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BlockPart {
    /// A whole block.
    Block {
        /// Where it begins in the file.
        offset: u64,
        /// Its content, unpacked.
        content: Vec<u8>,
    },
    /// The file ends in the middle of a block, or with bytes that are none. Nothing valid follows.
    Torn {
        /// Where the valid part ends.
        offset: u64,
    },
    /// Bytes that are no block, with a valid one behind them.
    Damaged {
        /// Where they begin.
        offset: u64,
        /// What is wrong there.
        error: BlockError,
        /// Where the next valid block begins.
        next: u64,
    },
}

/// Reads a file of blocks, one after the other. Memory is a block, packed and unpacked.
#[derive(Debug)]
pub struct BlockReader<R> {
    source: R,
    /// Bytes that were read. Those before `at` are done.
    buffer: Vec<u8>,
    at: usize,
    /// The place of the buffer's first byte in the file.
    offset: u64,
    has_ended: bool,
}

impl<R: Read> BlockReader<R> {
    /// Reads the blocks of `source`, from its first byte.
    pub fn new(source: R) -> Self {
        Self {
            source,
            buffer: Vec::new(),
            at: 0,
            offset: 0,
            has_ended: false,
        }
    }

    /// Whether `bytes`, the first of a file, are those of a file of blocks.
    #[must_use]
    pub fn begins(bytes: &[u8]) -> bool {
        bytes.starts_with(&MARK)
    }

    /// The next part, or `None` at the end of the file. Nothing comes behind what is torn; behind damage the next block
    /// does.
    ///
    /// # Errors
    /// As the source.
    pub fn next_part(&mut self) -> io::Result<Option<BlockPart>> {
        while self.at == self.buffer.len() {
            if self.has_ended {
                return Ok(None);
            }
            self.read_more()?;
        }
        let offset = self.place();
        let error = match self.look()? {
            Ok((content, length)) => {
                self.at += length;
                return Ok(Some(BlockPart::Block { offset, content }));
            }
            Err(error) => error,
        };
        // Also behind a block that seems to be cut off: its length may be what is damaged.
        while self.find_mark()? {
            if self.look()?.is_ok() {
                let next = self.place();
                return Ok(Some(BlockPart::Damaged { offset, error, next }));
            }
        }
        Ok(Some(BlockPart::Torn { offset }))
    }

    fn place(&self) -> u64 {
        self.offset + self.at as u64
    }

    /// The content of the block that begins at `at`, and its bytes in the file.
    fn look(&mut self) -> io::Result<Result<(Vec<u8>, usize), BlockError>> {
        loop {
            match first(&self.buffer[self.at..]) {
                Err(BlockError::Short) if !self.has_ended => self.read_more()?,
                Err(error) => return Ok(Err(error)),
                Ok(packed) => {
                    let length = HEAD + packed.len();
                    return Ok(unpack(packed).map(|content| (content, length)));
                }
            }
        }
    }

    /// Goes on to the next mark. Returns whether there is one.
    fn find_mark(&mut self) -> io::Result<bool> {
        self.at += 1;
        loop {
            let mut places = self.buffer[self.at..].windows(MARK.len());
            if let Some(skipped) = places.position(|window| window == MARK) {
                self.at += skipped;
                return Ok(true);
            }
            if self.has_ended {
                self.at = self.buffer.len();
                return Ok(false);
            }
            // The last bytes may be the beginning of a mark.
            self.at = self.at.max(self.buffer.len().saturating_sub(MARK.len() - 1));
            self.read_more()?;
        }
    }

    fn read_more(&mut self) -> io::Result<()> {
        if self.at >= READ_BYTES {
            self.buffer.drain(..self.at);
            self.offset += self.at as u64;
            self.at = 0;
        }
        let mut more = (&mut self.source).take(READ_BYTES as u64);
        let read = more.read_to_end(&mut self.buffer)?;
        self.has_ended = read == 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parts(bytes: &[u8]) -> Vec<BlockPart> {
        let mut reader = BlockReader::new(bytes);
        std::iter::from_fn(|| reader.next_part().expect("memory can be read")).collect()
    }

    /// Three blocks, and where they begin.
    fn blocks() -> (Vec<u8>, Vec<u64>, Vec<Vec<u8>>) {
        let contents = vec![b"abc".repeat(100_000), Vec::new(), b"xyz".to_vec()];
        let (mut bytes, mut begins) = (Vec::new(), Vec::new());
        for content in &contents {
            begins.push(bytes.len() as u64);
            put_block(&mut bytes, content);
        }
        (bytes, begins, contents)
    }

    #[test]
    fn blocks_are_read_as_they_were_written() {
        let (bytes, begins, contents) = blocks();
        assert!(BlockReader::<&[u8]>::begins(&bytes) && bytes.len() < 10_000);
        let expected = begins.into_iter().zip(contents);
        let expected = expected.map(|(offset, content)| BlockPart::Block { offset, content });
        assert_eq!(parts(&bytes), expected.collect::<Vec<_>>());
        assert_eq!(parts(b""), []);
    }

    #[test]
    fn a_torn_end_is_told_at_every_byte() {
        let (bytes, begins, _) = blocks();
        let last = begins[2] as usize;
        for end in last + 1..bytes.len() {
            let parts = parts(&bytes[..end]);
            assert_eq!(parts.len(), 3, "{end}");
            assert_eq!(parts[2], BlockPart::Torn { offset: begins[2] }, "{end}");
        }
    }

    #[test]
    fn damage_is_told_with_its_place_at_every_byte() {
        let (bytes, begins, _) = blocks();
        for at in begins[1]..begins[2] {
            let mut damaged = bytes.clone();
            damaged[at as usize] ^= 0x40;
            let parts = parts(&damaged);
            let BlockPart::Damaged { offset, next, .. } = &parts[1] else {
                panic!("byte {at}: {parts:?}");
            };
            assert_eq!(
                (*offset, *next, parts.len()),
                (begins[1], begins[2], 3),
                "byte {at}"
            );
        }
    }

    proptest! {
        /// No bytes make it panic, and it always comes to an end.
        #[test]
        fn any_bytes_come_to_an_end(pieces in prop::collection::vec(prop_oneof![
            Just(MARK.to_vec()),
            prop::collection::vec(any::<u8>(), 0..40),
            Just({ let mut block = Vec::new(); put_block(&mut block, b"abc"); block }),
        ], 0..8)) {
            parts(&pieces.concat());
        }
    }
}
