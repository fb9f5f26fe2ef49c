"""Topics that need every message, watched after a reconnect: do they go on where they were left?

Where the broker names what is missing, in a gap, nothing is reported here. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from . import wire
from .events import Unresumed
from .promise import LeftOff
from .wire import Position, ServerMessage


@dataclass(slots=True)
class _Left:
    """A topic that needs every message, and its position when the connection was lost."""

    last: Position
    asked: bool
    """Whether the broker is told the position. It then names what is missing in a gap, unless a snapshot replaces
    it."""


class Losses:
    """The topics whose next message will show whether they go on where they were left."""

    def __init__(self) -> None:
        self._left: dict[str, _Left] = {}

    def __bool__(self) -> bool:
        return bool(self._left)

    def watch(self, left: LeftOff, resumes: bool) -> None:
        """Watches a topic of a lost connection, if it needs every message. `resumes` says whether the broker is told
        its position, if it has one."""
        # A topic without a position was waiting for a snapshot. The broker is not told where it was left and cannot
        # name what is missing, so the topic is watched even if its mode only may be `every`.
        asked = left.position is not None and resumes
        if left.every or (left.may_be_every and not asked):
            self._left[left.topic] = _Left(left.last, asked)

    def watch_unasked(self, topic: str, last: Position) -> None:
        """Watches a topic whose position the broker did not take."""
        self._left[topic] = _Left(last, asked=False)

    def forget(self, topic: str) -> None:
        """Watches `topic` no longer: the ack of its subscription tells what became of it."""
        self._left.pop(topic, None)

    def keep(self, wanted: Callable[[str], bool]) -> None:
        """Watches only the topics that are `wanted`."""
        self._left = {topic: left for topic, left in self._left.items() if wanted(topic)}

    def goes_on(self, topic: str, epoch: str | None, now: int, ahead: int) -> Iterator[Unresumed]:
        """`topic` goes on at `now`. `ahead` is how far `now` may be above the last position without a missing
        message. Gives the event, if something is missing."""
        left = self._left.pop(topic, None)
        if left is not None and (epoch != left.last.epoch or now > left.last.seq + ahead):
            yield Unresumed(topic, left.last, now)

    def received(self, message: ServerMessage) -> Iterator[Unresumed]:
        """Gives the event, if `message` shows that a topic does not go on where it was left."""
        match message:
            case wire.SnapshotMessage(topic=topic, epoch=epoch, seq=seq):
                yield from self.goes_on(topic, epoch, seq, 1)
            case wire.UpdateMessage(topic=topic, seq=seq):
                # It belongs to the lineage where the topic was left, if the broker was told that position.
                left = self._left.get(topic)
                yield from self.goes_on(topic, left.last.epoch if left and left.asked else None, seq, 1)
            case wire.JoinedMessage(topic=topic, epoch=epoch, seq=seq):
                # If the broker was told the position, the topic was deleted and made again: nothing of it is missing
                # before its beginning.
                if not self._drop_if_asked(topic):
                    yield from self.goes_on(topic, epoch, seq, 0)
            case wire.GapMessage(topic=topic, epoch=epoch, from_seq=from_seq):
                if not self._drop_if_asked(topic):
                    yield from self.goes_on(topic, epoch, from_seq, 1)
            case _:
                pass

    def _drop_if_asked(self, topic: str) -> bool:
        left = self._left.get(topic)
        if left is None or not left.asked:
            return False
        del self._left[topic]
        return True
