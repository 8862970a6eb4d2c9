"""One Engine.IO session: its transport, its liveness, and what it carries for the layer above.

    polling --probe, upgrade--> websocket
       \\----------- close -----------/--> closed

A session begins over either transport. Whatever goes wrong with what a client sent closes it (docs/decisions/0004).
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

from aiohttp import web
from engineio import exceptions, packet, payload

from contract.closing import NORMAL, TOO_SLOW
from ops.metrics import ENGINE
from realtime.inbox import Inbox, Step
from realtime.packets import CLOSING, PING, Outgoing
from realtime.polling import PollingLink
from realtime.websocket import Switched, WebSocketLink, accept_key, take_over

if TYPE_CHECKING:
    from realtime.rooms import Member
    from realtime.transport import EngineServer

log = logging.getLogger("parley.engine")

PROBED = Outgoing(b"3probe")
UPGRADE_TIMEOUT_S = 10.0
_NONE: frozenset[str] = frozenset()


class Session:
    """`owner` belongs to the application; `members`: namespace → membership; `admitted`: it was let into one once.

    `refused_again`: namespaces that it was in until it sent a second CONNECT, which was refused.
    """

    __slots__ = (
        "admitted", "closed", "half", "heard_at", "inbox", "link", "members", "owner", "pinged_at", "refused_again",
        "server", "sid", "upgrade", "upgraded", "upgrading",
    )  # fmt: skip

    connected = True  # python-engineio asks; ours exist only once they are

    def __init__(self, server: EngineServer, sid: str) -> None:
        self.server = server
        self.sid = sid
        self.link: WebSocketLink | PollingLink
        self.members: dict[str, Member] = {}
        self.owner: Any = None
        self.refused_again: frozenset[str] = _NONE
        self.inbox: Inbox | None = None
        self.upgrade: Upgrade | None = None  # the WebSocket that asks to take over
        self.half: Any = None  # a binary packet whose attachments are still to come
        self.admitted = self.closed = self.upgraded = self.upgrading = False
        self.heard_at = time.monotonic()
        self.pinged_at = 0.0
        server.wheel.after(server.ping_interval, self._tick)
        server.wheel.after(server.connect_timeout_s, self._must_be_admitted)

    # What arrives

    def frame_received(self, data: str | bytes) -> None:
        """A WebSocket message: an Engine.IO packet."""
        if isinstance(data, bytes):
            self.receive(data)
        elif data.startswith("4"):
            self.receive(data[1:])
        elif data.startswith("3"):
            self._pong()
        elif data == "1":
            self.close(self.server.reason.CLIENT_DISCONNECT)
        else:
            self.malformed(f"an Engine.IO packet {data[:20]!r}")

    def receive(self, data: str | bytes) -> None:
        """An Engine.IO message: handled at once if nothing is before it and it needs no waiting."""
        if self.closed:
            return
        if self.inbox is not None:
            self.inbox.add(data)
            return
        packet = self.decode(data)
        if packet is not None:
            step = self.run(packet)
            if step is not None:
                self.inbox = Inbox(self, step)

    def decode(self, data: str | bytes) -> Any:
        """None: it was only a part, or it was malformed and this session has ended."""
        try:
            return self.server.above.decode(self, data)
        except Exception as error:  # whatever a parser may raise at hostile bytes, the answer is the same
            self.malformed(error)
            return None

    def overlaps(self, packet: Any) -> bool:
        return self.server.above.overlaps(self, packet)

    def run(self, packet: Any) -> Step:
        if self.closed:
            return None
        try:
            return self.server.above.run(self, packet)
        except ValueError as error:
            self.malformed(error)
            return None

    def malformed(self, why: object) -> None:
        log.info("closing %s: malformed: %s", self.sid, why)
        self.close(self.server.reason.TRANSPORT_ERROR)

    # Ends

    def close(self, reason: str, code: int = NORMAL) -> None:
        """Ends the session and all its namespaces; the client is told, behind whatever waits to be written."""
        if self.closed:
            return
        self._end(reason)
        if reason != self.server.reason.CLIENT_DISCONNECT:
            self.link.send(CLOSING)
        self.link.close(code)
        if isinstance(self.link, PollingLink) and not self.link.polled and reason in self._told_later:
            self.server.leave_last_words(self.sid, self.link.take())

    @property
    def _told_later(self) -> tuple[str, str]:
        return self.server.reason.CLIENT_DISCONNECT, self.server.reason.SERVER_DISCONNECT

    def transport_lost(self) -> None:
        if not self.closed:
            self._end(self.server.reason.TRANSPORT_CLOSE)

    def transport_failed(self) -> None:
        if not self.closed:
            self._end(self.server.reason.TRANSPORT_ERROR)

    def too_slow(self) -> None:
        log.warning("closing %s: it does not read what it is sent", self.sid)
        self.close(self.server.reason.TRANSPORT_ERROR, TOO_SLOW)

    def _end(self, reason: str) -> None:
        self.closed = True
        self.server.sockets.pop(self.sid, None)
        if self.inbox is not None:
            self.inbox.discard()
        upgrade, self.upgrade = self.upgrade, None
        if upgrade is not None:
            upgrade.abandon()
        ENGINE.ended[reason] += 1
        self.server.above.ended(self)

    # Liveness

    @property
    def overdue(self) -> bool:
        """The client was not heard of for longer than it may, though the wheel has not come to it yet."""
        return bool(time.monotonic() >= self.heard_at + self.server.ping_interval + self.server.ping_timeout)

    def _tick(self) -> None:
        """Pings, or notices that the last ping was not answered in time."""
        if self.closed:
            return
        at, server = time.monotonic(), self.server
        if self.pinged_at:
            self.close(server.reason.PING_TIMEOUT)
        elif (left_s := self.heard_at + server.ping_interval - at) > server.wheel.tick_s:
            server.wheel.after(left_s, self._tick)
        else:
            self.pinged_at = at
            self.link.send(PING)
            server.wheel.after(server.ping_timeout, self._tick)

    def _pong(self) -> None:
        self.pinged_at = 0.0
        self.heard_at = time.monotonic()

    def _must_be_admitted(self) -> None:
        if not self.admitted:
            self.close(self.server.reason.SERVER_DISCONNECT)

    # Flow control of what arrives

    def pause_reading(self) -> None:
        self.link.pause_reading()

    def resume_reading(self) -> None:
        self.link.resume_reading()

    # HTTP, as python-engineio's server calls it

    async def handle_get_request(self, environ: dict[str, Any]) -> Any:
        """A poll, or the beginning of an upgrade."""
        request: web.Request = environ["aiohttp.request"]
        if "HTTP_UPGRADE" in environ:
            accept = accept_key(request)
            if accept is None:
                return self.server.bad_request("Invalid websocket upgrade")
            if self.upgrade is not None:
                self.upgrade.abandon()
            self.upgrade = Upgrade(self)
            take_over(request, accept, self.upgrade.link)
            return Switched()
        assert isinstance(self.link, PollingLink)
        try:
            return await self.link.poll(request)
        except exceptions.EngineIOError:
            self.close(self.server.reason.TRANSPORT_ERROR)
            raise

    async def handle_post_request(self, request: web.Request) -> None:
        """Raises EngineIOError for what ends the session."""
        if (request.content_length or 0) > self.server.max_http_buffer_size:
            raise exceptions.ContentTooLongError
        try:
            packets = payload.Payload(encoded_payload=(await request.read()).decode()).packets
            if any(pkt.packet_type > packet.NOOP for pkt in packets):
                raise ValueError("an unknown packet type")
        except web.HTTPRequestEntityTooLarge:
            raise exceptions.ContentTooLongError from None
        except (ValueError, TypeError, IndexError) as error:
            log.info("closing %s: malformed payload: %s", self.sid, error)
            raise exceptions.EngineIOError(str(error)) from error
        for pkt in packets:
            self._packet(pkt)
        if self.inbox is not None:
            await self.inbox.room()

    def _packet(self, pkt: Any) -> None:
        if pkt.packet_type == packet.MESSAGE:
            self.receive(pkt.data)
        elif pkt.packet_type == packet.PONG:
            self._pong()
        elif pkt.packet_type == packet.CLOSE:
            self.close(self.server.reason.CLIENT_DISCONNECT)
        else:
            self.malformed(f"an Engine.IO packet of type {pkt.packet_type}")


class Upgrade:
    """A WebSocket that asks to replace the polling of a session: probe, then upgrade, or nothing happens."""

    __slots__ = ("_probed", "_session", "link")

    def __init__(self, session: Session) -> None:
        self._session = session
        self._probed = False
        self.link = session.server.make_link(self, session.link.offsets)
        session.server.wheel.after(UPGRADE_TIMEOUT_S, self.abandon)

    def frame_received(self, data: str | bytes) -> None:
        session, polling = self._session, self._session.link
        if session.closed or session.upgraded or not isinstance(polling, PollingLink):
            self.link.close()
        elif data == "2probe" and not self._probed and not session.upgrading:
            self._probed = session.upgrading = True
            self.link.send(PROBED)
            polling.hold()
        elif data == "5" and self._probed:
            session.upgraded, session.upgrading, session.upgrade = True, False, None
            polling.gather()
            self.link.listener = session
            session.link = self.link
            for waiting in polling.packets:
                self.link.send(waiting)
            polling.discard()
            polling.close()
        else:
            self._give_up()
            self.link.close()

    def transport_lost(self) -> None:
        self._give_up()

    def transport_failed(self) -> None:
        self._give_up()

    def too_slow(self) -> None:
        self._give_up()
        self.link.close()

    def abandon(self) -> None:
        """It takes too long, another one came, or the session has ended."""
        if self._session.link is not self.link:
            self._give_up()
            self.link.close()

    def _give_up(self) -> None:
        if self._probed and self._session.upgrading:
            self._session.upgrading = False
            if isinstance(self._session.link, PollingLink):
                self._session.link.release()
