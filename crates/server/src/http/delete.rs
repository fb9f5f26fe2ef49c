//! `DELETE /v1/topics/{topic}`: ends the topic.

use serde::Serialize;
use tickwire_router::AnswerTo;
use tickwire_wire::{Epoch, Seq};

use super::context::{Answer, Call};
use super::topics::no_such_topic;
use super::{ErrorResponse, Reply, reply, topic_of_segment};

/// The position at which a topic has ended.
#[derive(Serialize)]
struct Ended<'a> {
    topic: &'a str,
    epoch: &'a Epoch,
    seq: Seq,
}

/// Ends the topic in the path. The client must be allowed to publish to it.
pub(super) async fn topic(call: Call<'_>) -> Result<Reply, ErrorResponse> {
    let topic = topic_of_segment(call.topic)?;
    call.admission.rights.check_publish(topic.as_str())?;
    let (teller, settled) = Answer::new();
    let asked = call
        .context
        .directory
        .delete_elsewhere(topic.as_str(), &AnswerTo::Teller(teller));
    let asked = asked.map_err(|refusal| ErrorResponse::not_published(refusal, &call.context.ingress))?;
    if asked {
        let placed = call.context.settled(settled).await?;
        return Ok(reply::json(&Ended {
            topic: topic.as_str(),
            epoch: &placed.epoch,
            seq: placed.seq,
        }));
    }
    let ended = call.context.directory.delete_written(topic.as_str());
    let ended = ended.map_err(|refusal| ErrorResponse::not_published(refusal, &call.context.ingress))?;
    let ended = ended.ok_or_else(|| no_such_topic(&topic))?;
    if let Some(ticket) = ended.ticket {
        call.context.written(ticket).await?;
    }
    tracing::info!(%topic, epoch = %ended.epoch, seq = %ended.seq, "a client has ended a topic");
    Ok(reply::json(&Ended {
        topic: topic.as_str(),
        epoch: &ended.epoch,
        seq: ended.seq,
    }))
}
