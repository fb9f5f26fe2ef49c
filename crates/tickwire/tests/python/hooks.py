"""Teaches schemathesis to write NDJSON, to compress a body where its request says so, and what a deleted topic leaves."""

import gzip
import json

import schemathesis
from schemathesis.specs.openapi.checks import use_after_free


def coded(ctx, text):
    headers = ctx.case.headers or {}
    body = text if isinstance(text, bytes) else text.encode()
    return gzip.compress(body) if headers.get("Content-Encoding") == "gzip" else body


@schemathesis.serializer("application/json")
def one(ctx, value):
    # Bytes stand for a body that is no JSON.
    return coded(ctx, value if isinstance(value, bytes) else json.dumps(value))


def unstamped(line):
    """The line without a valid time: the tests' broker gives nobody the right to set one."""
    stamp = line.get("ts") if isinstance(line, dict) else None
    if type(stamp) is int and 0 <= stamp < 2**64:
        return {name: value for name, value in line.items() if name != "ts"}
    return line


@schemathesis.serializer("application/x-ndjson")
def lines(ctx, value):
    values = value if isinstance(value, list) else [value]
    values = [unstamped(line) for line in values]
    return coded(ctx, "".join(json.dumps(line) + "\n" for line in values))


@schemathesis.check
def read_after_end(ctx, response, case):
    # A path has its methods whether or not there is a topic behind it.
    return None if case.operation.method.upper() == "OPTIONS" else use_after_free(ctx, response, case)
