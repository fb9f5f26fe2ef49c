"""Making connections: over WebSocket, or over server-sent events where WebSocket is blocked, with the newest token."""

from __future__ import annotations

import inspect
import logging
import ssl as tls
from collections.abc import Awaitable, Callable, Mapping
from typing import Literal, TypeAlias

from .errors import ConfigError, ConnectError
from .link import Link, WebSocketLink, headers_of
from .machine import Dial
from .sse import SseLink
from .tasks import TooLate, timely

log = logging.getLogger("tickwire")

TokenSource: TypeAlias = str | Callable[[], str | Awaitable[str | None] | None]
"""A token, or a function that gives the token of each handshake. The function may be asynchronous."""
Transport: TypeAlias = Literal["auto", "websocket", "sse"]

MESSAGE_BYTES_MAX = 16 * 1024 * 1024
SUSPICIONS_MAX = 3
"""Handshakes in a row that break off, after which server-sent events are tried."""
WEBSOCKET_SHARE = 0.6
"""The part of the time for the only attempt that a WebSocket handshake may take."""


class Dialler:
    """Makes the connections of one client."""

    def __init__(
        self,
        subprotocol: str,
        token_function: Callable[[], str | Awaitable[str | None] | None] | None,
        transport: Transport,
        message_bytes_max: int,
        headers: dict[str, str],
        ssl: tls.SSLContext | None,
    ) -> None:
        self._subprotocol = subprotocol
        self._token_function = token_function
        self._transport: Transport = transport
        self._message_bytes_max = message_bytes_max
        self._headers = headers
        self._ssl = ssl
        self._suspicions = 0
        """How many WebSocket handshakes have broken off in a row without a connection in between."""

    def connected(self) -> None:
        """A connection was welcomed."""
        self._suspicions = 0

    def given_up(self) -> None:
        """An attempt took too long."""
        self._suspicions += 1

    async def link_to(self, dial: Dial) -> Link:
        """Connects. Raises `ConnectError`. It has no deadline of its own."""
        try:
            token = await self._token(dial)
            headers = headers_of(self._headers, token)
        except ConfigError as error:
            raise ConnectError(dial.url, str(error), retryable=False) from error
        if self._transport == "sse":
            return await self._sse_link(dial, headers)
        if self._transport == "auto" and self._suspicions >= SUSPICIONS_MAX:
            self._suspicions = 0  # next time WebSocket is tried first again
            try:
                return await self._sse_link(dial, headers)
            except ConnectError as error:
                log.debug("server-sent events do not get through either: %s", error)
        try:
            return await self._websocket_link(dial, headers)
        except ConnectError as error:
            if error.blocked == "perhaps":
                self._suspicions += 1
            is_blocked = error.blocked == "yes" or (error.blocked == "perhaps" and dial.is_only)
            if not is_blocked or self._transport != "auto":
                raise
            try:
                link = await self._sse_link(dial, headers)
            except ConnectError:
                raise error from None
            log.warning("WebSocket is blocked (%s): the client goes on with server-sent events", error)
            return link

    async def _websocket_link(self, dial: Dial, headers: Mapping[str, str]) -> Link:
        link = WebSocketLink.dial(dial.url, self._subprotocol, headers, self._message_bytes_max, self._ssl)
        if not dial.is_only or self._transport != "auto":
            return await link
        # Something on the way may swallow the handshake. Then there must be time left for server-sent events.
        share_s = dial.timeout_s * WEBSOCKET_SHARE
        try:
            return await timely(link, share_s, WebSocketLink.abort)
        except TooLate:
            raise ConnectError(dial.url, f"no handshake within {share_s:g} s", blocked="perhaps") from None

    async def _sse_link(self, dial: Dial, headers: Mapping[str, str]) -> Link:
        return await SseLink.dial(dial.url, headers, self._message_bytes_max, self._ssl)

    async def _token(self, dial: Dial) -> str | None:
        if self._token_function is None:
            return dial.token
        try:
            token = self._token_function()
            return await token if inspect.isawaitable(token) else token
        except Exception as error:
            log.exception("the function that gives tokens failed")
            raise ConnectError(dial.url, f"the function that gives tokens failed: {error}") from error
