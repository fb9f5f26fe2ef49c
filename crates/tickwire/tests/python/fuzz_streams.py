"""Fuzzes the endpoints whose answers do not end, from the specification: arguments are the document, the URL and a number of examples.

A stream is read up to its `ack` and then left. Any other answer must be as the document says, and data that the document
does not allow must be refused.
"""

import sys

import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode

document, url, examples = sys.argv[1], sys.argv[2], int(sys.argv[3])
schema = schemathesis.openapi.from_path(document)
counts = {}


def ask(case):
    request = requests.Request(**case.as_transport_kwargs(base_url=url)).prepare()
    with requests.Session() as session:
        # Without these, the request is only what schemathesis made.
        session.trust_env = False
        answer = session.send(request, stream=True, timeout=30)
        if answer.headers.get("Content-Type") == "text/event-stream":
            read = b""
            # A piece is at most a chunk, and so at most an event.
            for piece in answer.iter_content(1 << 20):
                read += piece
                if b"\nevent: ack\n" in read and read.endswith(b"\n\n"):
                    break
            else:
                raise AssertionError(f"the stream ended before its ack: {read!r}")
            answer._content = read
            answer._content_consumed = True
        answer.content
        return answer


def fuzz(path, mode, allowed):
    @settings(max_examples=examples, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(case=schema[path]["GET"].as_strategy(generation_mode=mode))
    def run(case):
        answer = ask(case)
        key = f"{path} {mode.value} {answer.status_code}"
        counts[key] = counts.get(key, 0) + 1
        assert answer.status_code in allowed, f"{answer.status_code} {answer.request.url} {answer.request.headers} {answer.text[:300]}"
        case.validate_response(
            answer,
            checks=[
                schemathesis.checks.not_a_server_error,
                schemathesis.specs.openapi.checks.status_code_conformance,
                schemathesis.specs.openapi.checks.content_type_conformance,
                schemathesis.specs.openapi.checks.response_headers_conformance,
                schemathesis.specs.openapi.checks.response_schema_conformance,
                schemathesis.specs.openapi.checks.negative_data_rejection,
            ],
        )

    run()


# The operators' listener has no streams.
if "/v1/sse" in schema.raw_schema["paths"]:
    # What the document allows may still be refused for what it says: a mode with a time that does not fit, a position of other
    # topics.
    fuzz("/v1/sse", GenerationMode.POSITIVE, {200, 400})
    fuzz("/v1/sse", GenerationMode.NEGATIVE, {200, 400})
# A request that is no handshake is told so.
fuzz("/v1/ws", GenerationMode.POSITIVE, {426})
for key, count in sorted(counts.items()):
    print(key, count)
