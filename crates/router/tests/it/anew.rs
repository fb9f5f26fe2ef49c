//! A shard that begins anew: nothing is queued for its old sessions any more, and all other shards go on.

use tickwire_router::ShardId;
use tickwire_wire::{CloseCode, Codec};

use crate::world::{Setup, World};

#[test]
fn what_a_shard_wanted_is_forgotten_and_others_notice_nothing() {
    let mut world = World::new(Setup {
        shards: 2,
        ..Setup::default()
    });
    let clients: Vec<usize> = [0, 0, 1]
        .map(|shard| world.open(shard, Codec::Json, Vec::new()))
        .into();
    world.publish("trade.A", "1");
    for client in &clients {
        for pattern in ["trade.A", "trade.*", "later.>"] {
            world.subscribe(*client, pattern);
        }
    }
    world.run();
    // One session was handed out and not written; the other was not handed out.
    world.publish("trade.A", "2");
    world.hand_out(0, 1);
    world.publish("trade.A", "3");
    let setup = Setup::default();
    let fresh = world.shards[0].anew(setup.settings.clone(), setup.compression);
    world.shards[0] = fresh;
    for client in [0, 1] {
        world.disconnect(client);
    }
    let depth = |world: &World| world.directory.queue(ShardId(0)).depth();
    let subscribers =
        |world: &World, topic: &str| world.directory.find(topic).expect("it is there").subscribers();
    assert_eq!((depth(&world), subscribers(&world, "trade.A")), (0, 1));
    for topic in ["trade.A", "trade.B", "later.a"] {
        world.publish(topic, "4");
    }
    assert_eq!(depth(&world), 0, "nothing is queued for it");
    world.check_ledgers();
    let counts = world.shards[0].counts();
    let internal = CloseCode::SENT
        .iter()
        .position(|code| *code == CloseCode::INTERNAL);
    assert_eq!(counts.closes[internal.expect("it is sent")], 2);
    assert!(counts.ledger.dropped > 0 && counts.ledger.pending() == 0);
    // The other shard's subscriber has everything, and a client that comes to the new shard is served.
    world.run();
    assert_eq!(
        world.clients[2]
            .inbox
            .iter()
            .filter(|(_, frame)| is_update(frame))
            .count(),
        5
    );
    world.connect(0, Vec::new());
    world.subscribe(0, "trade.*");
    world.publish("trade.A", "5");
    world.publish("trade.C", "1");
    world.run();
    assert_eq!(subscribers(&world, "trade.A"), 2);
    assert_eq!(
        world.clients[0]
            .inbox
            .iter()
            .filter(|(_, frame)| is_update(frame))
            .count(),
        2
    );
    world.check_ledgers();
}

fn is_update(frame: &crate::world::Frame) -> bool {
    use tickwire_wire::ServerMessage;
    matches!(frame, crate::world::Frame::Message(ServerMessage::Update { .. }))
}
