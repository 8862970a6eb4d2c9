"""Client managers: which connection is in which room, in one process or in many joined by Redis.

python-socketio's own, with two changes: leaving costs the connection's own rooms instead of a walk over every room,
and events that carry an `Order` pass the sequencer before they reach local connections.
"""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from typing import Any

from socketio import AsyncManager, AsyncRedisManager

from ops.metrics import ORDER_GAPS
from realtime.bus import START_WAIT_S
from realtime.ordering import Sequencer
from realtime.publisher import Order


class _RoomIndex:
    """The reverse index connection → rooms, over python-socketio's BaseManager."""

    rooms: dict[str, Any]

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._rooms_of: dict[tuple[str, str], set[str | None]] = {}

    def basic_enter_room(self, sid: str, namespace: str, room: str | None, eio_sid: str | None = None) -> None:
        super().basic_enter_room(sid, namespace, room, eio_sid=eio_sid)  # type: ignore[misc]
        self._rooms_of.setdefault((namespace, sid), set()).add(room)

    def basic_leave_room(self, sid: str, namespace: str, room: str | None) -> None:
        super().basic_leave_room(sid, namespace, room)  # type: ignore[misc]
        own = self._rooms_of.get((namespace, sid))
        if own is not None:
            own.discard(room)
            if not own:
                del self._rooms_of[namespace, sid]

    def basic_disconnect(self, sid: str, namespace: str, **options: Any) -> None:
        for room in list(self._rooms_of.get((namespace, sid), ())):
            self.basic_leave_room(sid, namespace, room)
        # What is left for the stock method are its lists of callbacks and pending connections.
        kept, self.rooms = self.rooms, {namespace: {}}
        try:
            super().basic_disconnect(sid, namespace, **options)  # type: ignore[misc]
        finally:
            self.rooms = kept

    def get_rooms(self, sid: str, namespace: str) -> list[str]:
        return [room for room in self._rooms_of.get((namespace, sid), ()) if room is not None]


class MemoryManager(_RoomIndex, AsyncManager):  # type: ignore[misc]
    """One process: publishing under a conversation's lock is already in order."""

    async def emit(self, *args: Any, order: Order | None = None, **options: Any) -> None:
        await super().emit(*args, **options)

    async def listening(self) -> None:
        """Nothing to wait for."""

    async def stop(self) -> None:
        """Nothing to stop."""


class RedisManager(_RoomIndex, AsyncRedisManager):  # type: ignore[misc]
    """Many processes."""

    def __init__(self, url: str) -> None:
        # Without a time limit a frozen Redis would hold every publish for ten seconds.
        super().__init__(
            url, channel="parley:fanout", redis_options={"socket_timeout": 2.0, "health_check_interval": 5}
        )
        self.sequencer = Sequencer()
        ORDER_GAPS.set_function(lambda: self.sequencer.gaps)

    async def listening(self) -> None:
        """Returns once this process hears the others, or after a while without Redis.

        python-socketio subscribes with the first client, and loses what is published while it does.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + START_WAIT_S
        while not (self.pubsub is not None and self.pubsub.subscribed) and loop.time() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.01)

    async def stop(self) -> None:
        """Ends the listener and its connections, which python-socketio leaves to the garbage collector."""
        self.thread.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.thread
        if self.pubsub is not None:
            await self.pubsub.aclose()
            await self.redis.aclose()

    async def emit(
        self, event: str, data: Any, namespace: str, room: Any = None, skip_sid: Any = None, callback: Any = None,
        to: Any = None, order: Order | None = None, **options: Any,
    ) -> None:  # fmt: skip
        if order is None:
            await super().emit(event, data, namespace, room, skip_sid, callback, to, **options)
            return
        message = {
            "method": "emit", "event": event, "data": [data], "binary": False, "namespace": namespace, "room": room,
            "skip_sid": skip_sid, "callback": None, "host_id": self.host_id,
            "order": [order.key, order.seq, order.settled],
        }  # fmt: skip
        async with self.sequencer.turn(order.key, order.seq, order.settled):
            await super()._handle_emit(message)
            await self._publish(message)

    async def _handle_emit(self, message: dict[str, Any]) -> None:
        order = message.get("order")
        if order is None:
            await super()._handle_emit(message)
        else:
            key, seq, settled = order
            await self.sequencer.accept(key, seq, settled, partial(super()._handle_emit, message))
