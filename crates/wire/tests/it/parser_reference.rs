//! The parser compared with fastwebsockets on valid streams: both must read the same.

use fastwebsockets::{FragmentCollector, OpCode, Role, WebSocket};
use proptest::collection::vec;
use proptest::prelude::*;
use tickwire_wire::frame::{Limits, Opcode, client_frame};
use tokio::io::AsyncWriteExt;

use crate::streams::{Got, Run, bytes_of, part};

/// The events that fastwebsockets reads from `stream`, which ends with a close frame.
async fn reference(stream: &[u8]) -> Vec<Got> {
    let (mut client, server) = tokio::io::duplex(stream.len());
    client.write_all(stream).await.expect("the pipe holds the stream");
    let mut socket = WebSocket::after_handshake(server, Role::Server);
    socket.set_auto_pong(false);
    socket.set_auto_close(false);
    let mut socket = FragmentCollector::new(socket);
    let mut events = Vec::new();
    loop {
        let frame = socket.read_frame().await.expect("a valid stream");
        let payload = frame.payload.to_vec();
        events.push(match frame.opcode {
            OpCode::Text => Got::Message(Opcode::Text, payload),
            OpCode::Binary => Got::Message(Opcode::Binary, payload),
            OpCode::Ping => Got::Ping(payload),
            OpCode::Pong => Got::Pong(payload),
            OpCode::Continuation => panic!("a fragment by itself"),
            OpCode::Close => break,
        });
    }
    events
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn both_read_the_same(parts in vec(part(70_000), 0..4), seed: u32) {
        let mut stream = bytes_of(&parts, seed);
        stream.extend(client_frame(true, Opcode::Close, [0; 4], &1_000_u16.to_be_bytes()));
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let mut expected = runtime.block_on(reference(&stream));
        expected.push(Got::Close(Some(1_000), String::new()));
        let limits = Limits { message_bytes: 70_000, fragments: 64 };
        let run = Run::of(&stream, limits);
        prop_assert!(run.said() == (&expected, None), "the events differ");
    }
}
