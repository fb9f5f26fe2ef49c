//! Server-sent events out of the chunks of an HTTP body, as they come.
//!
//! Of an event only its data counts, which Tickwire writes in one line. Holds the bytes of one incomplete chunk at most, and nothing
//! between chunks.

use thiserror::Error;

const DATA: &[u8] = b"data: ";
const CHUNK_BYTES_MAX: usize = 65 * 1024 * 1024;
/// Longest first line of a chunk.
const HEAD_BYTES_MAX: usize = 20;

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum EventFault {
    #[error("a chunk begins with {0:?}, which is no length of at most {CHUNK_BYTES_MAX} bytes")]
    Length(String),
    #[error("the stream ended, last with {0:?}")]
    Ended(String),
}

#[derive(Debug, Default)]
pub(crate) struct EventReader {
    rest: Vec<u8>,
    last: Vec<u8>,
}

impl EventReader {
    pub(crate) fn held(&self) -> usize {
        self.rest.len()
    }

    /// Takes `bytes` and gives `each` the data of every event that is complete now, in order.
    ///
    /// # Errors
    /// At the first chunk that is none, and at the last.
    pub(crate) fn feed(&mut self, bytes: &[u8], mut each: impl FnMut(&[u8])) -> Result<(), EventFault> {
        let mut held = std::mem::take(&mut self.rest);
        let mut bytes = if held.is_empty() {
            bytes
        } else {
            held.extend_from_slice(bytes);
            &held
        };
        while let Some((chunk, after)) = chunk(bytes)? {
            if chunk.is_empty() {
                return Err(EventFault::Ended(
                    String::from_utf8_lossy(&self.last).into_owned(),
                ));
            }
            for line in chunk.split(|byte| *byte == b'\n') {
                if let Some(data) = line.strip_prefix(DATA) {
                    each(data);
                    if data.starts_with(br#"{"code":"#) {
                        self.last = data.to_vec();
                    }
                }
            }
            bytes = after;
        }
        self.rest = bytes.to_vec();
        Ok(())
    }
}

/// A chunk and what is behind it.
type Cut<'a> = (&'a [u8], &'a [u8]);

/// Cuts the chunk at the beginning of `bytes` off, if it is whole (RFC 9112 §7.1).
fn chunk(bytes: &[u8]) -> Result<Option<Cut<'_>>, EventFault> {
    let head = &bytes[..bytes.len().min(HEAD_BYTES_MAX)];
    let fault = || EventFault::Length(String::from_utf8_lossy(head).into_owned());
    let Some(line) = head.windows(2).position(|pair| pair == b"\r\n") else {
        return match head.len() {
            HEAD_BYTES_MAX => Err(fault()),
            _ => Ok(None),
        };
    };
    let length = std::str::from_utf8(&head[..line]).ok();
    let length = length.and_then(|digits| usize::from_str_radix(digits, 16).ok());
    let length = length
        .filter(|length| *length <= CHUNK_BYTES_MAX)
        .ok_or_else(fault)?;
    let (begin, end) = (line + 2, line + 2 + length);
    Ok(bytes.get(end + 2..).map(|after| (&bytes[begin..end], after)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The data of the events of `pieces`, and the fault if there is one.
    fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<String>, Option<EventFault>) {
        let (mut reader, mut events) = (EventReader::default(), Vec::new());
        for piece in pieces {
            let fed = reader.feed(piece, |data| {
                events.push(String::from_utf8_lossy(data).into_owned());
            });
            if let Err(fault) = fed {
                return (events, Some(fault));
            }
        }
        assert_eq!(reader.held(), 0);
        (events, None)
    }

    #[test]
    fn events_come_out_whole_however_they_are_cut() {
        let body = b"d\r\nretry: 2000\n\n\r\n8\r\nid: e:1\n\r\n19\r\nevent: update\ndata: [1]\n\n\r\n\
            12\r\nevent: x\ndata: 2\n\n\r\n";
        for size in [1, 2, 3, 7, body.len()] {
            let expected = vec!["[1]".to_owned(), "2".to_owned()];
            assert_eq!(
                read(body.chunks(size)),
                (expected, None),
                "{size} bytes at a time"
            );
        }
    }

    #[test]
    fn what_is_no_chunk_and_what_is_the_last() {
        let closed = b"22\r\nevent: close\ndata: {\"code\":4000}\n\n\r\n0\r\n\r\n";
        let ended = EventFault::Ended("{\"code\":4000}".to_owned());
        assert_eq!(read([&closed[..]]).1, Some(ended));
        for bad in ["x\r\n", "-1\r\n", "123456789012345678901", "fffffffff\r\n"] {
            assert!(
                matches!(read([bad.as_bytes()]).1, Some(EventFault::Length(_))),
                "{bad}"
            );
        }
    }
}
