//! What a panic half-way through a change would leave behind, which is made here by hand.

use tickwire_wire::{ErrorCode, Micros, Payload};

use crate::directory::{Directory, DirectoryLimits, PublishError};
use crate::kinds::Kinds;

#[test]
fn a_book_that_a_panic_has_cost_is_refused_until_it_is_published_whole() {
    let limits = DirectoryLimits {
        topics_max: 10,
        topics_per_key_max: 0,
        history_bytes_max: 1 << 20,
        value_bytes_max: 1 << 20,
        replay_bytes_max: 1 << 20,
    };
    let directory = Directory::new("e".into(), Kinds::default(), limits, Vec::new());
    let topic = "book.A".parse().expect("a topic");
    let publish = |replace: bool| {
        let text = format!(r#"{{"symbol":"A","bids":[["1","2"]],"asks":[],"replace":{replace},"time":1}}"#);
        let payload = Payload::from_json(text.as_bytes()).expect("JSON");
        directory.publish(&topic, payload, Micros(1))
    };
    publish(false).expect("it is a change");
    let cell = directory.find("book.A").expect("it was made");
    assert!(cell.snapshot().is_some());
    cell.lock().book = None;
    match publish(false) {
        Err(PublishError::Refused(refusal)) => {
            assert_eq!(refusal.code, ErrorCode::Internal);
            assert!(refusal.reason.contains("publish it whole"), "{refusal}");
        }
        other => panic!("{other:?}"),
    }
    cell.lock().book_snapshot = None;
    assert!(cell.snapshot().is_none(), "a change is no snapshot");
    publish(true).expect("it is whole");
    assert!(cell.snapshot().is_some());
    publish(false).expect("it goes on");
}
