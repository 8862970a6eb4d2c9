"""A POST of a polling session: its packets, worked off a share at a time, one POST after the other."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from aiohttp import web
from engineio import exceptions, packet, payload

from realtime.naming import name_of
from realtime.pace import PACKET_BYTES, TURN_PACKETS
from realtime.polling import PollingLink

if TYPE_CHECKING:
    from realtime.session import Session

log = logging.getLogger("parley.engine")

BODY_S = 20.0  # so long the body has to arrive
STRANGER_BODY_MAX = 16_384  # a CONNECT with its token for each namespace, many times over
REST_S = 1.0  # so often one that rests looks whether its session is still there


async def receive(session: Session, request: web.Request) -> None:
    """Raises EngineIOError for what ends the session."""
    if (request.content_length or 0) > _bytes_max(session):
        raise exceptions.ContentTooLongError
    link = session.link
    if not isinstance(link, PollingLink):  # one that was under way when the session was upgraded
        await _work_off(session, request)
        return
    if link.posted:
        raise exceptions.EngineIOError("a second POST")
    link.posted = True
    try:
        await _work_off(session, request)
    finally:
        link.posted = False


async def _work_off(session: Session, request: web.Request) -> None:
    body = await _body(session, request)
    paces = session.server.paces(known=False)
    if paces and not session.known and max(len(body) / PACKET_BYTES, body.count(b"\x1e")) > paces.packets.burst:
        raise exceptions.EngineIOError("more than is taken before a log-in")
    try:
        packets = payload.Payload(encoded_payload=body.decode()).packets
        if any(pkt.packet_type > packet.NOOP for pkt in packets):
            raise ValueError("an unknown packet type")
    except (ValueError, TypeError, LookupError) as error:
        log.info("closing %s: malformed payload: %s", name_of(session), error)
        raise exceptions.EngineIOError(str(error)) from error
    for number, pkt in enumerate(packets, 1):
        session.packet_received(pkt)
        if number % TURN_PACKETS == 0:
            await asyncio.sleep(0)
    if session.inbox is not None:
        await session.inbox.room()
    rest_s = session.spend(len(packets) + len(body) / PACKET_BYTES)
    while rest_s > 0 and not session.closed:  # the client sends the next POST when this one is answered
        await asyncio.sleep(min(rest_s, REST_S))
        rest_s -= REST_S


def _bytes_max(session: Session) -> int:
    if session.known or session.server.paces(known=False) is None:
        return int(session.server.max_http_buffer_size)
    return STRANGER_BODY_MAX


async def _body(session: Session, request: web.Request) -> bytes:
    try:
        async with asyncio.timeout(BODY_S):
            return await request.clone(client_max_size=_bytes_max(session)).read()
    except web.HTTPRequestEntityTooLarge:
        raise exceptions.ContentTooLongError from None
    except TimeoutError:
        log.info("closing %s: the body of a POST did not come within %.0f s", name_of(session), BODY_S)
        raise exceptions.EngineIOError("the body did not come in time") from None
