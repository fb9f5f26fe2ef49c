"""The two codecs of the protocol: what the broker sends becomes a type by validation here, once.

MessagePack needs the extra `tickwire[msgpack]`, which installs msgspec: it is typed, and faster than the alternatives.
JSON needs the standard library only.

Numbers in data: with `numbers="decimal"` each number that is not an integer becomes a `Decimal`, in both codecs the
same one. Integers are `int` always.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Literal, Protocol, TypeAlias, cast

from . import wire
from .errors import BadMessage, ConfigError
from .wire import (
    Ack,
    ClientMessage,
    Drain,
    EndMessage,
    ErrorMessage,
    GapMessage,
    Heartbeat,
    JoinedMessage,
    Limits,
    Mode,
    Pong,
    Refusal,
    ReplayRange,
    Result,
    ServerMessage,
    SnapshotMessage,
    Status,
    SyncedMessage,
    Unknown,
    UpdateMessage,
    Welcome,
)

Numbers: TypeAlias = Literal["decimal", "float"]
"""What a number in data becomes that is not an integer."""
CodecName: TypeAlias = Literal["json", "msgpack"]

_U64_MAX = 2**64 - 1
_FLOAT_EXACT_MAX = 2**53
_ABSENT: Any = object()


class Codec(Protocol):
    """Turns messages into frames and back."""

    @property
    def subprotocol(self) -> str:
        """The codec's name in `Sec-WebSocket-Protocol`."""
        ...

    def decode(self, frame: str | bytes) -> ServerMessage:
        """Reads a message of the broker. Raises `BadMessage`."""
        ...

    def encode(self, message: ClientMessage) -> str | bytes:
        """Writes a request. Raises `ValueError` or `TypeError` if its data has no form in this codec."""
        ...


def codec_of(name: str, numbers: Numbers) -> Codec:
    """The codec with this name. Raises `ConfigError` if it is unknown or its extra is not installed."""
    if numbers not in ("decimal", "float"):
        raise ConfigError(f"numbers={numbers!r}: it must be 'decimal' or 'float'")
    if name == "json":
        return JsonCodec(numbers)
    if name == "msgpack":
        return MessagePackCodec(numbers)
    raise ConfigError(f"codec={name!r}: it must be 'json' or 'msgpack'")


class JsonCodec:
    """Text messages, each one JSON object."""

    subprotocol = "tickwire.v1.json"

    def __init__(self, numbers: Numbers) -> None:
        as_float = cast(Callable[[str], Any], Decimal if numbers == "decimal" else _finite_float)
        self._decode = json.JSONDecoder(parse_float=as_float, parse_constant=_no_constant).decode

    def decode(self, frame: str | bytes) -> ServerMessage:
        if not isinstance(frame, str):
            raise BadMessage("a binary message in a session of JSON")
        try:
            value = self._decode(frame)
        except (ValueError, InvalidOperation, RecursionError) as error:
            raise BadMessage(f"it is not JSON: {error}") from None
        return message_of(value)

    def encode(self, message: ClientMessage) -> str | bytes:
        return json.dumps(_fields(message), separators=(",", ":"), ensure_ascii=False, allow_nan=False)


class MessagePackCodec:
    """Binary messages, each one MessagePack value."""

    subprotocol = "tickwire.v1.msgpack"

    def __init__(self, numbers: Numbers) -> None:
        try:
            import msgspec
        except ImportError:
            raise ConfigError("codec='msgpack' needs the extra: pip install 'tickwire[msgpack]'") from None
        self._decode = msgspec.msgpack.Decoder().decode
        self._encode = msgspec.msgpack.Encoder().encode
        self._bad: tuple[type[Exception], ...] = (msgspec.DecodeError, ValueError, RecursionError, TypeError)
        self._exact = numbers == "decimal"

    def decode(self, frame: str | bytes) -> ServerMessage:
        if isinstance(frame, str):
            raise BadMessage("a text message in a session of MessagePack")
        try:
            value: Any = self._decode(frame)
            if b"\xcb" in frame or b"\xca" in frame:  # the marks of floats
                value = self._numbers(value)
        except self._bad as error:
            raise BadMessage(f"it is not MessagePack: {error}") from None
        if not isinstance(value, list):
            return message_of(value)
        match value:
            case [0, topic, seq, ts, data]:
                return UpdateMessage(_text("topic", topic), _whole("seq", seq), _whole("ts", ts), data)
            case [1, topic, epoch, seq, ts, data]:
                head = _text("topic", topic), _text("epoch", epoch), _whole("seq", seq), _whole("ts", ts)
                return SnapshotMessage(*head, data)
            case _:
                raise BadMessage("an array that is neither an update nor a snapshot")

    def _numbers(self, value: Any) -> Any:
        if isinstance(value, float):
            if not math.isfinite(value):
                raise ValueError("a number that is not finite")
            return Decimal(repr(value)) if self._exact else value
        if isinstance(value, list):
            return [self._numbers(item) for item in value]
        if isinstance(value, dict):
            return {key: self._numbers(item) for key, item in value.items()}
        return value

    def encode(self, message: ClientMessage) -> str | bytes:
        return self._encode(_fields(message))


def _finite_float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is beyond the range of a float")
    return number


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")


# Reading.


def _whole(name: str, value: Any) -> int:
    if type(value) is int:
        if 0 <= value <= _U64_MAX:
            return value
    elif isinstance(value, (float, Decimal)) and 0 <= value <= _FLOAT_EXACT_MAX and value == int(value):
        return int(value)
    raise BadMessage(f"{name} is {value!r} and not an integer from 0 to {_U64_MAX}")


def _text(name: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    raise BadMessage(f"{name} is {value!r} and not a string")


class _Fields:
    """The fields of a message, read by name."""

    __slots__ = ("_fields", "_what")

    def __init__(self, what: str, fields: Any) -> None:
        if not isinstance(fields, dict):
            raise BadMessage(f"{what} is not an object")
        self._what = what
        self._fields: dict[Any, Any] = fields

    def any(self, name: str) -> Any:
        value = self._fields.get(name, _ABSENT)
        if value is _ABSENT:
            raise BadMessage(f"{self._what} without {name}")
        return value

    def text(self, name: str) -> str:
        return _text(name, self.any(name))

    def whole(self, name: str) -> int:
        return _whole(name, self.any(name))

    def maybe_text(self, name: str) -> str | None:
        value = self._fields.get(name)
        return None if value is None else _text(name, value)

    def maybe_whole(self, name: str) -> int | None:
        value = self._fields.get(name)
        return None if value is None else _whole(name, value)

    def whole_or(self, name: str, default: int) -> int:
        return _whole(name, self._fields.get(name, default))

    def maybe_flag(self, name: str) -> bool | None:
        value = self._fields.get(name)
        if value is None or isinstance(value, bool):
            return value
        raise BadMessage(f"{name} is {value!r} and not true or false")

    def maybe(self, name: str) -> Any:
        return self._fields.get(name)


def message_of(value: object) -> ServerMessage:
    """The message whose fields are `value`. Raises `BadMessage` if it is none."""
    if isinstance(value, dict) and value.get("op") == "update" and "data" in value:
        # Nearly all messages are updates.
        head = _text("topic", value.get("topic")), _whole("seq", value.get("seq")), _whole("ts", value.get("ts"))
        return UpdateMessage(*head, value["data"])
    fields = _Fields("a message", value)
    op = fields.text("op")
    read = _READERS.get(op)
    return Unknown(op) if read is None else read(fields)


def _welcome(fields: _Fields) -> Welcome:
    limits = _Fields("limits", fields.any("limits"))
    return Welcome(
        session=fields.text("session"),
        server=fields.text("server"),
        ts=fields.whole("ts"),
        heartbeat_ms=fields.whole("heartbeat_ms"),
        limits=Limits(
            subscriptions=limits.whole("subscriptions"),
            message_bytes=limits.whole("message_bytes"),
            ops_per_s=limits.whole("ops_per_s"),
            ops_burst=limits.whole_or("ops_burst", 0),
            publishes_per_s=limits.whole_or("publishes_per_s", 0),
            publishes_burst=limits.whole_or("publishes_burst", 0),
        ),
    )


def _ack(fields: _Fields) -> Ack:
    results = fields.maybe("results")
    if results is None:
        results = []
    if not isinstance(results, list):
        raise BadMessage("results is not a list")
    return Ack(fields.whole("id"), [_result(_Fields("a result", result)) for result in results])


def _mode(value: str | None) -> Mode | None:
    if value is None or value in ("every", "conflate", "snapshot"):
        return cast(Mode | None, value)
    raise BadMessage(f"mode is {value!r}")


def _result(fields: _Fields) -> Result:
    error, modes, replay = fields.maybe("error"), fields.maybe("modes"), fields.maybe("replay")
    return Result(
        topic=fields.text("topic"),
        epoch=fields.maybe_text("epoch"),
        seq=fields.maybe_whole("seq"),
        mode=_mode(fields.maybe_text("mode")),
        modes=None if modes is None else _modes(modes),
        conflate_ms=fields.maybe_whole("conflate_ms"),
        matched=fields.maybe_whole("matched"),
        recovered=fields.maybe_flag("recovered"),
        replay=None if replay is None else _replay(_Fields("replay", replay)),
        not_stored=fields.maybe_whole("not_stored"),
        resumed=fields.maybe_whole("resumed"),
        not_resumed=fields.maybe_whole("not_resumed"),
        duplicate=fields.maybe_flag("duplicate") or False,
        error=None if error is None else _refusal(_Fields("error", error)),
    )


def _replay(fields: _Fields) -> ReplayRange:
    return ReplayRange(fields.whole("from_seq"), fields.whole("to_seq"))


def _modes(modes: Any) -> dict[str, str]:
    if not isinstance(modes, dict):
        raise BadMessage("modes is not an object")
    return {_text("a kind", kind): _text("a mode", mode) for kind, mode in modes.items()}


def _refusal(fields: _Fields) -> Refusal:
    return Refusal(fields.text("code"), fields.text("reason"))


_READERS: dict[str, Callable[[_Fields], ServerMessage]] = {
    "update": lambda f: UpdateMessage(f.text("topic"), f.whole("seq"), f.whole("ts"), f.any("data")),
    "snapshot": lambda f: SnapshotMessage(
        f.text("topic"), f.text("epoch"), f.whole("seq"), f.whole("ts"), f.any("data")
    ),
    "welcome": _welcome,
    "ack": _ack,
    "synced": lambda f: SyncedMessage(f.whole("id")),
    "joined": lambda f: JoinedMessage(f.text("topic"), f.text("epoch"), f.whole("seq")),
    "end": lambda f: EndMessage(f.text("topic"), f.text("epoch"), f.whole("seq"), f.text("reason")),
    "gap": lambda f: GapMessage(f.text("topic"), f.text("epoch"), f.whole("from"), f.whole("to"), f.text("reason")),
    "status": lambda f: Status(f.text("topic"), f.text("state"), f.maybe_text("reason"), f.maybe_whole("seq")),
    "heartbeat": lambda f: Heartbeat(f.whole("ts")),
    "pong": lambda f: Pong(f.maybe_whole("id"), f.whole("ts"), f.maybe_whole("received")),
    "drain": lambda f: Drain(f.whole("reconnect_after_ms"), f.whole("deadline_ms")),
    "error": lambda f: ErrorMessage(f.maybe_whole("id"), _refusal(f)),
}


# Writing.


def _fields(message: ClientMessage) -> dict[str, Any]:
    match message:
        case wire.Subscribe(id=request, topics=topics, wanted=wanted):
            fields: dict[str, Any] = {"op": "subscribe", "id": request, "topics": [_entry(topic) for topic in topics]}
            if wanted.mode is not None:
                fields["mode"] = wanted.mode
            if wanted.conflate_ms is not None:
                fields["conflate_ms"] = wanted.conflate_ms
            if not wanted.snapshot:
                fields["snapshot"] = False
            return fields
        case wire.Positions(id=request, seqs=seqs):
            return {"op": "positions", "id": request, "since": _lineages(seqs)}
        case wire.Unsubscribe(id=request, topics=names):
            return {"op": "unsubscribe", "id": request, "topics": list(names)}
        case wire.Publish():
            fields = {"op": "publish", "topic": message.topic, "data": plain(message.data)}
            for name in ("id", "key", "ts"):
                value = getattr(message, name)
                if value is not None:
                    fields[name] = value
            return fields
        case wire.Resync(id=request, topic=topic):
            return {"op": "resync", "id": request, "topic": topic}
        case wire.Auth(id=request, token=token):
            return {"op": "auth", "id": request, "token": token}
        case wire.Ping(id=request):
            return {"op": "ping"} if request is None else {"op": "ping", "id": request}


def _entry(topic: wire.TopicRequest) -> Any:
    if topic.since is not None:
        return {"topic": topic.topic, "since": {"epoch": topic.since.epoch, "seq": topic.since.seq}}
    if topic.seqs:
        return {"topic": topic.topic, "since": _lineages(topic.seqs)}
    if topic.from_moment is not None:
        entry = {"topic": topic.topic, "from": topic.from_moment}
        return entry if topic.speed is None else {**entry, "speed": topic.speed}
    return topic.topic


def _lineages(seqs: Mapping[str, Mapping[str, int]]) -> list[dict[str, Any]]:
    return [{"epoch": epoch, "seqs": dict(numbers)} for epoch, numbers in seqs.items()]


def plain(value: Any) -> Any:
    """`value` with each `Decimal` as the protocol writes numbers: a float where the float has the same digits,
    otherwise a string. So is an integer of more than 64 bits. No digit is lost, and both codecs say the same.

    Raises `TypeError` or `ValueError` for what a message cannot hold.
    """
    if value is None or isinstance(value, (str, bool)):
        return value
    if isinstance(value, int):
        return value if -(2**63) <= value <= _U64_MAX else str(value)
    if isinstance(value, Decimal):
        return _plain_decimal(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{value} cannot be published: it is not finite")
        return value
    if isinstance(value, Mapping):
        fields: dict[str, Any] = {}
        for key, item in value.items():
            if not isinstance(key, str):
                raise TypeError(f"{key!r} cannot be published: keys are strings")
            fields[key] = plain(item)
        return fields
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    raise TypeError(f"a {type(value).__name__} cannot be published")


def _plain_decimal(value: Decimal) -> float | str | int:
    if not value.is_finite():
        raise ValueError(f"{value} cannot be published: it is not finite")
    if value == value.to_integral_value() and -(2**63) <= value <= _U64_MAX:
        return int(value)
    number = float(value)
    return number if Decimal(repr(number)) == value else format(value, "f")
