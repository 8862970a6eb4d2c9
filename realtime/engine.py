"""The Socket.IO server: python-socketio with the protocol kept where the stock one is lenient.

What is changed, each because a client can otherwise hang, leak or lie (docs/decisions/0004):
- malformed packets, reserved event names, events before CONNECT: the connection is closed, as in JavaScript's server;
- a client that never connects to a namespace is closed after `connect_timeout_s`;
- an unknown namespace is refused with an error object; polling POSTs are limited by bytes, not by 16 packets;
- an oversize or malformed POST gets an answer; handlers run in order per connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import socketio
from engineio import exceptions
from socketio import packet as sio_packet

from contract.errors import ParleyError
from contract.registry import RESERVED_EVENTS
from realtime.session import EngineServer

log = logging.getLogger("parley.engine")

MESSAGE_BYTES_MAX = 262_144
PING_INTERVAL_S = 25
PING_TIMEOUT_S = 20
DRAIN_RETRY_MS = 1_000


class Json:
    """The JSON module python-socketio is given: msgspec encodes the contract's structs as they are."""

    _encode = msgspec.json.Encoder().encode

    @classmethod
    def dumps(cls, value: Any, **_: Any) -> str:
        return cls._encode(value).decode()

    @staticmethod
    def loads(text: str | bytes, **_: Any) -> Any:
        try:
            return msgspec.json.decode(text)
        except msgspec.DecodeError as error:
            raise ValueError(str(error)) from None


class Packet(sio_packet.Packet):  # type: ignore[misc]
    """Placeholders must name an attachment there is: Python would take -1 for the last."""

    @classmethod
    def _reconstruct_binary_internal(cls, data: Any, attachments: list[bytes]) -> Any:
        if isinstance(data, dict) and data.get("_placeholder") is True:
            number = data.get("num")
            if type(number) is not int or not 0 <= number < len(attachments):
                raise ValueError("a placeholder of no attachment")
        return super()._reconstruct_binary_internal(data, attachments)


def origin_check(origins: Sequence[str]) -> Callable[[str | None, dict[str, Any]], bool]:
    """Browsers may connect from this server's own pages and from the listed origins.

    The scheme is not compared: behind a proxy that ends TLS the server does not know its own.
    """

    def allowed(origin: str | None, environ: dict[str, Any]) -> bool:
        if origin is None or "*" in origins or origin in origins:
            return True
        host = environ.get("HTTP_X_FORWARDED_HOST", environ.get("HTTP_HOST", "")).split(",")[0].strip()
        return bool(host) and origin.partition("://")[2] == host

    return allowed


class SocketServer(socketio.AsyncServer):  # type: ignore[misc]
    """`connect_timeout_s`: how long a connection may stay without a namespace."""

    def __init__(self, client_manager: Any, connect_timeout_s: float, origins: Sequence[str]) -> None:
        super().__init__(
            async_mode="aiohttp", client_manager=client_manager, async_handlers=False, json=Json, logger=False,
            engineio_logger=False, ping_interval=PING_INTERVAL_S, ping_timeout=PING_TIMEOUT_S,
            max_http_buffer_size=MESSAGE_BYTES_MAX, cors_allowed_origins=origin_check(origins), namespaces=[],
        )  # fmt: skip
        self.packet_class = Packet
        self._connect_timeout_s = connect_timeout_s
        self._silent: dict[str, asyncio.TimerHandle] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._refusing = False

    def _engineio_server_class(self) -> type[EngineServer]:
        return EngineServer

    async def close_connection(self, eio_sid: str) -> None:
        """Ends an Engine.IO session and all its namespaces."""
        if eio_sid in self.eio.sockets:
            await self.eio.disconnect(eio_sid)

    async def start(self) -> None:
        """Makes the client manager listen to other processes before the first client comes."""
        self.manager_initialized = True
        self.manager.initialize()
        await self.manager.listening()

    async def shutdown(self) -> None:
        await super().shutdown()
        await self.manager.stop()

    async def refuse_new(self) -> None:
        """From here on new namespace connects are refused with a hint to try again: another process will take them."""
        self._refusing = True

    async def close_all(self) -> None:
        """Ends every session; each client is told and reconnects elsewhere."""
        for session in list(self.eio.sockets.values()):
            with contextlib.suppress(exceptions.EngineIOError):
                await session.close(wait=False, reason=self.eio.reason.SERVER_DISCONNECT)
        await asyncio.sleep(0.05)  # lets the writers send the last packets

    async def _handle_eio_connect(self, eio_sid: str, environ: dict[str, Any]) -> None:
        await super()._handle_eio_connect(eio_sid, environ)
        loop = asyncio.get_running_loop()
        self._silent[eio_sid] = loop.call_later(self._connect_timeout_s, self._never_connected, eio_sid)

    def _never_connected(self, eio_sid: str) -> None:
        self._silent.pop(eio_sid, None)
        task = asyncio.ensure_future(self.close_connection(eio_sid))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _handle_eio_disconnect(self, eio_sid: str, reason: str) -> None:
        if timer := self._silent.pop(eio_sid, None):
            timer.cancel()
        await super()._handle_eio_disconnect(eio_sid, reason)
        self._binary_packet.pop(eio_sid, None)

    async def _handle_eio_message(self, eio_sid: str, data: str | bytes) -> None:
        try:
            pkt = self._decode(eio_sid, data)
        except Exception as error:  # whatever a parser may raise at hostile bytes, the answer is the same
            log.info("closing %s: malformed packet: %s", eio_sid, error)
            await self.close_connection(eio_sid)
            return
        if pkt is None:
            return
        if pkt.packet_type == sio_packet.CONNECT:
            await self._handle_connect(eio_sid, pkt.namespace, pkt.data)
        elif pkt.packet_type == sio_packet.DISCONNECT:
            await self._handle_disconnect(eio_sid, pkt.namespace, self.reason.CLIENT_DISCONNECT)
        elif pkt.packet_type in (sio_packet.EVENT, sio_packet.BINARY_EVENT):
            await self._handle_event(eio_sid, pkt.namespace, pkt.id, pkt.data)
        # Acknowledgements of our events are never asked for, so there is nothing to do with one.

    def _decode(self, eio_sid: str, data: str | bytes) -> Any:
        """The packet, or None while attachments of a binary one are still to come."""
        waiting = self._binary_packet.get(eio_sid)
        if waiting is not None:
            if not isinstance(data, bytes):
                raise ValueError("text where an attachment was announced")
            return self._binary_packet.pop(eio_sid) if waiting.add_attachment(data) else None
        if not isinstance(data, str):
            raise ValueError("an attachment nobody announced")
        pkt = self.packet_class(encoded_packet=data)
        self._check(eio_sid, pkt)
        if pkt.packet_type in (sio_packet.BINARY_EVENT, sio_packet.BINARY_ACK):
            self._binary_packet[eio_sid] = pkt
            return None
        return pkt

    def _check(self, eio_sid: str, pkt: Any) -> None:
        """Raises ValueError for what the JavaScript server's decoder and client table refuse."""
        if pkt.packet_type == sio_packet.CONNECT:
            if pkt.data is not None and not isinstance(pkt.data, dict):
                raise ValueError("CONNECT takes an object")
            return
        if pkt.packet_type > sio_packet.BINARY_ACK:
            raise ValueError("an unknown packet type")
        if pkt.packet_type >= sio_packet.BINARY_EVENT and not 0 < pkt.attachment_count <= 10:
            raise ValueError("a binary packet with no or too many attachments")
        if pkt.packet_type == sio_packet.CONNECT_ERROR:
            raise ValueError("CONNECT_ERROR from a client")
        if pkt.packet_type == sio_packet.DISCONNECT:
            if pkt.data is not None:
                raise ValueError("DISCONNECT takes nothing")
            return
        if not isinstance(pkt.data, list):
            raise ValueError("a packet without an array")
        if pkt.packet_type in (sio_packet.EVENT, sio_packet.BINARY_EVENT) and (
            not pkt.data or not isinstance(pkt.data[0], str) or pkt.data[0] in RESERVED_EVENTS
        ):
            raise ValueError("an event without a name, or with a reserved one")
        if self.manager.sid_from_eio_sid(eio_sid, pkt.namespace or "/") is None:
            raise ValueError("a packet before CONNECT")

    async def _handle_connect(self, eio_sid: str, namespace: str | None, data: Any) -> None:
        if eio_sid not in self.environ:
            return
        name = (namespace or "/").partition("?")[0]
        error: ParleyError | None = None
        if name not in self.namespace_handlers:
            error = ParleyError("not_found", f"There is no namespace {name[:64]}.")
        elif self._refusing:
            error = ParleyError("unavailable", "This server is going away.", retry_after_ms=DRAIN_RETRY_MS)
        elif self.manager.sid_from_eio_sid(eio_sid, name) is not None:
            error = ParleyError("conflict", f"This connection is on {name} already.")
        if error is not None:
            refusal = {"message": error.message, "data": error.body(secrets.token_hex(8))}
            await self._send_packet(eio_sid, self.packet_class(sio_packet.CONNECT_ERROR, data=refusal, namespace=name))
            return
        await super()._handle_connect(eio_sid, name, data)
        if self.manager.sid_from_eio_sid(eio_sid, name) is None:
            return  # refused: the time to log in runs on
        if timer := self._silent.pop(eio_sid, None):
            timer.cancel()
        if eio_sid not in self.environ:  # it closed while its log-in was checked
            await self._handle_disconnect(eio_sid, name, self.reason.TRANSPORT_CLOSE)
