"""Positions in topics that outlive the program: where to resume after a restart."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from .events import End, Gap, Joined, Snapshot, TopicEvent, Update
from .wire import SEQ_MAX, Position


class Positions(dict[str, Position]):
    """The last position of each topic, by its name.

    >>> Positions.from_json('{"k3v9": {"trade.A": 57}}')
    {'trade.A': Position(epoch='k3v9', seq=57)}
    """

    def note(self, event: TopicEvent) -> None:
        """Takes the position that `event` tells, if it tells one."""
        match event:
            case (
                Update(topic=topic, epoch=str(epoch), seq=seq)
                | Snapshot(topic=topic, epoch=str(epoch), seq=seq)
                | Joined(topic=topic, epoch=epoch, seq=seq)
            ):
                self._reach(topic, epoch, seq)
            case Gap(topic=topic, epoch=epoch, to_seq=seq):
                self._reach(topic, epoch, seq)
            case End(topic=topic):
                self.pop(topic, None)
            case _:
                pass

    def _reach(self, topic: str, epoch: str, seq: int) -> None:
        known = self.get(topic)
        if known is None or known.epoch != epoch or known.seq < seq:
            self[topic] = Position(epoch, seq)

    def to_json(self) -> str:
        """The positions as JSON: numbers by topic, by epoch."""
        lineages: dict[str, dict[str, int]] = {}
        for topic, at in self.items():
            lineages.setdefault(at.epoch, {})[topic] = at.seq
        return json.dumps(lineages, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Positions:
        """The positions in `text`, as `to_json` wrote it. Raises `ValueError` if it holds anything else."""
        positions = cls()
        lineages: Any = json.loads(text)
        if not isinstance(lineages, dict):
            raise ValueError("positions are an object: numbers by topic, by epoch")
        for epoch, numbers in cast(dict[str, Any], lineages).items():
            if not isinstance(numbers, dict):
                raise ValueError(f"the positions of epoch {epoch!r} are not an object")
            for topic, seq in cast(dict[str, Any], numbers).items():
                if type(seq) is not int or not 0 <= seq <= SEQ_MAX:
                    raise ValueError(f"the position of {topic!r} is {seq!r}, not an integer from 0 to {SEQ_MAX}")
                positions[topic] = Position(epoch, seq)
        return positions

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the positions to the file `path`, wholly or not at all."""
        target = Path(path)
        part = target.with_name(f"{target.name}.{os.getpid()}.part")
        part.write_text(self.to_json(), "utf-8")
        part.replace(target)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Positions:
        """The positions in the file `path`; none if there is no such file. Raises `ValueError` if it holds anything
        else."""
        try:
            return cls.from_json(Path(path).read_text("utf-8"))
        except FileNotFoundError:
            return cls()


def positions_of(since: Mapping[str, Position] | None) -> dict[str, Position]:
    """A copy of the positions that the user gave."""
    return dict(since or {})
