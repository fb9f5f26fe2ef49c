"""What the client needs of a connection, and a WebSocket that gives it.

Reading stops when the client takes no messages: websockets then stops reading the socket, and TCP stops the broker.
"""

from __future__ import annotations

import json
import logging
import ssl as tls
from collections.abc import Mapping
from typing import Any, Protocol, cast
from urllib.parse import urlsplit, urlunsplit

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as connect_websocket
from websockets.exceptions import (
    ConnectionClosed,
    InvalidHandshake,
    InvalidMessage,
    InvalidStatus,
    InvalidURI,
    WebSocketException,
)
from websockets.typing import Subprotocol

from ._version import __version__
from .errors import ConfigError, ConnectError
from .events import Loss
from .machine import Send

DEFAULT_PATH = "/v1/ws"
USER_AGENT = f"tickwire-python/{__version__}"
CLOSE_TIMEOUT_S = 1.0
TOKEN_BYTES_MAX = 64 * 1024

log = logging.getLogger("tickwire")


class LinkEnded(Exception):
    """The connection has ended."""

    def __init__(self, loss: Loss) -> None:
        super().__init__(str(loss))
        self.loss = loss


class Link(Protocol):
    """A connection to a broker."""

    sse: bool
    """Whether it is a stream of server-sent events."""

    async def send(self, request: Send) -> None:
        """Sends a request. Whether it fails shows in `receive`."""
        ...

    async def receive(self) -> str | bytes:
        """The next message. Raises `LinkEnded`."""
        ...

    async def close(self, code: int) -> None:
        """Ends the connection."""
        ...

    def abort(self) -> None:
        """Ends the connection at once, without a word."""
        ...


def endpoint(url: str) -> str:
    """Checks a broker's URL and completes it: without a path it means `/v1/ws`. Raises `ConfigError`."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise ConfigError(f"{url!r} is no URL: {error}; write ws://HOST:PORT{DEFAULT_PATH}") from None
    if parts.scheme not in ("ws", "wss"):
        raise ConfigError(f"{url!r}: scheme {parts.scheme!r} is not supported: write ws:// or wss://")
    if not host:
        raise ConfigError(f"{url!r} names no host; write ws://HOST:PORT{DEFAULT_PATH}")
    if parts.username is not None or parts.password is not None:
        raise ConfigError(f"the URL of {host} has credentials, which are not supported: give a token")
    path = DEFAULT_PATH if parts.path in ("", "/") else parts.path
    return urlunsplit((parts.scheme, parts.netloc, path, parts.query, ""))


def headers_of(headers: Mapping[str, str], token: str | None) -> dict[str, str]:
    """The headers of a request, with the one that shows the token (RFC 6750, section 2.1). Raises `ConfigError`."""
    if token is None:
        return dict(headers)
    if not token or len(token) > TOKEN_BYTES_MAX or not all("!" <= character <= "~" for character in token):
        raise ConfigError("the token is no token: it must be one line of ASCII characters without blanks")
    return {**headers, "Authorization": f"Bearer {token}"}


def refused(url: str, status: int, retry_after: str | None, body: bytes | bytearray | None) -> ConnectError:
    """What an HTTP answer with this status means."""
    text, is_brokers = _reason(bytes(body or b""))
    after = retry_after or ""
    return ConnectError(
        url,
        f"it refused the connection with HTTP status {status}" + (f": {text}" if text else ""),
        retryable=status in (408, 429) or 500 <= status <= 599,
        status=status,
        retry_after_s=float(after) if after.isascii() and after.isdigit() else None,
        # A refusal without the broker's own words is that of something on the way.
        blocked="no" if is_brokers or status in (401, 408, 429, 503) else "yes",
    )


def _reason(body: bytes) -> tuple[str, bool]:
    """The reason in the body of a refusal, on one line, and whether it is the broker's."""
    try:
        answer: Any = json.loads(body)
        error = cast(dict[str, Any], answer["error"])
        return f"{error['code']}: {error['reason']}", True
    except (ValueError, TypeError, KeyError, RecursionError):
        text = body[:400].decode("utf-8", "replace")
        return "".join(character if character.isprintable() else " " for character in text).strip(), False


class _Connect(connect_websocket):
    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc  # a token must not go where another server points


class WebSocketLink:
    """A connection over WebSocket."""

    sse = False

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket

    @classmethod
    async def dial(
        cls,
        url: str,
        subprotocol: str,
        headers: Mapping[str, str],
        message_bytes_max: int,
        ssl: tls.SSLContext | None,
    ) -> WebSocketLink:
        """Connects and does the handshake. Raises `ConnectError`. It has no deadline of its own."""
        options: dict[str, Any] = {} if ssl is None else {"ssl": ssl}
        try:
            socket = await _Connect(
                url,
                subprotocols=[Subprotocol(subprotocol)],
                additional_headers=dict(headers),
                user_agent_header=USER_AGENT,
                open_timeout=None,
                ping_interval=None,  # the broker pings, and its heartbeats show that it lives
                close_timeout=CLOSE_TIMEOUT_S,
                max_size=message_bytes_max,
                **options,
            )
        except InvalidStatus as error:
            response = error.response
            raise refused(url, response.status_code, response.headers.get("Retry-After"), response.body) from error
        except InvalidURI as error:
            raise ConnectError(url, str(error), retryable=False) from error
        except InvalidMessage as error:
            dropped = isinstance(error.__cause__, EOFError)
            reason = "it ended the connection during the handshake" if dropped else f"its answer is no HTTP: {error}"
            raise ConnectError(url, reason, retryable=dropped, blocked="perhaps" if dropped else "yes") from error
        except InvalidHandshake as error:
            raise ConnectError(url, f"no WebSocket handshake: {error}", retryable=False, blocked="yes") from error
        except tls.SSLError as error:
            raise ConnectError(url, f"no TLS: {error}") from error
        except (OSError, EOFError, WebSocketException) as error:
            raise ConnectError(url, f"cannot reach it: {error}") from error
        if socket.subprotocol != subprotocol:
            await socket.close(1002)
            raise ConnectError(
                url, f"it chose subprotocol {socket.subprotocol!r} and not {subprotocol}", retryable=False
            )
        return cls(socket)

    async def send(self, request: Send) -> None:
        try:
            await self._socket.send(request.frame)
        except ConnectionClosed:
            log.debug("a request met a connection that had ended")

    async def receive(self) -> str | bytes:
        try:
            return await self._socket.recv()
        except ConnectionClosed as closed:
            raise LinkEnded(_loss_of(closed)) from None

    async def close(self, code: int) -> None:
        await self._socket.close(code)

    def abort(self) -> None:
        self._socket.transport.abort()


def _loss_of(closed: ConnectionClosed) -> Loss:
    if closed.rcvd is not None and (closed.sent is None or closed.rcvd_then_sent is not False):
        code = closed.rcvd.code
        return Loss("closed", None if code == 1005 else code, closed.rcvd.reason)
    if closed.sent is not None:
        # This end closed by itself, since it could not read what came.
        return Loss("protocol", reason=closed.sent.reason or str(closed))
    return Loss("broke", reason=str(closed.__cause__ or "it ended without a close frame"))
