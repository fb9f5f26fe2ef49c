"""The list of subscriptions, from which a new connection restores what the old one had.

Pure. A topic resumes from its last position, a pattern from those of all topics that it brought. Positions that do not
fit in one message with their pattern go ahead of it, in as many messages as needed. The subscription that asks for more
of a topic goes first, so that it is the one that resumes the topic.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from .topics import Pattern, TopicError
from .wire import Limits, Position, TopicRequest, Wanted

REQUEST_BYTES = 256
"""Bytes of a request besides its topics."""
TOPIC_BYTES = 80
"""Bytes of a topic with a position, besides the names of topic and epoch."""
POSITION_BYTES = 28
"""Bytes of one position of a pattern, besides the name of its topic."""
LINEAGE_BYTES = 32
"""Bytes of the positions of one lineage, besides the name of its epoch."""

Start: TypeAlias = Position | Literal["anew", "flows"]
"""How a topic that is subscribed by its own name goes on: from its last position, as a new subscription, or not at all,
because a pattern brings it already."""
Seqs: TypeAlias = dict[str, dict[str, int]]
"""Numbers by topic, by epoch."""


@dataclass(frozen=True, slots=True)
class Request:
    """A subscribe without its id."""

    wanted: Wanted
    topics: list[TopicRequest]


@dataclass(frozen=True, slots=True)
class Ahead:
    """Positions from which the topics of the next request's patterns resume."""

    seqs: Seqs


Step: TypeAlias = Request | Ahead


class Ledger:
    """The subscriptions of a client."""

    def __init__(self) -> None:
        self._topics: dict[str, Wanted] = {}
        self._patterns: dict[str, tuple[Pattern, Wanted]] = {}

    def add(self, name: str, wanted: Wanted) -> None:
        """Adds `name`, a topic or pattern that was acked."""
        if wanted.mode == "snapshot":
            return
        try:
            pattern = Pattern(name)
        except TopicError:
            self._topics[name] = wanted
            return
        if pattern.is_wildcard:
            self._patterns[name] = (pattern, wanted)
        else:
            self._topics[name] = wanted

    def remove(self, name: str) -> None:
        """Removes `name`."""
        self._topics.pop(name, None)
        self._patterns.pop(name, None)

    def wants(self, name: str) -> bool:
        """Whether `name` is subscribed, as a topic or as a pattern."""
        return name in self._topics or name in self._patterns

    def covers(self, topic: str) -> bool:
        """Whether a subscription covers `topic`: by its own name or by a pattern."""
        return topic in self._topics or any(pattern.matches(topic) for pattern, _ in self._patterns.values())

    def restore(
        self,
        only: Collection[str] | None,
        left: dict[str, Position],
        start: Callable[[str], Start],
        limits: Limits,
    ) -> list[Step]:
        """The requests that restore the subscriptions on a new connection, in the order in which to send them. With
        `only`, they restore just these.

        `left` holds the positions of topics that patterns brought. `start` says how a topic that is subscribed by its
        own name goes on.
        """
        # Names with the same options go in one request. Within a rank, topics go before patterns.
        groups: dict[tuple[bool, Wanted], list[str]] = {}
        for name, wanted in sorted(self._topics.items()):
            if only is None or name in only:
                groups.setdefault((False, wanted), []).append(name)
        for name, (_, wanted) in sorted(self._patterns.items()):
            if only is None or name in only:
                groups.setdefault((True, wanted), []).append(name)
        left = dict(left)
        flowing: set[str] = set()
        steps: list[Step] = []
        for (is_pattern, wanted), names in sorted(groups.items(), key=_order):
            if is_pattern:
                steps += self._resume_patterns(wanted, names, left, flowing, limits)
                continue
            flow: list[TopicRequest] = []
            others: list[TopicRequest] = []
            for name in names:
                left.pop(name, None)
                at = start(name)
                if at == "flows" or name in flowing:
                    flow.append(TopicRequest(name))
                elif isinstance(at, Position):
                    others.append(TopicRequest(name, since=at))
                else:
                    others.append(TopicRequest(name))
            steps += split(wanted, others, limits)
            # A topic that flows already needs no snapshot.
            steps += split(replace(wanted, snapshot=False), flow, limits)
        return steps

    def _resume_patterns(
        self, wanted: Wanted, names: Sequence[str], left: dict[str, Position], flowing: set[str], limits: Limits
    ) -> list[Step]:
        """The steps that resume patterns with the same options."""
        steps: list[Step] = []
        for request in split(wanted, [TopicRequest(name) for name in names], limits):
            topics: list[TopicRequest] = []
            for entry in request.topics:
                pattern, _ = self._patterns[entry.topic]
                brought = {topic: at for topic, at in left.items() if pattern.matches(topic)}
                for topic in brought:
                    del left[topic]
                flowing.update(brought)
                topics.append(TopicRequest(entry.topic, seqs=by_lineage(brought)) if brought else entry)
            topics, ahead = send_ahead(topics, limits)
            steps += [Ahead(seqs) for seqs in ahead]
            steps.append(Request(request.wanted, topics))
        return steps


def _order(group: tuple[tuple[bool, Wanted], list[str]]) -> tuple[tuple[int, int], bool, bool]:
    (is_pattern, wanted), _ = group
    return wanted.rank, is_pattern, not wanted.snapshot


def by_lineage(positions: dict[str, Position]) -> Seqs:
    """Groups positions by epoch, in the order of their names."""
    lineages: Seqs = {}
    for topic, at in sorted(positions.items()):
        lineages.setdefault(at.epoch, {})[topic] = at.seq
    return {epoch: lineages[epoch] for epoch in sorted(lineages)}


def send_ahead(topics: Iterable[TopicRequest], limits: Limits) -> tuple[list[TopicRequest], list[Seqs]]:
    """Takes the positions of patterns out of `topics` if they do not all fit in one message. Returns the entries, and
    the positions to send ahead, one element for each message."""
    entries = list(topics)
    room = max(limits.message_bytes - REQUEST_BYTES, 0)
    if sum(_topic_bytes(entry) for entry in entries) <= room:
        return entries, []
    messages: list[Seqs] = []
    used = 0
    for index, entry in enumerate(entries):
        if entry.seqs is None:
            continue
        entries[index] = TopicRequest(entry.topic)
        for epoch, numbers in entry.seqs.items():
            for topic, seq in numbers.items():
                more = _size(topic) + POSITION_BYTES
                last = messages[-1] if messages else None
                if last is None or epoch not in last:
                    more += LINEAGE_BYTES + _size(epoch)
                if last is None or used + more > room:
                    more = _size(topic) + POSITION_BYTES + LINEAGE_BYTES + _size(epoch)
                    last, used = {}, 0
                    messages.append(last)
                used += more
                last.setdefault(epoch, {})[topic] = seq
    return entries, messages


def _size(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


def _topic_bytes(entry: TopicRequest) -> int:
    """The most bytes that an entry takes in a message."""
    size = _size(entry.topic) + TOPIC_BYTES
    if entry.since is not None:
        size += _size(entry.since.epoch)
    for epoch, numbers in (entry.seqs or {}).items():
        size += LINEAGE_BYTES + _size(epoch) + sum(_size(topic) + POSITION_BYTES for topic in numbers)
    return size


def split(wanted: Wanted, topics: Iterable[TopicRequest], limits: Limits) -> list[Request]:
    """Divides `topics` into requests within the broker's limit."""
    room = max(limits.message_bytes - REQUEST_BYTES, 0)
    requests: list[Request] = []
    used = 0
    for entry in topics:
        more = _topic_bytes(entry)
        used += more
        if requests and used <= room:
            requests[-1].topics.append(entry)
        else:
            requests.append(Request(wanted, [entry]))
            used = more
    return requests
