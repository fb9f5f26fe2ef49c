//! Takes the connection of a stream out of hyper once its request is granted, and gives it to the hub, which writes the
//! events.
//!
//! The handler of the request never returns. It leaves the granted stream here, and the task that drives the connection
//! takes the connection out of hyper. The hub also writes the head of the answer, as the first bytes of the stream. At
//! that time hyper must have nothing left to write, such as the answer to an earlier request.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::Poll;
use std::time::SystemTime;

use httpdate::HttpDate;
use hyper::http::response::Parts;
use tickwire_router::cycle::EventStream;
use tickwire_wire::sse::Framing;

use super::context::HttpContext;
use super::progress::{Exchange, Progress};
use super::stream::Granted;
use crate::hub::Stream;
use crate::net::permit::ConnectionPermit;

/// The stream that a connection will continue with, if there is one.
#[derive(Default)]
pub(crate) struct Takeover(RefCell<Option<(Parts, Box<Granted>)>>);

impl Takeover {
    /// Makes the connection continue with this stream.
    pub(crate) fn set(&self, parts: Parts, granted: Box<Granted>) {
        *self.0.borrow_mut() = Some((parts, granted));
    }

    /// Drives a connection until it has ended or can be taken out of hyper.
    pub(crate) async fn or_served<C>(&self, connection: &mut C, exchange: &Exchange) -> hyper::Result<()>
    where
        C: Future<Output = hyper::Result<()>> + Unpin,
    {
        poll_fn(|context| match Pin::new(&mut *connection).poll(context) {
            Poll::Pending if self.0.borrow().is_some() && !exchange.waits() => Poll::Ready(Ok(())),
            polled => polled,
        })
        .await
    }

    /// Takes the stream to continue with.
    pub(crate) fn take(&self) -> Option<GrantedStream> {
        let (parts, granted) = self.0.take()?;
        Some(GrantedStream { parts, granted })
    }
}

/// A stream, and the answer that begins it.
pub(crate) struct GrantedStream {
    parts: Parts,
    granted: Box<Granted>,
}

impl GrantedStream {
    /// Gives the hub a connection that was taken out of hyper. `behind` has the bytes that hyper had read behind the
    /// request.
    pub(crate) fn begin(
        self,
        context: &HttpContext,
        transport: Progress,
        behind: usize,
        permit: ConnectionPermit,
    ) {
        let client = permit.client();
        if let Err(error) = self.hand_over(context, transport, behind, permit) {
            tracing::warn!(%client, %error, "the connection of a stream could not be taken over");
        }
    }

    fn hand_over(
        self,
        context: &HttpContext,
        transport: Progress,
        behind: usize,
        mut permit: ConnectionPermit,
    ) -> io::Result<()> {
        let Self { parts, mut granted } = self;
        let Some(id) = granted.session() else {
            return Ok(()); // its session has ended, and ends it
        };
        if granted.requester.proxied {
            permit.hand_to(granted.requester.client, granted.take_place());
        }
        let stream = Stream::of(transport.into_inner())?;
        let head = head_of(&parts, granted.framing);
        let events = EventStream::new(granted.framing, head, granted.track.take());
        let mut hub = context.hub.borrow_mut();
        hub.begin_sse(id, stream, permit, (events, behind))
    }
}

/// The head of an answer whose body is a stream (RFC 9112 §2.1), in the form that hyper writes.
fn head_of(parts: &Parts, framing: Framing) -> Vec<u8> {
    let version = match framing {
        Framing::Chunked => "HTTP/1.1",
        Framing::Bare => "HTTP/1.0",
    };
    let mut head = format!("{version} {}\r\n", parts.status).into_bytes();
    for (name, value) in &parts.headers {
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    if framing == Framing::Chunked {
        head.extend_from_slice(b"transfer-encoding: chunked\r\n");
    }
    let date = HttpDate::from(SystemTime::now());
    head.extend_from_slice(format!("date: {date}\r\n\r\n").as_bytes());
    head
}

#[cfg(test)]
mod tests {
    use hyper::Response;

    use super::*;

    #[test]
    fn heads_by_version() {
        let (parts, ()) = Response::builder()
            .header("Content-Type", "text/event-stream")
            .header("Vary", "Origin")
            .body(())
            .expect("an answer")
            .into_parts();
        for (framing, line, chunks) in [
            (
                Framing::Chunked,
                "HTTP/1.1 200 OK",
                "transfer-encoding: chunked\r\n",
            ),
            (Framing::Bare, "HTTP/1.0 200 OK", ""),
        ] {
            let head = String::from_utf8(head_of(&parts, framing)).expect("text");
            let (before, date) = head.split_once("date: ").expect("a date");
            assert_eq!(
                before,
                format!("{line}\r\ncontent-type: text/event-stream\r\nvary: Origin\r\n{chunks}")
            );
            assert!(date.ends_with(" GMT\r\n\r\n"), "{date}");
        }
    }
}
