"""One Engine.IO session and the server that makes them: python-engineio with the transport kept strictly.

Whatever goes wrong with what a client sent closes its session, nothing is left waiting for it, and a request always
gets an answer (docs/decisions/0004).
"""

from __future__ import annotations

import logging
from typing import Any

import engineio
from aiohttp import web
from engineio import async_socket, exceptions, packet, payload
from engineio.async_drivers import aiohttp as aiohttp_driver

log = logging.getLogger("parley.engine")

# A documented knob of python-engineio; bytes are limited by max_http_buffer_size, so packets need not be.
payload.Payload.max_decode_packets = 10_000


class EngineSession(async_socket.AsyncSocket):  # type: ignore[misc]
    """One Engine.IO session. Whatever goes wrong with what it sent closes it; nothing is left waiting."""

    polling = False

    async def receive(self, pkt: Any) -> None:
        if self.closing or self.closed:
            return  # sent in one go with what closed the session
        try:
            if pkt.packet_type > packet.NOOP:
                raise exceptions.UnknownPacketError
            await super().receive(pkt)
        except exceptions.UnknownPacketError:
            await self.close(wait=False, abort=True, reason=self.server.reason.TRANSPORT_ERROR)

    async def poll(self) -> list[Any]:
        """A NOOP ends a poll; one that found none is not for the transport that comes after."""
        while True:
            packets: list[Any] = await super().poll()
            kept = [pkt for pkt in packets if not (self.upgraded and pkt.packet_type == packet.NOOP)]
            if kept or not packets:
                return kept

    async def handle_get_request(self, environ: dict[str, Any]) -> Any:
        if "HTTP_UPGRADE" in environ:
            return await super().handle_get_request(environ)
        if self.polling:
            await self.close(wait=False, reason=self.server.reason.TRANSPORT_ERROR)
            raise exceptions.EngineIOError("a second poll")
        self.polling = True
        try:
            return await super().handle_get_request(environ)
        finally:
            self.polling = False

    async def close(self, wait: bool = True, abort: bool = False, reason: str | None = None) -> None:
        # Waiting for the queue to empty needs a client that still reads; one that misbehaves may not.
        await super().close(wait=False, abort=abort, reason=reason)
        await self.queue.put(None)

    async def _websocket_handler(self, ws: Any) -> None:
        try:
            await super()._websocket_handler(ws)
        except (ValueError, TypeError, IndexError, OSError, exceptions.EngineIOError) as error:
            log.info("closing %s: malformed frame: %s", self.sid, error)
            await self.close(wait=False, abort=True, reason=self.server.reason.TRANSPORT_ERROR)
            await ws.close()

    async def handle_post_request(self, environ: dict[str, Any]) -> None:
        request = environ["aiohttp.request"]
        if (request.content_length or 0) > self.server.max_http_buffer_size:
            raise exceptions.ContentTooLongError
        try:
            packets = payload.Payload(encoded_payload=(await request.read()).decode()).packets
            if any(pkt.packet_type > packet.NOOP for pkt in packets):
                raise ValueError("an unknown packet type")
            for pkt in packets:
                await self.receive(pkt)
        except web.HTTPRequestEntityTooLarge:
            raise exceptions.ContentTooLongError from None
        except (ValueError, TypeError, IndexError) as error:
            log.info("closing %s: malformed payload: %s", self.sid, error)
            raise exceptions.EngineIOError(str(error)) from error


class PlainWebSocket(aiohttp_driver.WebSocket):  # type: ignore[misc]
    """No permessage-deflate: it costs a connection 118 KB and a deflate per message, for frames of 200 bytes."""

    async def __call__(self, environ: dict[str, Any]) -> web.WebSocketResponse:
        self._sock = web.WebSocketResponse(max_msg_size=self.server.max_http_buffer_size, compress=False)
        await self._sock.prepare(environ["aiohttp.request"])
        self.environ = environ
        await self.handler(self)
        return self._sock


class EngineServer(engineio.AsyncServer):  # type: ignore[misc]
    """Makes `EngineSession`s without deflate, and closes those that never say which namespace they want."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._async: dict[str, Any] = {**self._async, "websocket": PlainWebSocket}

    async def _handle_connect(self, environ: dict[str, Any], transport: str, jsonp_index: int | None = None) -> Any:
        if self.start_service_task:
            self.start_service_task: bool = False
            self.service_task_handle = self.start_background_task(self._service_task)
        sid = self.generate_id()
        session = self.sockets[sid] = EngineSession(self, sid)
        await session.send(packet.Packet(packet.OPEN, self._handshake(sid, transport)))
        await self._trigger_event("connect", sid, environ, run_async=False)
        session.schedule_ping()
        if transport == "websocket":
            answer = await session.handle_get_request(environ)
            if session.closed:
                self.sockets.pop(sid, None)
            return answer
        session.connected = True
        return self._ok(await session.poll(), jsonp_index=jsonp_index)

    def _handshake(self, sid: str, transport: str) -> dict[str, Any]:
        return {
            "sid": sid,
            "upgrades": self._upgrades(sid, transport),
            "pingTimeout": int(self.ping_timeout * 1000),
            "pingInterval": int(self.ping_interval * 1000),
            "maxPayload": self.max_http_buffer_size,
        }
