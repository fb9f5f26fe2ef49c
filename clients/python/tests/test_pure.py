"""The pure parts of the client: codecs, books, positions, waits, rates, clocks, tables."""

from __future__ import annotations

import itertools
import json
import random
import zlib
from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import tickwire
from tickwire import Backoff, Batch, Book, BookError, Gap, Limits, Position, Positions, Snapshot, Update
from tickwire.batch import Batch as SameBatch
from tickwire.clocks import Moment, reading
from tickwire.codec import Codec, codec_of, plain
from tickwire.core import Answered, Core
from tickwire.errors import BadMessage, ConfigError
from tickwire.ledger import Ahead, Ledger, Request, split
from tickwire.link import endpoint, headers_of
from tickwire.machine import Dial, HangUp, Machine, Send, Settings, Stopped
from tickwire.market import Bbo, Candle, Ticker, Trade
from tickwire.nodes import Nodes
from tickwire.pace import Pace
from tickwire.topics import Pattern, TopicError
from tickwire.wire import Positions as PositionsRequest
from tickwire.wire import Publish, Resync, TopicRequest, UpdateMessage, Wanted

LIMITS = Limits(subscriptions=1_024, message_bytes=65_536, ops_per_s=50, ops_burst=200)
WELCOME = (
    '{"op":"welcome","session":"s","server":"t","ts":1,"heartbeat_ms":15000,'
    '"limits":{"subscriptions":8,"message_bytes":65536,"ops_per_s":50}}'
)


@pytest.mark.parametrize(
    "text", ["", ".a", "a.", "bad..topic", "a b", "a.\0", "a.é", "a.b*", ">.a", "a" * 256, ".".join("a" * 17)]
)
def test_texts_that_are_no_pattern(text: str) -> None:
    with pytest.raises(TopicError):
        Pattern(text)


@pytest.mark.parametrize(
    ("pattern", "topic", "does"),
    [
        ("trade.*.EU", "trade.BTC.EU", True),
        ("trade.*.EU", "trade.EU", False),
        ("trade.>", "trade.BTC.EU", True),
        ("trade.>", "trade", False),
        ("*", "a", True),
        ("*", "a.b", False),
        ("a.b", "a.b", True),
        ("a.b", "axb", False),
    ],
)
def test_patterns_match_as_the_protocol_says(pattern: str, topic: str, does: bool) -> None:
    assert Pattern(pattern).matches(topic) is does


@pytest.mark.parametrize("codec", [codec_of("json", "decimal"), codec_of("msgpack", "decimal")])
def test_a_publication_keeps_every_digit(codec: Codec) -> None:
    data = {"a": Decimal("0.1"), "b": Decimal("0.123456789012345678"), "c": Decimal(3), "d": [1, True, None, 2.5]}
    assert plain(data) == {"a": 0.1, "b": "0.123456789012345678", "c": 3, "d": [1, True, None, 2.5]}
    large = [2**64 - 1, 2**64, -(2**63) - 1, Decimal(2**64)]
    assert plain(large) == [2**64 - 1, "18446744073709551616", "-9223372036854775809", "18446744073709551616"]
    codec.encode(Publish(1, "chat.a", large))
    for wrong in (float("nan"), Decimal("Infinity"), {1: 2}, b"bytes"):
        with pytest.raises((TypeError, ValueError)):
            codec.encode(Publish(1, "chat.a", wrong))


def test_numbers_are_decimals_in_both_codecs() -> None:
    import msgspec

    packed = msgspec.msgpack.encode([0, "a", 1, 2, {"price": 0.1, "size": 7}])
    text = '{"op":"update","topic":"a","seq":1,"ts":2,"data":{"price":0.1,"size":7}}'
    expected = UpdateMessage("a", 1, 2, {"price": Decimal("0.1"), "size": 7})
    assert codec_of("msgpack", "decimal").decode(packed) == codec_of("json", "decimal").decode(text) == expected
    with pytest.raises(BadMessage):
        codec_of("msgpack", "float").decode(msgspec.msgpack.encode([0, "a", 1, 2, float("nan")]))


def test_what_nests_too_deep_is_no_message() -> None:
    text = '{"op":"update","topic":"a","seq":1,"ts":2,"data":' + "[" * 100_000 + "]" * 100_000 + "}"
    with pytest.raises(BadMessage):
        codec_of("json", "decimal").decode(text)


def data(bids: str, asks: str, checksum: int | None = None) -> dict[str, Any]:
    sides = [[level.split("x") for level in side.split()] for side in (bids, asks)]
    text = "".join(
        part.replace(".", "").lstrip("0") for side in reversed(sides) for level in side[:10] for part in level
    )
    made = zlib.crc32(text.encode()) if checksum is None else checksum
    return {"symbol": "A", "bids": sides[0], "asks": sides[1], "checksum": made, "time": 1}


def shown(book: Book) -> str:
    sides = [" ".join(f"{level.price}x{level.size}" for level in side) for side in (book.bids(), book.asks())]
    return f"{book.position.seq if book.position else 'stale'} [{sides[0]}] [{sides[1]}]"


def book_at_7() -> Book:
    book = Book()
    book.snapshot("k", 7, data("9.9x1 9.8x5", "10.1x2 10.2x4"))
    return book


def test_changes_set_and_remove_levels() -> None:
    book = book_at_7()
    checksum = data("9.9x3 9.8x5 9.7x1", "10.2x4")["checksum"]
    book.update(8, data("9.9x3 9.7x1", "10.1x0 11x0", checksum))
    assert shown(book) == "8 [9.9x3 9.8x5 9.7x1] [10.2x4]"
    assert book.checksum() == checksum
    assert book.top_of().spread == Decimal("0.3")
    assert len(book.top_of(2).bids) == 2


@pytest.mark.parametrize("seed", range(10))
def test_changes_and_snapshots_agree_with_a_naive_book(seed: int) -> None:
    choose = random.Random(seed)
    model: dict[str, dict[int, int]] = {"bids": {}, "asks": {}}
    changed = Book()
    changed.begin("k")
    for seq in range(1, 60):
        change: dict[str, list[list[str]]] = {"bids": [], "asks": []}
        for _ in range(choose.randint(0, 6)):
            side, price, size = choose.choice(["bids", "asks"]), choose.randint(1, 40), choose.randint(0, 3)
            change[side].append([str(price), str(size)])
            if size:
                model[side][price] = size
            else:
                model[side].pop(price, None)
        whole = {
            "bids": [[str(price), str(model["bids"][price])] for price in sorted(model["bids"], reverse=True)],
            "asks": [[str(price), str(model["asks"][price])] for price in sorted(model["asks"])],
        }
        text = "".join(part for side in ("asks", "bids") for level in whole[side][:10] for part in level)
        rest = {"symbol": "A", "time": 1, "checksum": zlib.crc32(text.encode())}
        changed.update(seq, {**change, **rest})
        fresh = Book()
        fresh.snapshot("k", seq, {**whole, **rest})
        assert shown(changed) == shown(fresh)


@pytest.mark.parametrize(
    ("seq", "wrong", "message"),
    [
        (8, data("9.9x3", "", 1), "after message 8 the book's checksum is 0x2a193813 and not 0x00000001"),
        (9, data("", "", 1), "change 9 came where 8 was due; ask for a snapshot with resync"),
        (8, {}, "message 8 holds no book: it has no symbol"),
        (8, data("9.9x-1", "", 1), "message 8 has an impossible level: price 9.9, size -1"),
    ],
)
def test_what_does_not_fit_makes_the_book_stale(seq: int, wrong: dict[str, Any], message: str) -> None:
    book = book_at_7()
    with pytest.raises(BookError) as error:
        book.update(seq, wrong)
    assert str(error.value) == message
    assert shown(book) == "stale [] []"
    with pytest.raises(BookError):
        book.update(seq + 1, wrong)
    book.snapshot("k", 20, data("1x1", "2x2"))
    assert book.usable


def test_positions_outlive_the_program(tmp_path: Path) -> None:
    path = tmp_path / "positions.json"
    assert Positions.load(path) == {}
    positions = Positions()
    for event in (
        Snapshot("a", "k", 5, 0, None),
        Update("a", "k", 6, 0, None),
        Snapshot("a", "k", 4, 0, None),
        Gap("b", "z", 1, 9, "slow"),
        Update("c", "k", 1, 0, None),
        tickwire.End("c", "k", 1, "expired"),
    ):
        positions.note(event)
    positions.save(path)
    assert Positions.load(path) == {"a": Position("k", 6), "b": Position("z", 9)}
    for wrong in ("[]", '{"k":1}', '{"k":{"a":-1}}', '{"k":{"a":true}}', "{"):
        with pytest.raises(ValueError, match=r"position|Expecting"):
            Positions.from_json(wrong)


def test_waits_double_up_to_the_bound_with_full_jitter() -> None:
    backoff = Backoff(first_s=0.1, max_s=1.0)
    assert [backoff.wait(attempt, 1.0) for attempt in range(6)] == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
    assert (backoff.wait(0, 0.0), backoff.wait(0, 0.5), backoff.wait(10_000, 1.0)) == (0.0, 0.05, 1.0)


def sent_at(limits: Limits, publications: list[bool]) -> list[float]:
    now, pace, sent = 0.0, Pace(limits, 0.0), list[float]()
    for publication in publications:
        now += pace.wait(publication, now)
        assert pace.wait(publication, now) == 0.0, "the wait is long enough"
        pace.spend(publication)
        sent.append(round(now, 6))
    return sent


def test_requests_keep_within_the_announced_rates() -> None:
    assert sent_at(LIMITS, [False] * 163)[158:] == [0, 0, 0.02, 0.04, 0.06]
    none = Limits(subscriptions=1, message_bytes=1, ops_per_s=0)
    assert sent_at(none, [False] * 1_000)[-1] == 0
    own = Limits(subscriptions=1, message_bytes=1, ops_per_s=1, ops_burst=1, publishes_per_s=10, publishes_burst=10)
    assert sent_at(own, [True] * 8 + [False, True])[7:] == [0, 0, 0.1]


def test_the_offset_is_known_to_half_of_the_round_trip() -> None:
    sent, heard = Moment(1_000, 5.0), Moment(7, 5.00002)
    assert reading(sent, 1_010, 1_010, heard) == tickwire.Clocks(1_010, 0, 20)
    assert reading(sent, 501_010, 501_010, heard).offset_us == 500_000
    assert reading(sent, 1_010, 1_510, Moment(7, 5.00052)) == tickwire.Clocks(1_510, 0, 20)
    assert tickwire.Clocks(5_000, 300, 80).local_us(5_000) == 4_700


def test_requests_that_restore_fit_in_messages() -> None:
    ledger = Ledger()
    ledger.add("trade.*", Wanted("every"))
    ledger.add("trade.1", Wanted())
    left = {f"trade.{number}": Position("k", number) for number in range(2_000)}
    limits = Limits(subscriptions=8, message_bytes=4_096, ops_per_s=0)
    steps = ledger.restore(None, left, lambda topic: left[topic], limits)
    ahead = [step for step in steps if isinstance(step, Ahead)]
    assert len(ahead) > 10
    assert {topic for step in ahead for topic in step.seqs["k"]} == set(left)
    codec = codec_of("json", "decimal")
    for step in ahead:
        assert len(codec.encode(PositionsRequest(1, step.seqs))) <= limits.message_bytes
    requests = [step for step in steps if isinstance(step, Request)]
    # The pattern asks for more and goes first. It brings the topic, which needs no snapshot then.
    assert [request.topics for request in requests] == [[TopicRequest("trade.*")], [TopicRequest("trade.1")]]
    assert [request.wanted.snapshot for request in requests] == [True, False]
    assert len(split(Wanted(), [TopicRequest("a" * 200)] * 100, limits)) > 1


@pytest.mark.parametrize(
    ("given", "made"),
    [
        ("ws://localhost", "ws://localhost/v1/ws"),
        ("wss://localhost/", "wss://localhost/v1/ws"),
        ("ws://[::1]:7400/other?a=b#c", "ws://[::1]:7400/other?a=b"),
    ],
)
def test_urls_are_completed(given: str, made: str) -> None:
    assert endpoint(given) == made


@pytest.mark.parametrize("url", ["", "http://a/", "localhost:7400", "ws://u:p@a/", "ws:///v1/ws", "ws://a:b/"])
def test_urls_that_name_no_broker(url: str) -> None:
    with pytest.raises(ConfigError):
        tickwire.connect(url)


def test_a_token_is_one_line_of_visible_characters() -> None:
    assert headers_of({}, "abc") == {"Authorization": "Bearer abc"}
    for wrong in ("", "a b", "a\r\nX: y", "ü"):
        with pytest.raises(ConfigError):
            headers_of({}, wrong)


def machine(*urls: str, **settings: Any) -> Machine:
    made = codec_of("json", "decimal")
    return Machine(Settings(urls=urls, **settings), made, "decimal", lambda: 1.0, Core(made))


def moment(at_s: float) -> Moment:
    return Moment(int(at_s * 1e6), at_s)


def test_a_broker_that_drains_every_connection_at_once_is_not_dialled_in_a_loop() -> None:
    client = machine("ws://a", backoff=Backoff(0.1, 0.4))
    client.start(0.0)
    now = 0.0
    for _ in range(50):
        assert isinstance(client.take()[-1], Dial)
        client.opened(now)
        client.received(WELCOME, moment(now))
        client.received('{"op":"drain","reconnect_after_ms":0,"deadline_ms":1000}', moment(now))
        assert HangUp(1001) in client.take()
        due = client.wake_at(now)
        assert due is not None
        now = due
        client.tick(moment(now))
    assert now > 2.0


def test_a_broker_that_does_not_welcome_is_given_up_in_time() -> None:
    client = machine("ws://a", "ws://b", connect_timeout_s=5.0)
    client.start(0.0)
    assert [action for action in client.take() if isinstance(action, Dial)] == [Dial("ws://a", None)]
    client.opened(1.0)
    assert client.wake_at(1.0) == 5.0
    client.tick(moment(5.0))
    assert HangUp(1001) in client.take()
    client.tick(moment(5.0))
    assert [action for action in client.take() if isinstance(action, Dial)] == [Dial("ws://b", None)]
    client.tick(moment(10.0))
    stopped = [action for action in client.take() if isinstance(action, Stopped)]
    assert len(stopped) == 1
    assert stopped[0].error is not None


def test_one_url_that_may_succeed_later_keeps_the_client_trying() -> None:
    down = tickwire.ConnectError("ws://a", "down")
    refused = tickwire.ConnectError("ws://b", "401", retryable=False)
    for first, second in ((down, refused), (refused, down)):
        client = machine("ws://a", "ws://b", keep_trying=True, backoff=Backoff(1.0, 1.0))
        client.start(0.0)
        client.dial_failed(first, 0.0)
        client.tick(moment(0.0))
        client.dial_failed(second, 0.0)
        assert not client.is_stopped
        assert client.wake_at(0.0) == 1.0
    client = machine("ws://a", "ws://b", keep_trying=True)
    client.start(0.0)
    client.dial_failed(refused, 0.0)
    client.tick(moment(0.0))
    client.dial_failed(refused, 0.0)
    assert client.is_stopped


def nodes(count: int, order: Sequence[float] = ()) -> Nodes:
    """Nodes of the names "0", "1", and so on, in the order of their numbers in `order`."""
    numbers = iter(order or range(count))
    return Nodes(tuple(str(number) for number in range(count)), lambda: next(numbers))


def test_one_node_is_never_tried_without_a_wait() -> None:
    only = nodes(1)
    assert [only.failed(0.0, 0.0, True) for _ in range(3)] == [0.0, 0.0, 0.0]
    assert only.failed(0.0, 7.0, True) == 7.0
    assert only.failed(0.0, 0.0, False) is None


def test_clients_spread_over_all_nodes_and_those_of_a_dead_node_over_the_others() -> None:
    first, second = Counter[str](), Counter[str]()
    for order in itertools.permutations((0.1, 0.2, 0.3)):
        made = nodes(3, order)
        first[made.url] += 1
        assert made.failed(0.0, 0.0, True) == -1.0
        second[made.url] += 1
    assert first == second == {"0": 2, "1": 2, "2": 2}


def test_a_node_that_failed_is_tried_last() -> None:
    made = nodes(3)
    made.failed(0.0, 0.0, True)
    made.lasted()
    tried = [made.url]
    while made.failed(0.0, 0.0, True) == -1.0:
        tried.append(made.url)
    assert tried == ["1", "2", "0"]


def test_a_connection_that_did_not_last_does_not_begin_a_new_round() -> None:
    made = nodes(2)
    assert [made.failed(0.0, 0.0, True), made.failed(0.0, 0.0, True), made.url] == [-1.0, 0.0, "0"]
    made.lasted()
    assert made.failed(0.0, 0.0, True) == -1.0


def test_a_node_that_asks_for_time_is_left_alone_until_then() -> None:
    made = nodes(2)
    assert [made.failed(1.0, 5.0, True), made.failed(1.0, 0.0, True), made.url] == [-1.0, 0.0, "1"]
    assert [made.failed(5.0, 0.0, True), made.url] == [0.0, "1"]
    assert [made.failed(5.0, 9.0, True), made.url] == [1.0, "0"], "the sooner of the two"


def test_only_a_round_of_final_refusals_ends_the_client() -> None:
    def last(*may_pass: bool) -> float | None:
        made = nodes(3)
        return [made.failed(0.0, 0.0, one) for one in may_pass][-1]

    assert last(False, False) == -1.0
    assert last(False, False, False) is None
    assert last(False, True, False) == 0.0
    assert last(False, True, False, False, False, False) is None


def test_a_url_that_is_named_twice_counts_once() -> None:
    client = tickwire.connect("ws://a", "ws://b/", "ws://a/v1/ws").client
    assert client._machine.urls == ("ws://a/v1/ws", "ws://b/v1/ws")


def test_a_url_among_several_that_is_none_is_named() -> None:
    with pytest.raises(ConfigError, match="http://b"):
        tickwire.connect("ws://a", "http://b")
    with pytest.raises(ConfigError, match=r"^the URL of b has") as error:
        tickwire.connect("ws://a", "ws://u:secret@b")
    assert "secret" not in str(error.value)


def test_clients_that_were_refused_together_do_not_come_back_together() -> None:
    busy = tickwire.ConnectError("ws://a", "503", status=503, retry_after_s=10.0)
    dues: list[float | None] = []
    for fraction in (0.0, 0.5, 1.0):
        client = machine("ws://a", keep_trying=True, backoff=Backoff(4.0, 4.0))
        client._random = itertools.repeat(fraction).__next__
        client.start(0.0)
        client.dial_failed(busy, 0.0)
        dues.append(client.wake_at(0.0))
    assert dues == [10.0, 12.0, 14.0]


def test_a_client_that_reads_nothing_for_a_while_does_not_blame_the_broker() -> None:
    client = machine("ws://a")
    client.start(0.0)
    client.opened(0.0)
    client.received(WELCOME, moment(0.0))
    client.pause(True, 1.0)
    assert client.wake_at(1.0) is None
    client.tick(moment(1_000.0))
    assert client.is_open
    client.pause(False, 1_000.0)
    assert client.wake_at(1_000.0) == 1_035.0
    client.tick(moment(1_035.0))
    assert not client.is_open


def test_a_publication_with_a_key_is_sent_again_and_one_without_is_not() -> None:
    client = machine("ws://a")
    client.start(0.0)
    client.opened(0.0)
    client.received(WELCOME, moment(0.0))
    keyed, bare = client.core.publish("chat.a", 1, key="x"), client.core.publish("chat.a", 2)
    client.flush(moment(0.0))
    client.take()
    client.lost(tickwire.Loss("broke"), 1.0)
    answered = [action.ticket for action in client.take() if isinstance(action, Answered)]
    assert answered == [bare]
    client.tick(moment(20.0))
    client.opened(20.0)
    client.received(WELCOME, moment(20.0))
    sent = [action.message for action in client.take() if isinstance(action, Send)]
    assert [getattr(message, "key", None) for message in sent] == ["x"]
    client.received(
        f'{{"op":"ack","id":{keyed},"results":[{{"topic":"chat.a","epoch":"k","seq":1,"duplicate":true}}]}}',
        moment(20.0),
    )
    outcome = next(action.outcome for action in client.take() if isinstance(action, Answered))
    assert isinstance(outcome, tickwire.Result)
    assert outcome.duplicate


def test_a_token_that_expired_on_the_way_is_asked_for_again() -> None:
    refusal = tickwire.ConnectError("ws://a", "401", retryable=False, status=401)
    client = machine("ws://a", asks_token=True, backoff=Backoff(0.0, 0.0))
    client.start(0.0)
    client.opened(0.0)
    client.received(WELCOME, moment(0.0))
    for _ in range(2):  # tokens that are accepted forgive those before them
        client.lost(tickwire.Loss("closed", 4003), 0.0)
        for _ in range(2):
            client.tick(moment(0.0))
            client.dial_failed(refusal, 0.0)
            assert not client.is_stopped
        client.tick(moment(0.0))
        client.opened(0.0)
        client.received(WELCOME, moment(0.0))
    client.lost(tickwire.Loss("closed", 4003), 0.0)
    for _ in range(3):
        client.tick(moment(0.0))
        client.dial_failed(refusal, 0.0)
    assert client.is_stopped


def test_a_broker_whose_books_never_fit_does_not_fill_the_queue() -> None:
    client = machine("ws://a")
    client.core.checker.books.verify(Pattern("book.>"))
    client.start(0.0)
    client.opened(0.0)
    client.received(WELCOME.replace('"ops_per_s":50', '"ops_per_s":1'), moment(0.0))
    client.core.subscribe([TopicRequest("book.A")], Wanted())
    client.flush(moment(0.0))
    client.received('{"op":"ack","id":1,"results":[{"topic":"book.A","epoch":"k","seq":9}]}', moment(0.0))
    wrong = data("1x1", "2x1", 7)
    for seq in range(9, 500):
        snapshot = {"op": "snapshot", "topic": "book.A", "epoch": "k", "seq": seq, "ts": 1, "data": wrong}
        client.received(json.dumps(snapshot), moment(0.0))
    resyncs = [action for action in client.take() if isinstance(action, Send) and isinstance(action.message, Resync)]
    assert len(resyncs) + len(client.core._outgoing) == 1


def test_a_publication_that_the_next_broker_does_not_take_does_not_end_the_client() -> None:
    client = machine("ws://a")
    client.start(0.0)
    client.opened(0.0)
    client.received(WELCOME, moment(0.0))
    ticket = client.core.publish("chat.a", "x" * 2_000, key="x")
    client.flush(moment(0.0))
    client.take()
    client.lost(tickwire.Loss("broke"), 1.0)
    client.tick(moment(20.0))
    client.opened(20.0)
    client.received(WELCOME.replace("65536", "1024"), moment(20.0))
    actions = client.take()
    assert not [action for action in actions if isinstance(action, Send)]
    answered = next(action for action in actions if isinstance(action, Answered))
    assert answered.ticket == ticket
    assert isinstance(answered.outcome, tickwire.TooLarge)


def test_positions_do_not_go_backward() -> None:
    positions = Positions()
    for seq in (5, 6, 4):
        positions.note(Update("a", "k", seq, 0, None))
    assert positions["a"] == Position("k", 6)
    positions.note(Update("a", "z", 1, 0, None))
    assert positions["a"] == Position("z", 1)


TRADE = {"symbol": "A", "id": 7, "price": "61837.63", "size": "0.5", "side": "buy", "time": 1_723_118_400_000_000}


def batch() -> Batch:
    other = {**TRADE, "price": "61838", "id": 8}
    return Batch(
        [
            Update("trade.A", "k", 1, 1_723_118_400_000_000, TRADE),
            Gap("trade.A", "k", 2, 4, "slow"),
            Update("trade.A", "k", 5, 1_723_118_401_000_000, other),
            tickwire.Synced(("trade.A",)),
        ]
    )


def test_a_batch_is_a_table_with_its_gaps() -> None:
    table = batch().to_arrow()
    assert table.column_names[:7] == ["topic", "op", "epoch", "seq", "ts", "to_seq", "reason"]
    rows = table.to_pylist()
    assert [row["op"] for row in rows] == ["update", "gap", "update"]
    assert [row["price"] for row in rows] == [Decimal("61837.63"), None, Decimal("61838.00")]
    assert [row["to_seq"] for row in rows] == [None, 4, None]
    assert rows[0]["time"].year == 2024
    floats = batch().to_arrow(numbers="float").column("price").to_pylist()
    assert floats == [61837.63, None, 61838.0]


def test_a_batch_is_a_polars_and_a_pandas_frame() -> None:
    assert batch().to_polars()["size"].to_list() == [Decimal("0.5"), None, Decimal("0.5")]
    frame = batch().to_pandas(numbers="float")
    assert frame["price"].max() == 61838.0
    assert isinstance(batch()[1:], SameBatch)


def test_data_of_other_shapes_keeps_a_column() -> None:
    events = [
        Update("chat.a", "k", 1, 0, "hello"),
        Update("chat.a", "k", 2, 0, {"text": "x", "seq": 9, "tags": [1, Decimal("0.1")]}),
    ]
    rows = Batch(events).to_arrow().to_pylist()
    assert rows[0]["data"] == "hello"
    assert (rows[1]["text"], rows[1]["data.seq"], rows[1]["tags"]) == ("x", 9, "[1,0.1]")
    assert Batch([]).to_arrow().num_rows == 0


def test_market_data_is_read_as_types() -> None:
    assert Trade.of(TRADE).price == Decimal("61837.63")
    bbo = {"symbol": "A", "bid": "1", "bid_size": "2", "ask": "3", "ask_size": "4", "time": 5}
    assert Bbo.of(bbo).ask == 3
    for kind in (Trade, Bbo, Ticker, Candle):
        for wrong in ({}, 7, {**TRADE, "price": 1}, {**TRADE, "side": "up"}):
            with pytest.raises(ValueError, match=r"has|not"):
                kind.of(wrong)
