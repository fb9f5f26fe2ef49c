"""Making a client: `connect` and its settings."""

from __future__ import annotations

import ssl as tls
from collections.abc import Callable, Generator, Iterable, Mapping
from types import TracebackType

from .client import Client
from .codec import CodecName, Numbers, codec_of
from .dialler import MESSAGE_BYTES_MAX, Dialler, TokenSource, Transport
from .errors import ConfigError
from .events import Event
from .link import endpoint, headers_of
from .machine import Settings
from .pace import Backoff


def connect(
    *urls: str,
    token: TokenSource | None = None,
    codec: CodecName = "json",
    numbers: Numbers = "decimal",
    books: str | Iterable[str] = (),
    transport: Transport = "auto",
    keep_trying: bool = False,
    backoff: Backoff | None = None,
    connect_timeout_s: float = 5.0,
    request_timeout_s: float = 10.0,
    quiet_margin_s: float = 5.0,
    message_bytes_max: int = MESSAGE_BYTES_MAX,
    headers: Mapping[str, str] | None = None,
    ssl: tls.SSLContext | None = None,
    on_event: Callable[[Event], None] | None = None,
) -> Connecting:
    """Connects to a broker: ``async with connect("ws://127.0.0.1:7400") as client:``, or ``await connect(…)``.

    From the first welcome on the client reconnects by itself.

    :param urls: ``ws://HOST:PORT`` or ``wss://…``. Several are those of nodes of one cluster: the client
        chooses one at random, and goes on to another one at once when it loses it.
    :param token: shown at each handshake: a text, or a function that is asked each time.
    :param codec: ``"json"``, or ``"msgpack"`` with the extra ``tickwire[msgpack]``.
    :param numbers: what numbers in data become that are not integers: ``"decimal"`` or ``"float"``.
    :param books: a pattern, or several: the books of these topics are rebuilt and each checksum is verified.
    :param transport: ``"auto"`` falls back to server-sent events where WebSocket is blocked.
    :param keep_trying: whether the first connection is tried again until it succeeds.
    :param backoff: bounds of the waits between attempts to connect.
    :param connect_timeout_s: the longest time that connecting may take, up to the welcome.
    :param request_timeout_s: the longest time that a request may take, with the wait for a connection.
    :param quiet_margin_s: how long a broker may be silent beyond two heartbeats before it counts as dead.
    :param message_bytes_max: the longest message that the client takes.
    :param headers: further headers of each handshake.
    :param ssl: the TLS settings for ``wss://``. By default the system's authorities are trusted.
    :param on_event: called with each event, in order, while it happens. It must not block.

    Raises `ConfigError` when a parameter is wrong, and `ConnectError` when the first connection fails.
    """
    if not urls:
        raise ConfigError("connect needs the URL of a broker")
    if transport not in ("auto", "websocket", "sse"):
        raise ConfigError(f"transport={transport!r}: it must be 'auto', 'websocket' or 'sse'")
    static = token if isinstance(token, str) else None
    headers_of(headers or {}, static)
    settings = Settings(
        urls=tuple(dict.fromkeys(endpoint(url) for url in urls)),
        token=static,
        asks_token=callable(token),
        connect_timeout_s=connect_timeout_s,
        quiet_margin_s=quiet_margin_s,
        backoff=backoff or Backoff(),
        keep_trying=keep_trying,
    )
    made = codec_of(codec, numbers)
    dialler = Dialler(
        made.subprotocol,
        None if isinstance(token, str) else token,
        transport,
        message_bytes_max,
        dict(headers or {}),
        ssl,
    )
    client = Client(settings, made, numbers, dialler, request_timeout_s)
    for pattern in (books,) if isinstance(books, str) else books:
        client.verify_books(pattern)
    if on_event is not None:
        client.listen(on_event)
    return Connecting(client)


class Connecting:
    """A client that is about to connect: ``await`` it, or use it with ``async with``."""

    def __init__(self, client: Client) -> None:
        self.client = client
        """The client. It reports events from its first attempt on."""

    def __await__(self) -> Generator[object, None, Client]:
        return self.client._connect().__await__()

    async def __aenter__(self) -> Client:
        return await self.client._connect()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.client.close()
