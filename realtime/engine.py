"""The Socket.IO server: packets become calls of namespaces, and their answers acknowledgements.

python-socketio's server with its packet layer kept strictly (docs/decisions/0004) and made lean (0010): the common
packet, an event on a namespace, is taken apart here; all others go through python-socketio's parser. A namespace is an
object with the methods of `Namespace`.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Coroutine, Sequence
from typing import Any

import msgspec
import socketio
from socketio import packet as sio_packet

from contract.errors import ParleyError, invalid
from contract.reading import TOO_DEEP, Unreadable
from contract.registry import RESERVED_EVENTS
from ops.logs import new_request_id
from ops.metrics import ENGINE, RECOVERY
from realtime import packets
from realtime.codec import Dropped, Json, Packet, read_event
from realtime.history import RETURN_S, History
from realtime.inbox import Overlapping, Step
from realtime.namespace import ConnectRefused, Incoming, Namespace, Reply
from realtime.recovery import Claim, Recovery
from realtime.rooms import Member
from realtime.session import Session
from realtime.transport import EngineServer, OriginCheck

MESSAGE_BYTES_MAX = 262_144
PING_INTERVAL_S = 25
PING_TIMEOUT_S = 20
# Attachments that a namespace does not take are counted and dropped, and their command is refused.
ATTACHMENTS_COUNTED_MAX = 1_000
EVENT = sio_packet.EVENT
_REPLIES = (msgspec.Struct, list)


class SocketServer(socketio.AsyncServer):  # type: ignore[misc]
    """`connect_timeout_s`: how long a connection may stay without a namespace."""

    eio: EngineServer
    namespace_handlers: dict[str, Any]  # of `Namespace`s

    def __init__(
        self, client_manager: Any, connect_timeout_s: float, origins: Sequence[str], trusted_proxies: int = 0
    ) -> None:
        check = OriginCheck(origins, trusted_proxies)
        # Below errors they log every event with the ids of sessions; their own handler would bypass ours.
        quiet = logging.getLogger("parley.socketio")
        quiet.setLevel(logging.ERROR)
        super().__init__(
            async_mode="aiohttp", client_manager=client_manager, json=Json, logger=quiet, engineio_logger=quiet,
            ping_interval=PING_INTERVAL_S, ping_timeout=PING_TIMEOUT_S, max_http_buffer_size=MESSAGE_BYTES_MAX,
            cors_allowed_origins=check, namespaces=[],
        )  # fmt: skip
        self.packet_class = Packet
        self.eio.above = self
        self.eio.connect_timeout_s = connect_timeout_s
        self.eio.allows, self.eio.trusted_proxies = check.allows, trusted_proxies
        self.manager.flusher = self.eio.flusher
        history = self.manager.history = History(secrets.token_hex(3) + "-")
        self.recovery = Recovery(
            self.manager, history, lambda member: member.session.close(self.reason.TRANSPORT_CLOSE)
        )
        ENGINE.backlog = self.eio.backlog

    def _engineio_server_class(self) -> type[EngineServer]:
        return EngineServer

    def mount(self, namespace: Namespace) -> None:
        self.namespace_handlers[namespace.name] = namespace

    async def stop(self) -> None:
        self.close_all()
        self.eio.wheel.stop()

    def close_all(self) -> None:
        """Ends every session; each client is told and reconnects elsewhere."""
        for session in list(self.eio.sockets.values()):
            session.close(self.reason.SERVER_DISCONNECT)

    # What sessions ask, see realtime.transport.Above

    def decode(self, session: Session, data: str | bytes) -> Incoming | None:
        if session.half is not None:
            return self._attach(session, data)
        if not isinstance(data, str):
            raise ValueError("an attachment nobody announced")
        if data[:2] == "2/":
            comma = data.index(",")
            namespace = data[1:comma]
            bracket = data.index("[", comma)
            number = data[comma + 1 : bracket]
            if "?" not in namespace and len(number) < 16 and (not number or (number.isdecimal() and number.isascii())):
                event = _checked(read_event(data[bracket:]))
                return Incoming(EVENT, namespace, int(number) if number else None, event)
        return self._parse(session, data)

    def overlaps(self, session: Session, packet: Incoming) -> bool:
        space = self.namespace_handlers.get(packet.namespace)
        return packet.kind == EVENT and space is not None and space.overlaps(packet.data[0])

    def run(self, session: Session, packet: Incoming) -> Step:
        if packet.kind == sio_packet.CONNECT:
            return self._connect(session, packet.namespace, packet.data)
        member = session.members.get(packet.namespace)
        if member is None:
            if packet.namespace not in session.refused_again:
                raise ValueError("a packet before CONNECT")
            if packet.kind == EVENT:
                _refuse_event(session, packet)
            elif packet.kind == sio_packet.DISCONNECT:  # the official client says so though it was refused
                session.refused_again = session.refused_again - {packet.namespace}
            return None
        if packet.kind == sio_packet.DISCONNECT:
            self._leave(member, may_return=False)
            session.left()
            return None
        if packet.kind != EVENT:
            return None  # acknowledgements of our events are never asked for, so there is nothing to do with one
        outcome = member.handler.receive(member, packet)
        if isinstance(outcome, _REPLIES):
            acknowledge(member, packet.number, outcome)
            return None
        if isinstance(outcome, Overlapping):
            return Overlapping(self._answer_later(member, packet.number, outcome.work, outcome.placed), outcome.placed)
        return self._answer_later(member, packet.number, outcome)

    def ended(self, session: Session) -> None:
        for member in list(session.members.values()):
            self._leave(member)

    # Packets

    def _parse(self, session: Session, data: str) -> Incoming | None:
        """Raises ValueError for what the JavaScript server's decoder refuses."""
        pkt = self.packet_class(encoded_packet=data)
        namespace = (pkt.namespace or "/").partition("?")[0]
        if pkt.packet_type == sio_packet.CONNECT:
            if not isinstance(pkt.data, dict | Unreadable | None):
                raise ValueError("CONNECT takes an object")
            return Incoming(pkt.packet_type, namespace, None, pkt.data)
        if pkt.packet_type > sio_packet.BINARY_ACK:
            raise ValueError("an unknown packet type")
        if pkt.packet_type == sio_packet.CONNECT_ERROR:
            raise ValueError("CONNECT_ERROR from a client")
        if pkt.packet_type >= sio_packet.BINARY_EVENT and not 0 < pkt.attachment_count <= ATTACHMENTS_COUNTED_MAX:
            raise ValueError("a binary packet with no or too many attachments")
        if pkt.packet_type == sio_packet.DISCONNECT:
            if pkt.data is not None:
                raise ValueError("DISCONNECT takes nothing")
        elif pkt.packet_type in (EVENT, sio_packet.BINARY_EVENT):
            pkt.data = _checked(pkt.data)
        elif not isinstance(pkt.data, list | Unreadable):
            raise ValueError("an acknowledgement takes an array")
        if pkt.packet_type >= sio_packet.BINARY_EVENT:
            if namespace not in session.members and namespace not in session.refused_again:
                raise ValueError("a packet before CONNECT")
            taken = self.namespace_handlers[namespace].attachments_max
            session.half = pkt if pkt.attachment_count <= taken else Dropped(pkt, taken)
            return None
        return Incoming(pkt.packet_type, namespace, pkt.id, pkt.data)

    @staticmethod
    def _attach(session: Session, data: str | bytes) -> Incoming | None:
        """One more attachment of a binary packet; the packet, if that was the last."""
        if not isinstance(data, bytes):
            raise ValueError("text where an attachment was announced")
        pkt = session.half
        name = pkt.data[0] if pkt.data else None
        try:
            if not pkt.add_attachment(data):
                return None
            event = pkt.data
        except ValueError as error:  # a user's own object may look like a placeholder
            event = [name, Unreadable("payload", str(error))]
        except RecursionError:
            event = [name, Unreadable("payload", TOO_DEEP)]
        session.half = None
        kind = EVENT if pkt.packet_type == sio_packet.BINARY_EVENT else sio_packet.ACK
        return Incoming(kind, (pkt.namespace or "/").partition("?")[0], pkt.id, event)

    # Namespaces

    async def _connect(self, session: Session, name: str, auth: Any) -> None:
        if session.closed:
            return
        space = self.namespace_handlers.get(name)
        if space is None:  # in the words of the protocol, which every client knows
            _refuse_connect(session, name, {"message": "Invalid namespace"})
            return
        if (older := session.members.get(name)) is not None:
            # The client has given the older one up and waits for this answer, whatever it will be.
            self._leave(older, may_return=False)
            session.refused_again = session.refused_again | {name}  # unless it is let in below
        if isinstance(auth, Unreadable):
            error = invalid(f"auth.{auth.field}", auth.reason)
            _refuse_connect(session, name, {"message": error.message, "data": error.body(new_request_id())})
            return
        member = Member(self.eio.generate_id(), session, space)
        self.manager.admit(member)
        recovers = space.recovers and session.link.offsets
        claim = self.recovery.claim(name, auth) if recovers else None
        try:
            await space.connect(member, auth, claim)
            await self.manager.reach(member)
            if claim is not None:
                await claim.finish(member)
            self._welcome(member, claim)
        except ConnectRefused as refused:
            self.manager.remove(member)
            if not session.closed:
                session.link.send(packets.refused(name, refused.reason))
            session.left()
        finally:
            if claim is not None:
                claim.close(member)

    def _welcome(self, member: Member, claim: Claim | None) -> None:
        session, name = member.session, member.handler.name
        member.connected = True
        if session.closed:  # it ended while its log-in was checked
            self._leave(member)
            return
        session.admit()
        if name in session.refused_again:
            session.refused_again = session.refused_again - {name}
        missed = claim.welcome(member) if claim is not None else None
        if missed is None and member.handler.recovers and session.link.offsets:
            since = claim.unseen_since if claim is not None else None
            self.recovery.joined(member, since, anew=claim is not None and claim.parted is not None)
        session.link.send(packets.connected(name, member.sid, self.recovery.pid_of(member)))
        for packet in missed if missed is not None else claim.unseen if claim is not None else ():
            session.link.send(packet)
        if claim is not None:
            RECOVERY.outcomes["recovered" if missed is not None else "anew"] += 1

    def _leave(self, member: Member, may_return: bool = True) -> None:
        if member.connected:
            member.connected = False
            user_id, state = member.handler.parting(member)
            member.handler.disconnect(member)
            if self.recovery.left(member, user_id, state, may_return):
                self.eio.wheel.after(RETURN_S + 1, self.recovery.expire)

    async def _answer_later(
        self, member: Member, number: int | None, work: Coroutine[Any, Any, Reply | None],
        placed: asyncio.Future[None] | None = None,
    ) -> None:  # fmt: skip
        try:
            reply = await work
            if reply is not None:
                acknowledge(member, number, reply)
        finally:
            if placed is not None and not placed.done():
                placed.set_result(None)


def acknowledge(member: Member, number: int | None, reply: Reply) -> None:
    if number is not None and not member.session.closed:
        member.session.link.send(packets.ack(member.handler.name, number, reply))


def _refuse_connect(session: Session, namespace: str, reason: dict[str, Any]) -> None:
    session.refused()
    session.left()  # perhaps of a second CONNECT, which has ended the first
    if not session.closed:
        session.link.send(packets.refused(namespace, reason))


def _refuse_event(session: Session, packet: Incoming) -> None:
    """Its namespace was lost by a second CONNECT that was refused, which the client may not know yet."""
    session.refused()
    if packet.number is not None and not session.closed:
        error = msgspec.to_builtins(ParleyError("unauthenticated").body(new_request_id()))
        session.link.send(packets.ack(packet.namespace, packet.number, [{"ok": False, "error": error}]))


def _checked(data: Any) -> list[Any]:
    """An event, its name as text: JavaScript's client takes a number for one too."""
    if isinstance(data, list) and data:
        name = data[0]
        if isinstance(name, str) and name not in RESERVED_EVENTS:
            return data
        if isinstance(name, int | float) and not isinstance(name, bool):
            return [str(name), *data[1:]]
    raise ValueError("an event without a name, or with a reserved one")
