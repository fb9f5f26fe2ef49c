//! What a client's frame or message means to the shard.

use tickwire_wire::frame::{Event, Opcode};
use tickwire_wire::{Codec, Micros, Refusal};

use crate::session::SessionId;
use crate::shard::Shard;

/// Handles one frame or message of a client.
pub(super) fn handle_event(shard: &mut Shard, id: SessionId, codec: Codec, event: Event<'_>, now: Micros) {
    match event {
        Event::Message { opcode, payload } if shard.echoes(id) => shard.echo(id, opcode, payload),
        Event::Message { opcode, payload } if opcode == codec.opcode() => {
            shard.request(id, codec.decode_request(payload), now);
        }
        Event::Message { .. } => {
            let wanted = if codec.opcode() == Opcode::Text {
                "text"
            } else {
                "binary"
            };
            let name = codec.subprotocol();
            let refusal =
                Refusal::bad_request(format!("this connection speaks {name}: send {wanted} messages"));
            shard.refuse(id, None, refusal, now);
        }
        Event::Ping(payload) => shard.ping(id, payload, now),
        Event::Pong(_) => shard.pong(id, now),
        Event::Close { code, .. } => shard.close_received(id, code, now),
    }
}
