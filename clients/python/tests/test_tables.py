"""Tables of batches with data of any publisher."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from tickwire import Batch, Live, Position, Stale, Unresumed, Update


def batch(*data: Any) -> Batch:
    return Batch(Update("chat.a", "k", number, 0, one) for number, one in enumerate(data, 1))


def column(name: str, *data: Any, numbers: Any = "decimal") -> tuple[str, list[Any]]:
    made = batch(*data).to_arrow(numbers).column(name)
    return str(made.type), made.to_pylist()


@pytest.mark.parametrize("text", ["Smith", "", "NaN", "Infinity", "1e5", "1_000", " 1", "٣"])
def test_a_field_with_the_name_of_a_price_may_hold_any_text(text: str) -> None:
    assert column("open", {"open": text}, {"open": "1.5"}) == ("string", [text, "1.5"])


def test_integers_and_decimals_stay_exact_together() -> None:
    kind, values = column("n", {"n": Decimal("0.1")}, {"n": 7}, {})
    assert kind.startswith("decimal128")
    assert values == [Decimal("0.1"), Decimal("7.0"), None]


def test_integers_of_any_size_have_a_column() -> None:
    assert column("n", {"n": 2**64 - 1}, {"n": 0}) == ("uint64", [2**64 - 1, 0])
    kind, values = column("n", {"n": 2**63}, {"n": -1})
    assert kind.startswith("decimal128")
    assert values == [2**63, -1]
    assert column("n", {"n": 10**90}) == ("string", [str(10**90)])
    assert column("time", {"time": 2**63}) == ("uint64", [2**63])


def test_a_column_that_needs_many_digits_is_not_rounded() -> None:
    tall, small = "9" * 28, "0." + "0" * 27 + "1"
    kind, values = column("price", {"price": tall}, {"price": small})
    assert kind.startswith("decimal256")
    assert values == [Decimal(tall), Decimal(small)]
    frame = batch({"price": tall}, {"price": small}).to_polars()
    assert frame["price"].to_list() == [tall, small]
    assert list(batch({"price": tall}, {"price": small}).to_pandas()["price"]) == [Decimal(tall), Decimal(small)]
    assert column("price", {"price": tall}, numbers="float")[0] == "double"


def test_fields_whose_names_collide_all_have_columns() -> None:
    table = batch({"seq": 1, "data.seq": 2, "data.data.seq": 3}).to_arrow()
    assert table.column_names[-3:] == ["data.seq", "data.data.seq", "data.data.data.seq"]
    assert [table.column(name).to_pylist() for name in table.column_names[-3:]] == [[1], [2], [3]]
    table = batch({"data.seq": 2, "seq": 1}).to_arrow()
    assert [table.column(name).to_pylist() for name in table.column_names[-2:]] == [[2], [1]]


def test_values_of_several_kinds_are_text() -> None:
    kind, values = column(
        "n", {"n": 1}, {"n": "x"}, {"n": True}, {"n": None}, {"n": [Decimal("0.10")]}, {"n": {"a": 1}}
    )
    assert (kind, values) == ("string", ["1", '"x"', "true", None, "[0.10]", '{"a":1}'])
    assert column("n", {"n": None}) == ("null", [None])
    assert column("n", {"n": True}, {"n": None}) == ("bool", [True, None])
    assert column("n", {"n": 0.5}, {"n": 1}) == ("double", [0.5, 1.0])


def test_what_could_not_be_resumed_is_a_row() -> None:
    table = Batch([Unresumed("trade.A", Position("k", 4), 9), Stale("book.A", "hole"), Live("book.A")]).to_arrow()
    rows = table.select(["topic", "op", "epoch", "seq", "to_seq", "reason"]).to_pylist()
    assert [tuple(row.values()) for row in rows] == [
        ("trade.A", "unresumed", "k", 4, 9, None),
        ("book.A", "stale", None, None, None, "hole"),
        ("book.A", "live", None, None, None, None),
    ]


def test_a_batch_of_every_kind_of_topic_is_a_table() -> None:
    mixed = Batch(
        [
            Update("trade.A", "k", 1, 1, {"price": "1.5", "size": "2", "id": 7, "time": 5}),
            Update("book.A", "k", 1, 1, {"bids": [["1", "2"]], "asks": [], "checksum": 4_000_000_000, "time": 6}),
            Update("chat.a", "k", 1, 1, "hello"),
            Update("chat.a", "k", 2, 1, None),
            Update("candle.1m.A", "k", 1, 1, {"open": "1", "closed": False}),
        ]
    )
    table = mixed.to_arrow()
    assert table.num_rows == mixed.to_polars().height == len(mixed.to_pandas()) == 5
    assert table.column("price").type == pa.decimal128(38, 1)
    assert table.column("closed").to_pylist() == [None, None, None, None, False]
