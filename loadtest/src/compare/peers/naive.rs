//! The naive server: what one would write first with tokio. It is the baseline that Tickwire's complexity must be
//! worth.
//!
//! It has one thread. Each connection is a task with a bounded queue. A publication is cloned into the queue of each
//! subscriber of its topic, under one lock. Each task frames and writes its whole queue before it flushes. It is an
//! ordinary server and not a bad one: it does no work twice by carelessness. A subscriber whose queue is full misses
//! the message and is not told. It uses the plain protocol (`plain`) and stops at a signal.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context;
use futures_util::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_tungstenite::accept_async_with_config;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};

use super::server::announce;
use crate::swarm::loopback;

const QUEUE_MAX: usize = 1_024;
/// The size that tungstenite's documentation recommends for many connections. Its default of 128 KiB is for few busy
/// ones.
const READ_BUFFER_BYTES: usize = 4 * 1024;
/// The library that it uses.
const VERSION: &str = "tokio-tungstenite";

/// Serves on a free port of the loopback until the process ends.
pub(crate) fn serve() -> anyhow::Result<()> {
    tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .context("cannot start a runtime")?
        .block_on(accept())
}

async fn accept() -> anyhow::Result<()> {
    let listener = TcpListener::bind(loopback(0)).await.context("cannot listen")?;
    announce(listener.local_addr()?, VERSION)?;
    let hub = Arc::new(Hub::default());
    for id in 0.. {
        let (stream, _) = listener.accept().await.context("cannot accept connections")?;
        let hub = hub.clone();
        tokio::spawn(async move {
            // A connection that breaks has ended, like one that is closed.
            let _ = connection(id, stream, &hub).await;
            hub.leave(id);
        });
    }
    Ok(())
}

async fn connection(id: u64, stream: TcpStream, hub: &Hub) -> Result<(), Error> {
    stream.set_nodelay(true)?;
    let config = WebSocketConfig::default().read_buffer_size(READ_BUFFER_BYTES);
    let mut socket = accept_async_with_config(stream, Some(config)).await?;
    let (sender, mut queue) = mpsc::channel(QUEUE_MAX);
    loop {
        tokio::select! {
            message = socket.next() => match message {
                Some(Ok(Message::Text(text))) => if let Some(answer) = hub.take(id, &sender, &text) {
                    socket.send(Message::Text(answer)).await?;
                },
                Some(message) => drop(message?),
                None => return Ok(()),
            },
            Some(payload) = queue.recv() => {
                socket.feed(Message::Text(payload)).await?;
                while let Ok(payload) = queue.try_recv() {
                    socket.feed(Message::Text(payload)).await?;
                }
                socket.flush().await?;
            }
        }
    }
}

type Subscribers = HashMap<u64, mpsc::Sender<Utf8Bytes>>;

#[derive(Debug, Default)]
struct Hub {
    topics: Mutex<HashMap<String, Subscribers>>,
}

impl Hub {
    /// Carries out the command `text` and returns the answer.
    fn take(&self, id: u64, sender: &mpsc::Sender<Utf8Bytes>, text: &str) -> Option<Utf8Bytes> {
        if let Some((topic, payload)) = text.strip_prefix("pub ").and_then(|rest| rest.split_once(' ')) {
            self.publish(topic, payload);
            return None;
        }
        let Some(topics) = text.strip_prefix("sub ") else {
            return Some("neither sub nor pub".into());
        };
        for topic in topics.split(',') {
            let mut all = self.topics();
            all.entry(topic.to_owned())
                .or_default()
                .insert(id, sender.clone());
        }
        Some(format!("ok {}", topics.split(',').count()).into())
    }

    fn publish(&self, topic: &str, payload: &str) {
        if let Some(subscribers) = self.topics().get(topic) {
            let payload = Utf8Bytes::from(payload);
            for subscriber in subscribers.values() {
                // If the queue is full, this subscriber misses the message. If it is closed, the subscriber is leaving.
                let _ = subscriber.try_send(payload.clone());
            }
        }
    }

    fn leave(&self, id: u64) {
        self.topics().retain(|_, subscribers| {
            subscribers.remove(&id);
            !subscribers.is_empty()
        });
    }

    fn topics(&self) -> MutexGuard<'_, HashMap<String, Subscribers>> {
        // Nothing that panics is done under the lock.
        self.topics.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A subscriber whose queue holds `room` messages.
    fn subscriber(hub: &Hub, id: u64, topics: &str, room: usize) -> mpsc::Receiver<Utf8Bytes> {
        let (sender, queue) = mpsc::channel(room);
        let answer = hub
            .take(id, &sender, &format!("sub {topics}"))
            .expect("an answer");
        assert_eq!(answer.as_str(), format!("ok {}", topics.split(',').count()));
        queue
    }

    fn taken(queue: &mut mpsc::Receiver<Utf8Bytes>) -> Vec<Utf8Bytes> {
        std::iter::from_fn(|| queue.try_recv().ok()).collect()
    }

    #[test]
    fn a_publication_reaches_the_subscribers_that_have_room_and_are_there() {
        let hub = Hub::default();
        let (mut both, mut full) = (subscriber(&hub, 0, "a,b", 8), subscriber(&hub, 1, "b", 1));
        let (sender, _queue) = mpsc::channel(1);
        for text in ["pub a \"x y\"", "pub b 1", "pub b 2", "pub c \"nobody\""] {
            assert_eq!(hub.take(2, &sender, text), None);
        }
        assert_eq!(taken(&mut both), ["\"x y\"", "1", "2"]);
        assert_eq!(taken(&mut full), ["1"]);
        hub.leave(0);
        assert_eq!(hub.topics().keys().collect::<Vec<_>>(), ["b"]);
        let answer = hub.take(0, &sender, "pub a").expect("an answer");
        assert_eq!(answer.as_str(), "neither sub nor pub");
    }
}
