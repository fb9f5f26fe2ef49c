//! Damaged messages: no decoder panics, and accepted data can be sent on.
//!
//! The bytes are the same in every run. The property tests use fresh ones; this test tries many cheap cases.

use tickwire_wire::codec::{DataOp, Stamp};
use tickwire_wire::frame::{Limits, Opcode, client_frame};
use tickwire_wire::{ClientMessage, Codec, Epoch, Micros, Payload, Seq};

use crate::streams::Run;

const ROUNDS: u64 = 20_000;

/// The generator `SplitMix64`: small, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    /// Changes, drops, doubles or adds some bytes, mostly a few.
    fn damage(&mut self, bytes: &mut Vec<u8>, others: &[Vec<u8>]) {
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len());
            match self.below(6) {
                0 => bytes.truncate(at),
                1 => bytes.insert(at, self.next() as u8),
                2 if !bytes.is_empty() => bytes[at] ^= 1 << self.below(8),
                3 if !bytes.is_empty() => bytes[at] = self.next() as u8,
                4 => {
                    let other = &others[self.below(others.len())];
                    let from = self.below(other.len());
                    bytes.splice(at.., other[from..].iter().copied());
                }
                _ => {
                    let run = bytes[at..].to_vec();
                    bytes.extend(run);
                }
            }
        }
        bytes.truncate(4_096);
    }
}

fn stamp(epoch: &Epoch) -> Stamp<'_> {
    Stamp {
        topic: "a",
        epoch,
        seq: Seq(1),
        ts: Micros(1),
    }
}

/// Requests and server messages of every kind, in `codec`.
fn messages(codec: Codec) -> Vec<Vec<u8>> {
    let requests = [
        r#"{"op":"subscribe","id":1,"topics":["a.*",{"topic":"b","since":{"epoch":"k3v9","seq":57}}],"mode":"every"}"#,
        r#"{"op":"unsubscribe","id":2,"topics":["a.>"]}"#,
        r#"{"op":"publish","id":3,"topic":"chat.x","data":{"t":"h\u00e9\ud83d\ude00","n":[1.5e300,-7,null,true]}}"#,
        r#"{"op":"ping","id":18446744073709551615}"#,
    ];
    let server = [
        r#"{"op":"ack","id":1,"results":[{"topic":"a","epoch":"k3v9","seq":57,"mode":"conflate"}]}"#,
        r#"{"op":"gap","topic":"a","epoch":"k3v9","from":62,"to":70,"reason":"slow"}"#,
    ];
    let texts = requests.iter().chain(&server).map(|text| match codec {
        Codec::Json => text.as_bytes().to_vec(),
        Codec::MessagePack => {
            let mut packed = Vec::new();
            Payload::from_json(text.as_bytes())
                .expect("JSON")
                .write_msgpack(&mut packed);
            packed
        }
    });
    let mut all: Vec<_> = texts.collect();
    for op in [DataOp::Update, DataOp::Snapshot] {
        let payload = Payload::from_json(br#"{"price":"61837.63","n":[[],{}]}"#).expect("JSON");
        let mut bytes = Vec::new();
        codec.encode_data(op, stamp(&Epoch::from("k3v9")), &payload, &mut bytes);
        all.push(bytes);
    }
    all
}

#[test]
fn damaged_messages_are_answered() {
    for codec in Codec::ALL {
        let corpus = messages(codec);
        let mut random = Random(1);
        let (mut accepted, mut refused) = (0, 0);
        for round in 0..ROUNDS {
            let mut bytes = corpus[random.below(corpus.len())].clone();
            random.damage(&mut bytes, &corpus);
            let read_by_client = codec.decode_server(&bytes);
            match codec.decode_request(&bytes) {
                Ok(ClientMessage::Publish { data, .. }) => {
                    accepted += 1;
                    can_be_sent_on(&data, round);
                }
                Ok(_) => accepted += 1,
                Err(bad) => {
                    refused += 1;
                    assert!(
                        bad.refusal.reason.len() < 300,
                        "round {round}: {}",
                        bad.refusal.reason
                    );
                }
            }
            drop(read_by_client);
        }
        assert!(
            accepted > 100 && refused > 100,
            "{codec}: {accepted} accepted, {refused} refused"
        );
    }
}

fn can_be_sent_on(data: &Payload, round: u64) {
    for codec in Codec::ALL {
        let mut bytes = Vec::new();
        codec.encode_data(DataOp::Update, stamp(&Epoch::from("e")), data, &mut bytes);
        if let Err(error) = codec.decode_server(&bytes) {
            panic!("round {round}: {data:?} cannot be read in {codec}: {error}");
        }
    }
}

#[test]
fn damaged_frames_are_survived() {
    let frames = [
        client_frame(true, Opcode::Text, [1, 2, 3, 4], "h€llo".as_bytes()),
        client_frame(false, Opcode::Text, [9, 0, 0, 1], "é".as_bytes()),
        client_frame(true, Opcode::Continuation, [0; 4], &[b'x'; 200]),
        client_frame(true, Opcode::Ping, [7; 4], &[1; 125]),
        client_frame(true, Opcode::Binary, [5, 6, 7, 8], &[3; 300]),
        client_frame(true, Opcode::Close, [5, 6, 7, 8], b"\x03\xe8bye"),
    ];
    let limits = Limits {
        message_bytes: 1_000,
        fragments: 8,
    };
    let mut random = Random(2);
    let (mut whole, mut broken) = (0, 0);
    for round in 0..ROUNDS {
        let mut stream: Vec<u8> = (0..3)
            .flat_map(|_| frames[random.below(frames.len())].clone())
            .collect();
        random.damage(&mut stream, &frames);
        let mut run = Run::new(limits);
        let cut = random.below(stream.len());
        run.feed(&stream[..cut]);
        run.feed(&stream[cut..]);
        assert!(
            run.heap_bytes() < 2_000,
            "round {round}: {} bytes held",
            run.heap_bytes()
        );
        whole += run.events.len();
        broken += usize::from(run.violation.is_some());
    }
    assert!(
        whole > 1_000 && broken > 1_000,
        "{whole} events, {broken} violations"
    );
}
