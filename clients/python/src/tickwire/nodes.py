"""Which node of a cluster a client connects to next. Pure: the time and the chance are arguments.

The order is random at the beginning, so the clients of a node that dies spread over the others. One that failed moves
to the end. In a round each node is tried once, without a wait in between; then the client waits, and another round
begins. A node that asked for time is left alone until then.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(slots=True)
class _Node:
    url: str
    not_before: float = 0.0
    """When it may be tried again; 0 if it did not ask for time."""


class Nodes:
    """The nodes of a cluster, and the one that the client uses or tries. Times are seconds of a clock that is never
    corrected."""

    def __init__(self, urls: tuple[str, ...], random: Callable[[], float]) -> None:
        self._order = sorted((_Node(url) for url in urls), key=lambda _: random())
        """Those that failed last are at the end. The last `_tried` were tried in this round."""
        self._node = self._order[0]
        self._tried = 0
        self._may_pass = False
        """Whether an attempt of this round may pass when it is repeated."""

    @property
    def url(self) -> str:
        """The URL to connect to."""
        return self._node.url

    @property
    def is_last(self) -> bool:
        """Whether this round has tried each node but the current one."""
        return self._tried >= len(self._order) - 1

    def lasted(self) -> None:
        """Begins a new round: a connection lasted, or each node was tried."""
        self._tried = 0
        self._may_pass = False

    def failed(self, now: float, asked_s: float, may_pass: bool) -> float | None:
        """Goes on to the next node, as this one failed.

        :param asked_s: for how long the node is to be left alone.
        :param may_pass: whether another attempt at it may succeed.

        Returns a negative number to connect at once. Otherwise each node was tried, and the client waits: it is the
        time that the next node has asked for. `None` if no node lets this client in.
        """
        self._node.not_before = now + asked_s if asked_s else 0.0
        self._order.remove(self._node)
        self._order.append(self._node)
        self._tried += 1
        self._may_pass = self._may_pass or may_pass
        untried = self._order[: -self._tried]
        for node in untried:
            if node.not_before <= now:
                self._node = node
                return -1.0
        if not (untried or self._may_pass):
            return None
        self.lasted()
        self._node = min(self._order, key=lambda node: max(node.not_before, now))
        return max(self._node.not_before - now, 0.0)
