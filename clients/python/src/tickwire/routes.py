"""Which subscriptions get an event."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import cast

from .events import Event, LostSubscription, Recovered, Synced, TopicEvent, Violation
from .feed import Feed

TOPICLESS = (Synced, Recovered, LostSubscription, Violation)
"""Events that are about a request or a pattern, or about nothing that is subscribed."""


class Routes:
    """The subscriptions that the broker has granted and that have not ended."""

    def __init__(self) -> None:
        self._active: list[Feed] = []
        self._names: Counter[str] = Counter()
        """How many subscriptions want a name. The broker has each name once."""
        self._by_topic: dict[str, tuple[Feed, ...]] = {}

    def __contains__(self, feed: Feed) -> bool:
        return feed in self._active

    def __iter__(self) -> Iterator[Feed]:
        return iter(tuple(self._active))

    @property
    def are_blocked(self) -> bool:
        """Whether a subscription wants that nothing more is read."""
        return any(feed.blocks for feed in self._active)

    def add(self, feed: Feed) -> None:
        """Adds a subscription that was granted."""
        self._active.append(feed)
        self._by_topic.clear()
        if feed.wanted.mode != "snapshot":
            self._names.update(feed.granted)

    def remove(self, feed: Feed) -> list[str]:
        """Removes a subscription. Returns the names that no other one wants."""
        if feed not in self._active:
            return []
        self._active.remove(feed)
        self._by_topic.clear()
        if feed.wanted.mode == "snapshot":
            return []  # it has ended for the broker by itself
        self._names.subtract(feed.granted)
        gone = [name for name in feed.names if name in feed.granted and self._names[name] <= 0]
        self._names = +self._names
        return gone

    def want(self, name: str) -> bool:
        """Whether a subscription wants `name`."""
        return self._names[name] > 0

    def lose(self, name: str) -> None:
        """The broker has no subscription of `name` any more. Subscriptions that have no other name end."""
        for feed in self:
            if feed.wanted.mode != "snapshot" and feed.lose(name) and not feed.granted:
                self._active.remove(feed)
        self._names.pop(name, None)
        self._by_topic.clear()

    def clear(self) -> None:
        """Removes all."""
        self._active.clear()
        self._names.clear()
        self._by_topic.clear()

    def deliver(self, event: Event, is_conflated: Callable[[str], bool]) -> Iterator[Feed]:
        """Gives an event to the subscriptions that it is for. Gives those whose programs are too far behind: they have
        ended, and are to be removed."""
        if isinstance(event, TOPICLESS):
            for feed in self:
                if feed.concerns(event):
                    feed.put(event, False)
                    if feed.has_overrun:
                        yield feed
            if isinstance(event, LostSubscription):
                self.lose(event.topic)
            return
        topic = getattr(event, "topic", None)
        if topic is None:
            return
        route = self._by_topic.get(topic)
        if route is None:
            route = self._by_topic[topic] = tuple(feed for feed in self._active if feed.covers(topic))
        for feed in route:
            feed.put(cast("TopicEvent", event), feed.is_behind and is_conflated(topic))
            if feed.has_overrun:
                yield feed
