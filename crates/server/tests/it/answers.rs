//! Large answers that wait for their clients: the limits on their bytes and their time.

use std::time::Instant;

use crate::support::{Answer, Http, TestBroker, request};

/// A history of 1.2 MB, far more than the two kernels buffer.
const HISTORY: &str = "/v1/topics/trade.X/history?limit=1024";

/// A broker with that history, and with these settings of `[limits]`.
fn broker(limits: &str) -> TestBroker {
    let file = format!("[limits]\n{limits}[socket]\nsend_buffer_bytes = 16384\n");
    let broker = TestBroker::with(&file, &[]);
    let long = format!("\"{}\"", "x".repeat(60_000));
    for _ in 0..20 {
        broker.publish("trade.X", &long);
    }
    broker
}

/// A client that asked for the history and got the head of the answer; the rest waits.
fn asked(mut client: Http) -> Http {
    client.write(&request("GET", HISTORY, &[], ""));
    assert_eq!(client.head().0, 200);
    client
}

fn assert_refused(answer: &Answer) {
    assert_eq!(
        answer.refusal(),
        "503 limit_exceeded: too many bytes of answers wait for their readers; try again"
    );
    assert_eq!(answer.header("retry-after"), "1");
}

#[test]
fn large_answers_that_wait_have_their_most_bytes() {
    let broker = broker("answer_bytes = 3000000\n");
    let mut waiting = [(); 2].map(|()| asked(broker.connect_narrow()));
    assert_refused(&broker.get(HISTORY));
    broker.wait_for_metric("tickwire_turned_away_total{reason=\"answers\"}", 1.0);
    // Small answers are sent as always, and so is the answer to a request about a large one.
    for target in [
        "/v1/topics",
        "/v1/topics/trade.X",
        "/v1/topics/trade.X/history?limit=1",
    ] {
        assert_eq!(broker.get(target).status, 200, "{target}");
    }
    assert_eq!(broker.ops("/metrics").status, 200);
    assert_eq!(
        broker.connect().send("POST", "/v1/topics/a", &[], "1").status,
        200
    );
    // An answer that is taken makes room.
    let [first, _] = &mut waiting;
    while broker.get(HISTORY).status == 503 {
        assert!(first.sip(1 << 20) > 0, "all was taken, and there is no room");
    }
    // As does one whose client goes away.
    // The broker lets go of an answer after its client has the last byte: there may be no room for another one at once.
    let mut third = broker.connect_narrow();
    broker.wait_until("another answer waits", || {
        third = broker.connect_narrow();
        third.write(&request("GET", HISTORY, &[], ""));
        third.head().0 == 200
    });
    drop(waiting);
    broker.wait_until("an answer is given again", || broker.get(HISTORY).status == 200);
}

#[test]
fn an_address_has_its_share_of_them() {
    let broker = broker("answer_bytes = 9000000\nexempt_addresses = []\n");
    let _waiting = asked(broker.connect_narrow());
    // The connection is from 127.0.0.1.
    let _second = broker.connect().send("HEAD", "/v1/topics/trade.X", &[], "");
    assert_refused(&asked_again(&broker, "127.0.0.1"));
    assert_eq!(asked_again(&broker, "127.0.0.2").status, 200);
}

fn asked_again(broker: &TestBroker, ip: &str) -> Answer {
    broker.connect_from(ip).send("GET", HISTORY, &[], "")
}

#[test]
fn an_answer_that_is_taken_a_little_at_a_time_is_given_up() {
    let broker = broker("answer_bytes = 1000000\nstall_ms = 2000\n");
    let mut slow = asked(broker.connect_narrow());
    assert_refused(&broker.get(HISTORY));
    // The client takes bytes all the time, but at half the required rate.
    let (begun, mut due, mut taken) = (Instant::now(), 0, 0);
    broker.wait_until("the answer is given up", || {
        while due < begun.elapsed().as_millis() {
            taken += slow.sip(512);
            due += 64;
        }
        broker.get(HISTORY).status == 200
    });
    assert!(taken < 150_000, "it was given up after {taken} bytes");
}
