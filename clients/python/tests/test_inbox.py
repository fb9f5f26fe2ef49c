"""The queue between the connection and the program."""

from __future__ import annotations

import random

import pytest

from tickwire import End, Gap, Joined, Live, Snapshot, Stale, TopicEvent, Update
from tickwire.inbox import EVENTS_MAX, Inbox


def update(topic: str, seq: int, epoch: str = "k") -> Update:
    return Update(topic, epoch, seq, 0, seq)


def drained(inbox: Inbox) -> list[TopicEvent]:
    events: list[TopicEvent] = []
    while (event := inbox.get()) is not None:
        events.append(event)
    assert len(inbox) == inbox._events == 0
    return events


def test_what_is_dropped_is_named_in_its_place() -> None:
    inbox = Inbox(3)
    inbox.put(Joined("a", "k", 0), False)
    for seq in range(1, 8):
        inbox.put(update("a", seq), False)
    assert len(inbox) == 5
    assert drained(inbox) == [
        Joined("a", "k", 0),
        Gap("a", "k", 1, 4, "consumer"),
        *(update("a", seq) for seq in (5, 6, 7)),
    ]
    assert inbox.dropped == 4


def test_topics_and_epochs_have_gaps_of_their_own() -> None:
    inbox = Inbox(1)
    for event in (update("a", 1), update("b", 1), update("a", 2), update("a", 1, "z"), update("a", 2, "z")):
        inbox.put(event, False)
    assert drained(inbox) == [
        Gap("a", "k", 1, 2, "consumer"),
        Gap("b", "k", 1, 1, "consumer"),
        Gap("a", "z", 1, 1, "consumer"),
        update("a", 2, "z"),
    ]


def test_a_gap_of_the_queue_does_not_reach_over_one_of_the_broker() -> None:
    inbox = Inbox(1)
    for event in (update("a", 1), Gap("a", "k", 2, 5, "slow"), update("a", 6), update("a", 7)):
        inbox.put(event, False)
    assert drained(inbox) == [
        Gap("a", "k", 1, 1, "consumer"),
        Gap("a", "k", 2, 5, "slow"),
        Gap("a", "k", 6, 6, "consumer"),
        update("a", 7),
    ]


def test_newer_values_replace_older_ones_in_their_place() -> None:
    inbox = Inbox(1)
    inbox.put(Snapshot("a", "k", 1, 0, 1), True)
    inbox.put(update("b", 1), True)
    for seq in range(2, 50):
        inbox.put(update("a", seq), True)
    assert drained(inbox) == [update("a", 49), update("b", 1)]
    assert (inbox.superseded, inbox.dropped) == (48, 0)


def test_a_subscription_to_many_topics_loses_none_of_its_snapshots() -> None:
    inbox = Inbox(10)
    begin: list[TopicEvent] = [Snapshot(f"trade.{number}", "k", 7, 0, None) for number in range(1_000)]
    for event in begin:
        inbox.put(event, False)
    assert drained(inbox) == begin


def test_an_older_snapshot_is_named_when_a_newer_one_comes() -> None:
    inbox = Inbox(10)
    for event in (Snapshot("a", "k", 7, 0, 7), update("a", 8), Snapshot("a", "k", 20, 0, 20), update("a", 21)):
        inbox.put(event, False)
    assert drained(inbox) == [
        Gap("a", "k", 7, 7, "consumer"),
        update("a", 8),
        Snapshot("a", "k", 20, 0, 20),
        update("a", 21),
    ]


def test_a_newer_value_does_not_overtake_what_was_said_of_its_topic() -> None:
    inbox = Inbox(10)
    inbox.put(update("b", 1), True)
    events: list[TopicEvent] = [
        update("a", 1),
        Stale("a"),
        Live("a"),
        update("a", 2),
        End("a", "k", 2, "expired"),
        Joined("a", "z", 0),
        update("a", 1, "z"),
    ]
    for event in events:
        inbox.put(event, isinstance(event, Update))
    inbox.put(update("b", 2), True)
    assert drained(inbox) == [update("b", 2), *events]


def test_a_queue_of_which_events_are_not_taken_says_so() -> None:
    inbox = Inbox(1)
    for number in range(EVENTS_MAX + 1):
        assert not inbox.has_overrun
        inbox.put(Stale(f"a.{number % 7}"), False)
    assert inbox.has_overrun
    inbox.get()
    assert not inbox.has_overrun


def test_memory_is_bounded_however_much_comes() -> None:
    inbox = Inbox(10)
    for seq in range(1, 5_000):
        inbox.put(update("a", seq), False)
    assert len(inbox._cells) <= 3 * 10
    assert drained(inbox)[0] == Gap("a", "k", 1, 4_989, "consumer")


@pytest.mark.parametrize("seed", range(20))
def test_each_message_is_delivered_or_named_once(seed: int) -> None:
    choose = random.Random(seed)
    inbox = Inbox(choose.randint(1, 6))
    heads = dict.fromkeys("abc", 0)
    got: list[TopicEvent] = []
    for _ in range(400):
        topic = choose.choice("abc")
        if choose.random() < 0.1:
            first = heads[topic] + 1
            heads[topic] += choose.randint(1, 5)
            inbox.put(Gap(topic, "k", first, heads[topic], "slow"), False)
        else:
            heads[topic] += 1
            seq = heads[topic]
            is_snapshot = choose.random() < 0.2
            inbox.put(Snapshot(topic, "k", seq, 0, seq) if is_snapshot else update(topic, seq), False)
        if choose.random() < 0.3:
            event = inbox.get()
            if event is not None:
                got.append(event)
    got += drained(inbox)
    for topic, head in heads.items():
        at = 0
        for event in got:
            if isinstance(event, (Update, Snapshot, Gap)) and event.topic == topic:
                first, last = (event.from_seq, event.to_seq) if isinstance(event, Gap) else (event.seq, event.seq)
                assert first == at + 1, event
                at = last
        assert at == head
