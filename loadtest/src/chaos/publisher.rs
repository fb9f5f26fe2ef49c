//! The one publisher: each topic in turn, at a steady rate, over a connection of its own that nothing disturbs.
//!
//! At most [`UNACKED_MAX`] messages wait for their acks. Each ack must name the number that the message was made for, else
//! nobody could know what there is to receive, and the run fails.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::ensure;
use tickwire_client::{Client, Publishing};

use super::{Shared, topics};

/// Messages that wait for their acks.
const UNACKED_MAX: usize = 512;
/// Time between two bursts.
const EVERY: Duration = Duration::from_millis(5);

/// Publishes until `wanted` messages were received. Returns how many were published.
///
/// # Errors
/// When the broker does not take them, or numbers them otherwise than they came.
pub(super) async fn publish(
    url: String,
    rate: u32,
    filling: usize,
    wanted: u64,
    shared: Arc<Shared>,
) -> anyhow::Result<u64> {
    let (client, events) = Client::builder(url).connect().await?;
    // Nobody needs them, and nothing is read while they wait.
    drop(events);
    let mut waiting: VecDeque<(usize, u64, Publishing)> = VecDeque::new();
    let began = Instant::now();
    let mut count = 0_u64;
    while shared.messages.load(Ordering::Relaxed) < wanted {
        let due = (began.elapsed().as_secs_f64() * f64::from(rate)) as u64;
        while count < due {
            let topic = (count % topics::ALL as u64) as usize;
            let seq = count / topics::ALL as u64 + 1;
            let message = topics::message(topic, seq, filling);
            waiting.push_back((
                topic,
                seq,
                client.begin_publish(topics::name(topic), message).await?,
            ));
            count += 1;
            if waiting.len() >= UNACKED_MAX {
                settle(&mut waiting, &shared).await?;
            }
        }
        tokio::time::sleep(EVERY).await;
    }
    while !waiting.is_empty() {
        settle(&mut waiting, &shared).await?;
    }
    shared.published_all.store(true, Ordering::Release);
    client.close().await;
    Ok(count)
}

/// Waits for the oldest ack.
async fn settle(waiting: &mut VecDeque<(usize, u64, Publishing)>, shared: &Shared) -> anyhow::Result<()> {
    let Some((topic, expected, mut publishing)) = waiting.pop_front() else {
        return Ok(());
    };
    let got = publishing.ack().await?.seq.0;
    ensure!(
        got == expected,
        "message {expected} of {} was numbered {got}: somebody else publishes there too",
        topics::name(topic)
    );
    shared.heads[topic].store(got, Ordering::Release);
    Ok(())
}
