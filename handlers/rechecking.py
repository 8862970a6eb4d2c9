"""What live connections may do is looked at again every few seconds, whatever Redis lost.

That a log-in has ended or someone has left a conversation is written to the database and then told to every process. A
process that was not told finds it here: log-ins of its connections that are not live any more, and departures of the
last minute. So whoever is logged out or removed hears nothing more after EVERY_S and the time of a round.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from handlers.looking import Looking
from models.conversations.actions import Conversations
from models.departures.actions import Departure, Departures
from models.messages.membership import strangers_of
from models.sessions.actions import Sessions
from ops.metrics import RECHECKS_LATE
from ops.tasks import end
from realtime.connections import Connections

log = logging.getLogger("parley.rechecking")

EVERY_S = 5.0
AT_ONCE = 500


class Rechecking:
    def __init__(
        self,
        connections: Connections,
        sessions: Sessions,
        conversations: Conversations,
        departures: Departures,
        looking: Looking,
    ) -> None:
        self._connections = connections
        self._sessions = sessions
        self._conversations = conversations
        self._departures = departures
        self._looking = looking
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Each by itself: many departures at once must not make log-ins wait."""
        for look in (self._end_dead_sessions, self._follow_departures):
            self._tasks.append(asyncio.create_task(_for_ever(look), name="rechecking"))

    async def stop(self) -> None:
        await end(*self._tasks)

    async def _end_dead_sessions(self) -> None:
        session_ids = self._connections.session_ids
        for start in range(0, len(session_ids), AT_ONCE):
            for session_id in await self._sessions.dead_among(session_ids[start : start + AT_ONCE]):
                if self._connections.of_session(session_id):
                    RECHECKS_LATE.labels("session").inc()
                    await self._connections.end_session(session_id, "revoked")

    async def _follow_departures(self) -> None:
        for departure in await self._departures.lately():
            if any(self._connections.of_user(one) or self._looking.is_watched(one) for one in departure.user_ids):
                await self._follow(departure)

    async def _follow(self, departure: Departure) -> None:
        document = await self._conversations.find_stored(departure.conversation_id)
        gone = [one for one in departure.user_ids if document is None or one not in document["participant_ids"]]
        for user_id in gone:
            strangers = await strangers_of(user_id, document, self._conversations) if document is not None else []
            if self._looking.left(user_id, departure.conversation_id, strangers):
                RECHECKS_LATE.labels("departure").inc()
        if gone:
            self._departures.done(departure)


async def _for_ever(look: Callable[[], Awaitable[None]]) -> None:
    while True:
        await asyncio.sleep(EVERY_S)
        try:
            await look()
        except Exception as error:  # the next round asks again
            log.warning("rights of live connections were not looked at: %r", error)
