"""Teaches schemathesis to write NDJSON, and to compress a body where its request says so."""

import gzip
import json

import schemathesis


def coded(ctx, text):
    headers = ctx.case.headers or {}
    body = text.encode()
    return gzip.compress(body) if headers.get("Content-Encoding") == "gzip" else body


@schemathesis.serializer("application/json")
def one(ctx, value):
    return coded(ctx, json.dumps(value))


@schemathesis.serializer("application/x-ndjson")
def lines(ctx, value):
    values = value if isinstance(value, list) else [value]
    return coded(ctx, "".join(json.dumps(line) + "\n" for line in values))
