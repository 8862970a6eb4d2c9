"""One Engine.IO session: its transport, its liveness, and what it carries for the layer above.

    polling --probe, upgrade--> websocket
       \\----------- close -----------/--> closed

A session begins over either transport. Whatever goes wrong with what a client sent closes it (docs/decisions/0004).
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any

from aiohttp import web
from engineio import exceptions, packet

from contract.closing import NORMAL, TOO_MUCH, TOO_SLOW
from ops import audit
from ops.metrics import ENGINE
from realtime import posting
from realtime.inbox import Inbox, Step
from realtime.naming import name_of
from realtime.pace import UNSPENT, spend
from realtime.packets import CLOSING, PING
from realtime.polling import PollingLink
from realtime.upgrade import Upgrade
from realtime.websocket import Switched, WebSocketLink, accept_key, take_over

if TYPE_CHECKING:
    from realtime.rooms import Member
    from realtime.transport import EngineServer

log = logging.getLogger("parley.engine")

STRANGER_UNREAD_MAX = 8_192
_NONE: frozenset[str] = frozenset()


class Session:
    """`owner` belongs to the application; `members`: namespace → membership.

    `admitted`: it was let into one, and has not left all of them since; `known`: it was let into one once.
    `refused_again`: namespaces that it was in until it sent a second CONNECT, which was refused.
    """

    __slots__ = (
        "_admit_by", "_refused_until", "_spent_until", "admitted", "closed", "half", "heard_at", "inbox", "known",
        "link", "members", "owner", "pinged_at", "refused_again", "server", "share", "sid", "upgrade", "upgraded",
        "upgrading",
    )  # fmt: skip

    connected = True  # python-engineio asks; ours exist only once they are

    def __init__(self, server: EngineServer, sid: str, share: str) -> None:
        self.server = server
        self.sid = sid
        self.share = share  # of the room for strangers: its address
        self.link: WebSocketLink | PollingLink
        self.members: dict[str, Member] = {}
        self.owner: Any = None
        self.refused_again: frozenset[str] = _NONE
        self.inbox: Inbox | None = None
        self.upgrade: Upgrade | None = None  # the WebSocket that asks to take over
        self.half: Any = None  # a binary packet whose attachments are still to come
        self.admitted = self.known = self.closed = self.upgraded = self.upgrading = False
        self.heard_at = time.monotonic()
        self._spent_until = self._refused_until = UNSPENT
        self._admit_by = 0.0  # by the clock of the event loop
        self.pinged_at = 0.0
        server.wheel.after(server.ping_interval, self._tick)
        self._wait_for_admission()

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

    def packet_received(self, pkt: Any) -> None:
        """One of the Engine.IO packets of a POST."""
        if pkt.packet_type == packet.MESSAGE and isinstance(pkt.data, str | bytes):
            self.receive(pkt.data)
        elif pkt.packet_type == packet.PONG:
            self._pong()
        elif pkt.packet_type == packet.CLOSE:
            self.close(self.server.reason.CLIENT_DISCONNECT)
        else:
            self.malformed(f"an Engine.IO packet of type {pkt.packet_type}")

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
        log.info("closing %s: malformed: %s", name_of(self), why)
        self.server.strangers.refusals.note(self.share)
        self.close(self.server.reason.TRANSPORT_ERROR)

    # What it may bring

    def admit(self) -> None:
        """A namespace has let it in: from now on it may bring what a member may."""
        if not self.admitted:
            self.admitted = True
            self.server.strangers.went(self)
        if not self.known:
            self.known = True
            self._spent_until = self._refused_until = UNSPENT

    def left(self) -> None:
        """It has left a namespace. After the last it has as long as at its beginning to enter one."""
        if self.admitted and not self.members and not self.closed:
            self.admitted = False
            self._wait_for_admission()

    def _wait_for_admission(self) -> None:
        self._admit_by = asyncio.get_running_loop().time() + self.server.connect_timeout_s
        self.server.wheel.after(self.server.connect_timeout_s, self._must_be_admitted)
        self.server.strangers.came(self, self._make_room, self.share)

    def spend(self, cost: float) -> float:
        """What arrived costs so much (`realtime.pace`). Seconds for which nothing more is read."""
        if (paces := self.server.paces(self.known)) is None:
            return 0.0
        at = time.monotonic()
        self._spent_until = spend(self._spent_until, cost, paces.packets, at)
        return max(0.0, self._spent_until - at)

    def behind(self, unread: int) -> None:
        """So many bytes of it wait here, because it has overdrawn or has not sent the rest: few before a log-in."""
        if unread > STRANGER_UNREAD_MAX and not self.known and not self.closed and self.server.paces(False) is not None:
            self._block("too much before a log-in", at_once=True)  # it is not read from any more

    def refused(self) -> None:
        """Something was refused for the client's own fault. Too many of these close the session."""
        paces = self.server.paces(self.known)
        if paces is None or self.closed:
            return
        if not self.known:
            self.server.strangers.refusals.note(self.share)
        at = time.monotonic()
        self._refused_until = spend(self._refused_until, 1, paces.refusals, at)
        if self._refused_until > at:
            self._block("it went on asking for what it was refused")

    def _block(self, why: str, at_once: bool = False) -> None:
        audit.record("connection_blocked", reason=why, address=self.share or None)
        self.server.strangers.refusals.note(self.share)
        self.close(self.server.reason.SERVER_DISCONNECT, TOO_MUCH, at_once)

    # Ends

    def close(self, reason: str, code: int = NORMAL, at_once: bool = False) -> None:
        """Ends the session and all its namespaces; the client is told, behind whatever waits to be written.
        `at_once`: its answer is not waited for."""
        if self.closed:
            return
        self._end(reason)
        if reason != self.server.reason.CLIENT_DISCONNECT:
            self.link.send(CLOSING)
        if isinstance(self.link, WebSocketLink):
            crowded = not self.known and self.server.strangers.crowded
            self.link.close(code, at_once=at_once or crowded)
        else:
            self.link.close()
        told_later = reason in (self.server.reason.CLIENT_DISCONNECT, self.server.reason.SERVER_DISCONNECT)
        if told_later and isinstance(self.link, PollingLink) and not self.link.polled:
            self.server.leave_last_words(self.sid, self.link.take())

    def transport_lost(self) -> None:
        if not self.closed:
            self._end(self.server.reason.TRANSPORT_CLOSE)

    def transport_failed(self) -> None:
        if not self.closed:
            self._end(self.server.reason.TRANSPORT_ERROR)

    def too_slow(self) -> None:
        log.warning("closing %s: it does not read what it is sent", name_of(self))
        self.close(self.server.reason.TRANSPORT_ERROR, TOO_SLOW)

    def _end(self, reason: str) -> None:
        self.closed = True
        self.server.sockets.pop(self.sid, None)
        self.server.strangers.went(self)
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

    def _make_room(self) -> None:
        """Its file is needed for others, at once."""
        self.close(self.server.reason.SERVER_DISCONNECT)
        if isinstance(self.link, WebSocketLink):
            self.link.abort()

    def _must_be_admitted(self) -> None:
        if not self.admitted and asyncio.get_running_loop().time() >= self._admit_by:
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
        await posting.receive(self, request)
