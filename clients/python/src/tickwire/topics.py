"""Topics and the patterns that select them: the rules of NATS subjects, with tokens of ``[A-Za-z0-9_-]+``.

A `Pattern` is always valid: there is no way to make one that is not. Never reads a clock or a socket.
"""

from __future__ import annotations

import re
from collections.abc import Callable

TOPIC_BYTES_MAX = 255
TOPIC_TOKENS_MAX = 16

_TOKEN = re.compile(r"[A-Za-z0-9_-]+")


class TopicError(ValueError):
    """A text is neither a topic nor a pattern. The message names the place."""


class Pattern:
    """A topic, or a topic with ``*`` (exactly one token) and a final ``>`` (one or more tokens).

    >>> Pattern("candle.*.BTC-USD").matches("candle.1m.BTC-USD")
    True
    """

    __slots__ = ("_match", "is_wildcard", "text")

    text: str
    is_wildcard: bool

    def __init__(self, text: str) -> None:
        """Checks `text`.

        Raises `TopicError` if it is not a pattern.
        """
        self.text = text
        self.is_wildcard = _validate(text)
        self._match: Callable[[str], object] | None = _compile(text) if self.is_wildcard else None

    def matches(self, topic: str) -> bool:
        """Whether the pattern matches `topic`."""
        if self._match is None:
            return self.text == topic
        return self._match(topic) is not None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Pattern) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __repr__(self) -> str:
        return f"Pattern({self.text!r})"


def _validate(text: str) -> bool:
    """Checks `text` by the rules of patterns. Returns whether it has a wildcard."""
    if not text:
        raise TopicError("topic is empty")
    if len(text.encode("utf-8", "surrogatepass")) > TOPIC_BYTES_MAX:
        raise TopicError(f"topic is longer than {TOPIC_BYTES_MAX} bytes")
    tokens = text.split(".")
    wildcard = False
    start = 0
    for number, token in enumerate(tokens):
        if not token:
            raise TopicError(f"empty token at byte {start}")
        if token in ("*", ">"):
            if token == ">" and number + 1 < len(tokens):
                raise TopicError(f"'>' at byte {start} must be the last token")
            wildcard = True
        elif not _TOKEN.fullmatch(token):
            if "*" in token or ">" in token:
                raise TopicError(f"the wildcard in {token!r} must be a whole token")
            raise TopicError(f"{token!r} holds a character that is not one of A-Z a-z 0-9 _ -")
        start += len(token.encode("utf-8", "surrogatepass")) + 1
    if len(tokens) > TOPIC_TOKENS_MAX:
        raise TopicError(f"topic has {len(tokens)} tokens; at most {TOPIC_TOKENS_MAX} are allowed")
    return wildcard


def _compile(text: str) -> Callable[[str], object]:
    tokens = text.split(".")
    parts = [{"*": r"[^.]+", ">": r"[^.]+(?:\.[^.]+)*"}.get(token, re.escape(token)) for token in tokens]
    return re.compile(r"\.".join(parts)).fullmatch
