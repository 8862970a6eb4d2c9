"""The Engine.IO server: which requests become sessions. python-engineio's own, with the transports of ours.

A WebSocket handshake takes a short way past python-engineio's translation of requests; everything else, long-polling
and every refusal, is its code.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol
from urllib.parse import parse_qs

import engineio
from aiohttp import web
from engineio import payload

from realtime.inbox import Step
from realtime.outbox import Flusher
from realtime.packets import opening
from realtime.polling import PollingLink
from realtime.session import Session
from realtime.websocket import Listener, Switched, WebSocketLink, accept_key, take_over
from realtime.wheel import TICK_S, TimerWheel

# A documented knob of python-engineio; bytes are limited by max_http_buffer_size, so packets need not be.
payload.Payload.max_decode_packets = 10_000


class Above(Protocol):
    """The Socket.IO layer."""

    def decode(self, session: Session, data: str | bytes) -> Any:
        """The packet that is complete with this, or None. Raises anything at malformed bytes."""
        ...

    def overlaps(self, session: Session, packet: Any) -> bool: ...

    def run(self, session: Session, packet: Any) -> Step:
        """Raises ValueError for what a session may not send in its state."""
        ...

    def ended(self, session: Session, reason: str) -> None: ...


class OriginCheck:
    """Browsers may connect from this server's own pages and from the listed origins.

    The scheme is not compared: behind a proxy that ends TLS the server does not know its own.
    """

    def __init__(self, origins: Sequence[str]) -> None:
        self._origins = frozenset(origins)

    def allows(self, origin: str | None, host: str) -> bool:
        if origin is None or "*" in self._origins or origin in self._origins:
            return True
        host = host.partition(",")[0].strip()
        return bool(host) and origin.partition("://")[2] == host

    def __call__(self, origin: str | None, environ: dict[str, Any]) -> bool:
        """As python-engineio asks."""
        return self.allows(origin, environ.get("HTTP_X_FORWARDED_HOST", environ.get("HTTP_HOST", "")))


class EngineServer(engineio.AsyncServer):  # type: ignore[misc]
    """`above` is set by the Socket.IO server that makes this one; the rest are python-engineio's options."""

    above: Above
    connect_timeout_s: float
    allows: Callable[[str | None, str], bool]

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, monitor_clients=False, **options)
        self.sockets: dict[str, Session] = {}
        self.flusher = Flusher()
        self.wheel = TimerWheel(min(TICK_S, self.ping_timeout / 4))

    def make_link(self, listener: Listener) -> WebSocketLink:
        return WebSocketLink(listener, self.flusher, self.wheel, self.max_http_buffer_size)

    def backlog(self) -> tuple[int, int]:
        """(WebSockets whose peer does not read just now, bytes that wait for them)."""
        blocked = [session.link for session in self.sockets.values() if session.upgraded and session.link.blocked]
        return len(blocked), sum(link.waiting_bytes for link in blocked)

    def bad_request(self, message: str) -> Any:
        return self._bad_request(message)

    async def handle_request(self, request: web.Request) -> web.StreamResponse:
        accept = self._short_way(request)
        if accept is None:
            answer: web.StreamResponse = await super().handle_request(request)
            return answer
        session = Session(self, self.generate_id())
        link = session.link = self.make_link(session)
        session.upgraded = True
        self.sockets[session.sid] = session
        link.send(opening(self._handshake(session.sid, [])))  # before anything that the client has sent already
        try:
            take_over(request, accept, link)
        except ConnectionResetError:
            session.transport_lost(None)
        return Switched()

    def _short_way(self, request: web.Request) -> bytes | None:
        """The accept key of a handshake that begins a session and is in order; None leaves it to python-engineio."""
        if request.method != "GET" or "Upgrade" not in request.headers:
            return None
        query = parse_qs(request.query_string)
        if query.get("transport") != ["websocket"] or query.get("EIO") != ["4"] or "sid" in query or "j" in query:
            return None
        headers = request.headers
        if not self.allows(headers.get("Origin"), headers.get("X-Forwarded-Host", headers.get("Host", ""))):
            return None
        return accept_key(request)

    async def _handle_connect(self, environ: dict[str, Any], transport: str, jsonp_index: int | None = None) -> Any:
        """A session that begins by polling. A WebSocket that comes here was found wanting."""
        if transport == "websocket":
            return self._bad_request("Invalid websocket upgrade")
        session = Session(self, self.generate_id())
        link = session.link = PollingLink(session, self.flusher)
        self.sockets[session.sid] = session
        link.send(opening(self._handshake(session.sid, ["websocket"])))
        return self._ok(await link.poll(), jsonp_index=jsonp_index)

    async def disconnect(self, sid: str) -> None:
        if (session := self.sockets.get(sid)) is not None:
            session.close(self.reason.SERVER_DISCONNECT)

    def _handshake(self, sid: str, upgrades: list[str]) -> dict[str, Any]:
        return {
            "sid": sid,
            "upgrades": upgrades,
            "pingTimeout": int(self.ping_timeout * 1000),
            "pingInterval": int(self.ping_interval * 1000),
            "maxPayload": self.max_http_buffer_size,
        }
