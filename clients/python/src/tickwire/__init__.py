"""The Python client of Tickwire: subscribe, publish, reconnect, resume, and checks of what the broker promises.

>>> import asyncio
>>> from tickwire import Gap, Update, connect
>>> async def main():
...     async with connect("ws://127.0.0.1:7400") as client, client.subscribe("trade.*") as trades:
...         async for event in trades:
...             match event:
...                 case Update(topic=topic, data=data):
...                     print(topic, data["price"], data["size"])
...                 case Gap():
...                     print(event.count, "trades are missing")

The core is a state machine without sockets and clocks (`tickwire.machine`, `tickwire.core`, `tickwire.promise`); the
client is a thin shell of asyncio around it.
"""

from . import sync
from ._version import __version__
from .batch import Batch
from .book import Book, BookError, Level, Top
from .client import Client
from .clocks import Clocks
from .connecting import Connecting, connect
from .errors import (
    BadAnswer,
    Closed,
    ConfigError,
    ConnectError,
    Disconnected,
    NoAnswer,
    Overrun,
    Refused,
    RequestError,
    SubscriptionLost,
    TickwireError,
    TooLarge,
    TooManyRequests,
)
from .events import (
    BrokerError,
    CaughtUp,
    ClientStopped,
    Connected,
    ConnectFailed,
    ConnectionLost,
    Draining,
    End,
    Event,
    Gap,
    Joined,
    Live,
    Loss,
    LostSubscription,
    Recovered,
    Snapshot,
    Stale,
    Subscribed,
    Synced,
    TopicEvent,
    Unresumed,
    Update,
    Violation,
)
from .livebook import LiveBook
from .market import Bbo, Candle, Ticker, Trade
from .pace import Backoff
from .positions import Positions
from .promise import BrokenPromise
from .recording import read_recording, record, recover_recording
from .subscription import Subscription
from .wire import Limits, Position, Refusal, Result

__all__ = [
    "Backoff",
    "BadAnswer",
    "Batch",
    "Bbo",
    "Book",
    "BookError",
    "BrokenPromise",
    "BrokerError",
    "Candle",
    "CaughtUp",
    "Client",
    "ClientStopped",
    "Clocks",
    "Closed",
    "ConfigError",
    "ConnectError",
    "ConnectFailed",
    "Connected",
    "Connecting",
    "ConnectionLost",
    "Disconnected",
    "Draining",
    "End",
    "Event",
    "Gap",
    "Joined",
    "Level",
    "Limits",
    "Live",
    "LiveBook",
    "Loss",
    "LostSubscription",
    "NoAnswer",
    "Overrun",
    "Position",
    "Positions",
    "Recovered",
    "Refusal",
    "Refused",
    "RequestError",
    "Result",
    "Snapshot",
    "Stale",
    "Subscribed",
    "Subscription",
    "SubscriptionLost",
    "Synced",
    "Ticker",
    "TickwireError",
    "TooLarge",
    "TooManyRequests",
    "Top",
    "TopicEvent",
    "Trade",
    "Unresumed",
    "Update",
    "Violation",
    "__version__",
    "connect",
    "read_recording",
    "record",
    "recover_recording",
    "sync",
]
