"""Faults that tests plant into the client, to see that the conformance cases catch them. No program can reach them."""

from __future__ import annotations

import pytest

from tickwire import Event, Gap, Position
from tickwire.core import Core
from tickwire.promise.books import Books
from tickwire.promise.track import Track


def resume_from_wrong_seq(patch: pytest.MonkeyPatch) -> None:
    """The client resumes from the number before the last one."""
    right = Track.position

    def wrong(track: Track) -> Position | None:
        at = right(track)
        return None if at is None else Position(at.epoch, max(at.seq - 1, 0))

    patch.setattr(Track, "position", wrong)


def gap_swallowed(patch: pytest.MonkeyPatch) -> None:
    """The client does not report a gap."""
    right = Core._report

    def wrong(core: Core, event: Event) -> None:
        if not isinstance(event, Gap):
            right(core, event)

    patch.setattr(Core, "_report", wrong)


def stale_book(patch: pytest.MonkeyPatch) -> None:
    """The client goes on with a book after a gap."""

    def wrong(books: Books, topic: str) -> None:
        pass

    patch.setattr(Books, "awaits_snapshot", wrong)


FAULTS = {fault.__name__: fault for fault in (resume_from_wrong_seq, gap_swallowed, stale_book)}
