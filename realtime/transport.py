"""The Engine.IO server: which requests become sessions. python-engineio's own, with the transports of ours.

A WebSocket handshake takes a short way past python-engineio's translation of requests; everything else, long-polling
and every refusal, is its code.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol
from urllib.parse import parse_qs

import engineio
from aiohttp import web
from engineio import exceptions, payload

from contract.errors import ParleyError
from ops.addresses import client_ip
from ops.strangers import STRANGERS_MAX, Strangers, share_of
from realtime.clients import keeps_offsets, packets_at_most
from realtime.inbox import Step
from realtime.outbox import Flusher
from realtime.pace import MEMBER, STRANGER, Paces
from realtime.packets import opening
from realtime.polling import PollingLink
from realtime.session import Session
from realtime.websocket import NOBODY, Listener, Switched, WebSocketLink, accept_key, take_over
from realtime.wheel import TICK_S, TimerWheel

log = logging.getLogger("parley.engine")

# A documented knob of python-engineio; bytes are limited by max_http_buffer_size, so packets need not be.
payload.Payload.max_decode_packets = 10_000
LAST_WORDS_S = 1.0
LEAVING_RETRY_MS = 1_000
_OF_PAGES = {"ws": "http", "wss": "https"}  # some proxies say what a WebSocket's address begins with
_USUAL_PORTS = {"http": ":80", "https": ":443"}


class Above(Protocol):
    """The Socket.IO layer."""

    def decode(self, session: Session, data: str | bytes) -> Any:
        """The packet that is complete with this, or None. Raises anything at malformed bytes."""
        ...

    def overlaps(self, session: Session, packet: Any) -> bool: ...

    def run(self, session: Session, packet: Any) -> Step:
        """Raises ValueError for what a session may not send in its state."""
        ...

    def ended(self, session: Session) -> None: ...


class OriginCheck:
    """Browsers may connect from this server's own pages and from the listed origins.

    Its own are those of the scheme, host and port that the client asked for: as the request says, or, behind proxies,
    as the first of them was asked.
    """

    def __init__(self, origins: Sequence[str], trusted_proxies: int) -> None:
        self._origins = frozenset(origins)
        self._trusted_proxies = trusted_proxies

    def allows(self, request: web.BaseRequest) -> bool:
        origin = request.headers.get("Origin")
        if origin is None or "*" in self._origins or origin in self._origins:
            return True
        scheme = self._asked(request, "X-Forwarded-Proto") or request.scheme
        scheme = _OF_PAGES.get(scheme, scheme)
        host = self._asked(request, "X-Forwarded-Host") or request.headers.get("Host", "").lower()
        return bool(host) and origin == f"{scheme}://{host.removesuffix(_USUAL_PORTS.get(scheme, ':'))}"

    def _asked(self, request: web.BaseRequest, header: str) -> str:
        """A proxy may add to what is there already, of which the client may have written the left part."""
        written = ",".join(request.headers.getall(header, ())) if self._trusted_proxies else ""
        chain = [part.strip().lower() for part in written.split(",") if part.strip()]
        return chain[-min(self._trusted_proxies, len(chain))] if chain else ""

    def __call__(self, origin: str | None, environ: dict[str, Any]) -> bool:
        """As python-engineio asks."""
        return self.allows(environ["aiohttp.request"])


class EngineServer(engineio.AsyncServer):  # type: ignore[misc]
    """`above` is set by the Socket.IO server that makes this one; the rest are python-engineio's options.

    `route` names this process in the ids of its sessions, for a proxy in front (docs/decisions/0014). Once it is
    `leaving` no session begins here any more.
    """

    above: Above
    route = ""
    leaving = False
    trusted_proxies = 0
    connect_timeout_s: float
    allows: Callable[[web.BaseRequest], bool]

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, monitor_clients=False, **options)
        self.sockets: dict[str, Session] = {}
        self.flusher = Flusher()
        self.wheel = TimerWheel(min(TICK_S, self.ping_timeout / 20))
        self.strangers = Strangers(STRANGERS_MAX)
        self._paces: tuple[Paces, Paces] | None = (STRANGER, MEMBER)
        self._last_words: dict[str, list[Any]] = {}

    def pace(self, scale: float) -> None:
        """So many times what a connection may bring by default; 0: there is no limit."""
        self._paces = (STRANGER.scaled(scale), MEMBER.scaled(scale)) if scale else None

    def paces(self, known: bool) -> Paces | None:
        return self._paces and self._paces[known]

    def generate_id(self) -> str:
        made: str = super().generate_id()
        return f"{made}.{self.route}" if self.route else made

    def make_link(self, listener: Listener, offsets: bool = False) -> WebSocketLink:
        return WebSocketLink(listener, self.flusher, self.wheel, self.max_http_buffer_size, offsets)

    def backlog(self) -> tuple[int, int]:
        """(WebSockets whose peer does not read just now, bytes that wait for them)."""
        blocked = [session.link for session in self.sockets.values() if session.upgraded and session.link.blocked]
        return len(blocked), sum(link.waiting_bytes for link in blocked)

    def _log_error_once(self, message: str, message_key: str) -> None:
        """Without the message, which names the session: who knows its id can poll for the client."""
        log.debug("refused a request: %s", message_key)

    def bad_request(self, message: str) -> Any:
        return self._bad_request(message)

    def attach(self, app: web.Application, engineio_path: str = "engine.io") -> None:
        """Every method: one that the protocol does not have is refused in its way."""
        app.router.add_route("*", f"/{engineio_path.strip('/')}/", self.handle_request)

    async def handle_request(self, request: web.Request) -> web.StreamResponse:
        query = parse_qs(request.query_string)
        transport, sid = query.get("transport"), query.get("sid", [""])[0]
        if self.leaving and not sid:  # 503: a proxy goes on to another process, and clients try again by themselves
            raise ParleyError("unavailable", "This server is going away.", retry_after_ms=LEAVING_RETRY_MS)
        upgrade = request.method == "GET" and transport == ["websocket"] and "j" not in query
        accept = accept_key(request) if upgrade and "Upgrade" in request.headers else None
        if accept is not None and not sid and query.get("EIO") == ["4"] and self.allows(request):
            return self._open(request, accept)
        session = self.sockets.get(sid)
        if session is not None and session.admitted:
            self.strangers.went(request.protocol)  # while this is answered
        if accept is not None and session is not None and (session.upgraded or session.upgrading):
            return self._turn_away(request, accept)
        if request.method == "GET" and (packets := self._last_words.pop(sid, None)) is not None:
            return await self._respond(request, self._ok(packets))
        if session is not None and session.overdue:
            session.close(self.reason.PING_TIMEOUT)
        if transport is None and request.method != "OPTIONS":
            return await self._respond(request, self._bad_request("Invalid transport"))
        if request.method not in ("GET", "POST", "OPTIONS"):
            return await self._respond(request, self._bad_request("Invalid method"))
        if not self.allows(request):  # not left to python-engineio, which logs and quotes even what is not text
            origin = request.headers["Origin"].encode("utf-8", "backslashreplace").decode()
            return await self._respond(request, self._bad_request(f"{origin} is not an accepted origin."))
        if request.method == "POST" and session is not None and not session.upgraded:
            return await self._post(request, session)
        answer: web.StreamResponse = await super().handle_request(request)
        return answer

    async def _post(self, request: web.Request, session: Session) -> web.StreamResponse:
        try:
            await session.handle_post_request(request)
        except exceptions.EngineIOError:
            session.close(self.reason.TRANSPORT_ERROR)
            return await self._respond(request, self._bad_request())
        return await self._respond(request, self._ok())

    def _share_of(self, request: web.Request) -> str:
        return share_of(client_ip(request, self.trusted_proxies))

    def _open(self, request: web.Request, accept: bytes) -> web.StreamResponse:
        """A session that begins as a WebSocket."""
        self.strangers.went(request.protocol)  # it is one as a session from here on
        session = Session(self, self.generate_id(), self._share_of(request))
        link = session.link = self.make_link(session, keeps_offsets(request))
        session.upgraded = True
        self.sockets[session.sid] = session
        link.send(opening(self._handshake(session.sid, [])))  # before anything that the client has sent already
        take_over(request, accept, link)
        return Switched()

    def _turn_away(self, request: web.Request, accept: bytes) -> web.StreamResponse:
        """A second WebSocket for a session that has one: accepted, so that the client hears of it, and closed."""
        link = self.make_link(NOBODY)
        take_over(request, accept, link)
        link.close()
        return Switched()

    def leave_last_words(self, sid: str, packets: list[Any]) -> None:
        """What a polling session that has ended could not say: its client's next GET, if it comes soon, takes it."""
        self._last_words[sid] = packets
        self.wheel.after(LAST_WORDS_S, partial(self._last_words.pop, sid, None))

    async def _respond(self, request: web.Request, answer: dict[str, Any]) -> web.StreamResponse:
        environ = self._async["translate_request"](request)
        response: web.StreamResponse = await self._make_response(answer, environ)
        return response

    def _ok(self, packets: Any = None, headers: Any = None, jsonp_index: int | None = None) -> dict[str, Any]:
        """A POST is answered with `ok` in small letters."""
        answer: dict[str, Any] = super()._ok(packets, headers, jsonp_index)
        return answer if packets is not None else {**answer, "response": b"ok"}

    async def _handle_connect(self, environ: dict[str, Any], transport: str, jsonp_index: int | None = None) -> Any:
        """A session that begins by polling. A WebSocket that comes here was found wanting."""
        if transport == "websocket":
            return self._bad_request("Invalid websocket upgrade")
        request = environ["aiohttp.request"]
        session = Session(self, self.generate_id(), self._share_of(request))
        link = session.link = PollingLink(session, self.flusher, keeps_offsets(request), packets_at_most(request))
        self.sockets[session.sid] = session
        link.send(opening(self._handshake(session.sid, ["websocket"])))
        return self._ok(await link.poll(), jsonp_index=jsonp_index)

    async def disconnect(self, sid: str) -> None:
        """python-engineio's answer to a request that is malformed."""
        if (session := self.sockets.get(sid)) is not None:
            session.close(self.reason.TRANSPORT_ERROR)

    def _handshake(self, sid: str, upgrades: list[str]) -> dict[str, Any]:
        return {
            "sid": sid,
            "upgrades": upgrades,
            "pingTimeout": int(self.ping_timeout * 1000),
            "pingInterval": int(self.ping_interval * 1000),
            "maxPayload": self.max_http_buffer_size,
        }
