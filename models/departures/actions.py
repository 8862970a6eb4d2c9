"""What is asked of departures: to write one down, and which there were lately that nobody here has dealt with."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

from models.context import now
from models.departures.store import DepartureStore

# Clocks of processes differ, and a departure is written down before it is made.
LOOKED_BACK = timedelta(seconds=60)
KEPT = timedelta(minutes=10)


class Departure(NamedTuple):
    id: str
    conversation_id: str
    user_ids: list[str]


class Departures:
    def __init__(self, store: DepartureStore) -> None:
        self._store = store
        self._done: dict[str, datetime] = {}
        self._swept_at = now()

    async def leaving(self, conversation_id: str, user_ids: list[str]) -> None:
        """These people are about to be taken out of it."""
        await self._store.leaving(conversation_id, user_ids)

    async def lately(self) -> list[Departure]:
        """Of the last minute, without those that are `done`."""
        at = now()
        if at - self._swept_at > KEPT:
            self._swept_at = at
            await self._store.forget(at - KEPT)
        self._done = {key: when for key, when in self._done.items() if when > at - 2 * LOOKED_BACK}
        found = await self._store.between(at - LOOKED_BACK, at + LOOKED_BACK)
        departures = [Departure(one["_id"], one["conversation_id"], one["user_ids"]) for one in found]
        return [departure for departure in departures if departure.id not in self._done]

    def done(self, departure: Departure) -> None:
        """What followed from it was done in this process."""
        self._done[departure.id] = now()
