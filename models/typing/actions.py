"""Who is writing right now. Kept in memory for seconds, published to connections that look at the conversation.

A start is told at most every 2 s per person and conversation, whatever a client sends, and ends by itself 6 s after the
last one with a stop, so that no screen shows someone typing who has long gone.
"""

from __future__ import annotations

import asyncio
import logging
import time

from contract import typing as contract
from contract.rooms import typing_room
from contract.types import Empty
from models.context import Actions, Context
from models.conversations.actions import Conversations
from ops.tasks import end
from realtime.publisher import Publisher

log = logging.getLogger("parley.typing")

TICK_S = 0.25


class TypingSignals:
    def __init__(self, conversations: Conversations, publisher: Publisher) -> None:
        self._conversations = conversations
        self._publisher = publisher
        # (conversation, user) -> (when last told, when it ends), in seconds of the monotonic clock
        self._active: dict[tuple[str, str], tuple[float, float]] = {}
        self._task: asyncio.Task[None] | None = None

    def actions(self) -> Actions:
        return {
            contract.START: self.begin,
            contract.STOP: self.end,
        }

    async def begin(self, context: Context, payload: contract.Typing) -> Empty:
        conversation = await self._conversations.require_recent(context.user_id, payload.conversation_id)
        key, clock = (payload.conversation_id, context.user_id), time.monotonic()
        told, _ = self._active.get(key, (float("-inf"), 0.0))
        again = clock - told >= contract.REPEAT_MS / 1000
        if again:
            self._conversations.limits.telling(context.user_id, conversation, "signals")
        self._active[key] = (clock if again else told, clock + contract.EXPIRES_MS / 1000)
        if again:
            await self._publish(key, contract.EXPIRES_MS, context.origin)
        return Empty()

    async def end(self, context: Context, payload: contract.Typing) -> Empty:
        await self._conversations.require_recent(context.user_id, payload.conversation_id)
        if self._active.pop((payload.conversation_id, context.user_id), None) is not None:
            await self._publish((payload.conversation_id, context.user_id), 0, context.origin)
        return Empty()

    async def start(self) -> None:
        self._task = asyncio.create_task(self._expire_forever(), name="typing-expiry")

    async def stop(self) -> None:
        await end(self._task)

    async def _expire_forever(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            clock = time.monotonic()
            for key in [key for key, (_, ends) in self._active.items() if ends <= clock]:
                del self._active[key]
                try:
                    await self._publish(key, 0, None)
                except Exception:
                    log.exception("typing:stop of %s not published", key)

    async def _publish(self, key: tuple[str, str], expires_in_ms: int, origin: str | None) -> None:
        conversation_id, user_id = key
        event = contract.STARTED if expires_in_ms else contract.STOPPED
        data = contract.TypingChanged(conversation_id=conversation_id, user_id=user_id, expires_in_ms=expires_in_ms)
        await self._publisher.publish(event, [typing_room(conversation_id)], data, origin=origin)
