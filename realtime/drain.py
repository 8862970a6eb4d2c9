"""How a process leaves: its connections are closed, a few at a time, each once what it asked for is answered.

Closed all at once they would all come back at once, to processes that have their own people to serve. So they are
spread over half of the drain time, and few connections are closed quickly; until its turn a connection is served as
ever. Each is told (`system:draining`) and closed with a code of its own. Why without an Engine.IO CLOSE packet:
docs/decisions/0016.

Then the process stays a little longer, for those who ask it what its connections have missed (`recovery`).
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable

from contract.closing import RESTARTING
from contract.system import DRAINING_EVENT, Draining
from ops.tasks import until
from realtime import packets
from realtime.polling import PollingLink
from realtime.session import Session
from realtime.transport import EngineServer

BATCH_EVERY_S = 0.1
BATCH_MIN = 5
RETRY_MS = (100, 1_000)
CLOSING_MIN_S = 1.0  # of the drain time, commands that do not end leave so much for closing
LOOK_EVERY_S = 0.02
LINGER_S = 2.0
LAST_PACKETS_S = 0.05


async def drain(engine: EngineServer, running: Callable[[], int], timeout_s: float, linger: bool) -> None:
    """`running` tells how many operations are, of any door. No session begins from here on."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_s
    engine.leaving = True
    had_any = bool(engine.sockets)
    await _close_in_batches(engine, timeout_s / 2, deadline - min(CLOSING_MIN_S, timeout_s / 2))
    await until(lambda: not running(), deadline - LAST_PACKETS_S - loop.time(), LOOK_EVERY_S)
    if had_any and linger:
        await asyncio.sleep(max(0.0, min(LINGER_S, deadline - loop.time() - LAST_PACKETS_S)))
    await asyncio.sleep(LAST_PACKETS_S)


async def _close_in_batches(engine: EngineServer, within_s: float, answered_until: float) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    sessions = list(engine.sockets.values())
    size = max(BATCH_MIN, math.ceil(len(sessions) / max(1, int(within_s / BATCH_EVERY_S))))
    leaving = set()
    for start in range(0, len(sessions), size):
        if start:
            await asyncio.sleep(began + start // size * BATCH_EVERY_S - loop.time())
        for session in sessions[start : start + size]:
            leaving.add(asyncio.create_task(_send_away(engine, session, answered_until)))
    if leaving:
        await asyncio.wait(leaving)


async def _send_away(engine: EngineServer, session: Session, answered_until: float) -> None:
    """What it sends from here on it will send again, to another process."""
    session.pause_reading()
    loop = asyncio.get_running_loop()
    await until(lambda: session.inbox is None, answered_until - loop.time(), LOOK_EVERY_S)
    if session.closed:
        return
    link = session.link
    member = session.members.get(DRAINING_EVENT.namespace)
    if member is not None and member.connected:
        # Not published: it concerns this connection of this process and nobody else.
        told = Draining(retry_after_ms=random.randint(*RETRY_MS))
        link.send(packets.event(DRAINING_EVENT.namespace, DRAINING_EVENT.name, told))
    link.close(RESTARTING)
    session.transport_lost()
    if isinstance(link, PollingLink) and not link.polled:
        engine.leave_last_words(session.sid, link.take())
