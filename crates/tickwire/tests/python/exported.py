"""Reads a Parquet and an Arrow file with pyarrow, polars and duckdb, and prints the rows of each as a line of JSON.

Each row is a list: topic, seq, ts in microseconds since 1970, data.
"""

import json
import sys

import duckdb
import polars
import pyarrow.feather
import pyarrow.parquet

parquet, arrow = sys.argv[1:]


def rows(columns):
    """The rows of a table of pyarrow, whose times are in UTC."""
    times = columns.column("ts").cast("int64").to_pylist()
    return list(
        zip(
            columns.column("topic").to_pylist(),
            columns.column("seq").to_pylist(),
            times,
            columns.column("data").to_pylist(),
        )
    )


def show(table):
    assert str(table.schema.field("ts").type) == "timestamp[us, tz=UTC]", table.schema
    print(json.dumps(rows(table)))


show(pyarrow.parquet.read_table(parquet))
show(pyarrow.feather.read_table(arrow))
show(polars.read_parquet(parquet).to_arrow().cast(pyarrow.parquet.read_schema(parquet)))
show(polars.read_ipc(arrow).to_arrow().cast(pyarrow.parquet.read_schema(parquet)))
found = duckdb.sql(f"SELECT topic, seq, epoch_us(ts), data FROM read_parquet('{parquet}')").fetchall()
print(json.dumps(found))
