"""Which subscriptions get an event."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import cast

from .events import Event, LostSubscription, Recovered, Synced, TopicEvent, Violation
from .subscription import Subscription

TOPICLESS = (Synced, Recovered, LostSubscription, Violation)
"""Events that are about a request or a pattern, or about nothing that is subscribed."""


class Routes:
    """The subscriptions that the broker has granted and that have not ended."""

    def __init__(self) -> None:
        self._active: list[Subscription] = []
        self._names: Counter[str] = Counter()
        """How many subscriptions want a name. The broker has each name once."""
        self._by_topic: dict[str, tuple[Subscription, ...]] = {}

    def __contains__(self, subscription: Subscription) -> bool:
        return subscription in self._active

    def __iter__(self) -> Iterator[Subscription]:
        return iter(tuple(self._active))

    @property
    def are_blocked(self) -> bool:
        """Whether a subscription wants that nothing more is read."""
        return any(subscription._blocks for subscription in self._active)

    def add(self, subscription: Subscription) -> None:
        """Adds a subscription that was granted."""
        self._active.append(subscription)
        self._by_topic.clear()
        if subscription.wanted.mode != "snapshot":
            self._names.update(subscription._granted)

    def remove(self, subscription: Subscription) -> list[str]:
        """Removes a subscription. Returns the names that no other one wants."""
        if subscription not in self._active:
            return []
        self._active.remove(subscription)
        self._by_topic.clear()
        if subscription.wanted.mode == "snapshot":
            return []  # it has ended for the broker by itself
        self._names.subtract(subscription._granted)
        gone = [name for name in subscription.names if name in subscription._granted and self._names[name] <= 0]
        self._names = +self._names
        return gone

    def want(self, name: str) -> bool:
        """Whether a subscription wants `name`."""
        return self._names[name] > 0

    def lose(self, name: str) -> None:
        """The broker has no subscription of `name` any more. Subscriptions that have no other name end."""
        for subscription in self:
            if subscription.wanted.mode != "snapshot" and subscription._lose(name) and not subscription._granted:
                self._active.remove(subscription)
        self._names.pop(name, None)
        self._by_topic.clear()

    def clear(self) -> None:
        """Removes all."""
        self._active.clear()
        self._names.clear()
        self._by_topic.clear()

    def deliver(self, event: Event, is_conflated: Callable[[str], bool]) -> None:
        """Gives an event to the subscriptions that it is for."""
        if isinstance(event, TOPICLESS):
            for subscription in self:
                if subscription._concerns(event):
                    subscription._put(event, False)
            if isinstance(event, LostSubscription):
                self.lose(event.topic)
            return
        topic = getattr(event, "topic", None)
        if topic is None:
            return
        route = self._by_topic.get(topic)
        if route is None:
            route = self._by_topic[topic] = tuple(sub for sub in self._active if sub._covers(topic))
        for subscription in route:
            conflated = subscription._is_behind and is_conflated(topic)
            subscription._put(cast("TopicEvent", event), conflated)
