"""Changes of what is stored already: numbered, in bounded steps, beside processes of the version before.

    none --nothing is stored--> done
    none --> round: step, step, ... --through--> settling --SETTLE_S--> round ... --one that changed nothing--> done

A noun declares a `Migration` whose `step` does one bounded piece of the work from a position of its own making (what
BSON can hold; None at the beginning of a round), and returns where the next step begins. How far a migration is stands
in the collection `migrations` after each step, so whatever ends a process costs it one step. A step must bear to be
done twice, also at the same time by two processes: which of them goes on is decided by a compare-and-set on the number
of steps, and the other one stops.

Processes of the version before may run for a while and write what was migrated already. So a migration goes round
again, until a round that began SETTLE_S after the one before it had nothing to change; until then (`done`) readers must
understand the old form as well. The next migration begins when the one before it is through its first round.

Between two steps is a pause as long as the step took, so migrations have at most half of one connection's time.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from pymongo.errors import DuplicateKeyError

from storage.mongo import Database, Document

log = logging.getLogger("parley.migrations")

# For how long processes of the version before may go on: a replacement of all processes takes minutes.
SETTLE_S = 3600.0
PAUSE_MIN_S = 0.02
DONE_ASKED_EVERY_S = 30.0


class Step(NamedTuple):
    """`position`: where the next step begins; None when all was looked at. `changed`: how much this one changed."""

    position: Any
    changed: int


class Migration(NamedTuple):
    """`collection`: what it changes; where that is empty at first sight, there is nothing to migrate."""

    number: int
    name: str
    collection: str
    step: Callable[[Any], Awaitable[Step]]


class Migrations:
    """Does them, and knows which are done. Their documents:

        {_id: number, name, position, steps, changed, rounds, round_changed, started_at, through_at?, done_at?}

    `steps` and `changed` count since the beginning, `round_changed` in this round; `through_at`: when the last ended.
    """

    def __init__(self, database: Database, declared: Sequence[Migration]) -> None:
        self._database = database
        self._states = database.collection("migrations")
        self._declared = sorted(declared)
        self._done: dict[int, bool] = {}
        self._asked_at: dict[int, float] = {}

    async def done(self, number: int) -> bool:
        """Whether nothing of the old form is left, nor will come any more. Asks the database now and then only."""
        if not self._done.get(number) and time.monotonic() >= self._asked_at.get(number, 0.0):
            found = await self._states.find_one({"_id": number}, {"done_at": 1})
            self._done[number] = found is not None and "done_at" in found
            self._asked_at[number] = time.monotonic() + DONE_ASKED_EVERY_S
        return self._done[number]

    async def work(self, within_s: float) -> None:
        """Does steps for that long, if there are any to do. What a step raises is raised, and it is the next again."""
        deadline = time.monotonic() + within_s
        for migration in self._declared:
            if self._done.get(migration.number):
                continue
            state = await self._state(migration)
            if "done_at" in state or _settling(state):
                continue
            if not await self._round(migration, state, deadline) and "through_at" not in state:
                return

    async def _state(self, migration: Migration) -> Document:
        found: Document | None = await self._states.find_one({"_id": migration.number})
        if found is None:
            at = datetime.now(UTC)
            found = {
                "_id": migration.number, "name": migration.name, "position": None, "steps": 0, "changed": 0,
                "rounds": 0, "round_changed": 0, "started_at": at,
            }  # fmt: skip
            if not await self._database.collection(migration.collection).estimated_document_count():
                found["done_at"] = at
            with contextlib.suppress(DuplicateKeyError):  # another process has begun it: a step finds that out
                await self._states.insert_one(found)
        return found

    async def _round(self, migration: Migration, state: Document, deadline: float) -> bool:
        """Whether it came to its end."""
        while time.monotonic() < deadline:
            started = time.monotonic()
            step = await migration.step(state["position"])
            noted = await self._note(state, step)
            if noted is None:
                log.info("migration %d (%s): another process goes on with it", *migration[:2])
                return False
            state = noted
            if step.position is None:
                outcome = "done" if "done_at" in state else f"looked at again in {SETTLE_S:.0f} s"
                log.info("migration %d (%s): %d changed, %s", *migration[:2], state["changed"], outcome)
                return True
            await asyncio.sleep(max(PAUSE_MIN_S, time.monotonic() - started))
        log.info("migration %d (%s): %d changed so far, at %s", *migration[:2], state["changed"], state["position"])
        return False

    async def _note(self, state: Document, step: Step) -> Document | None:
        """The state after this step; None if another process was faster."""
        round_changed = state["round_changed"] + step.changed
        fields: Document = {
            "position": step.position, "steps": state["steps"] + 1, "changed": state["changed"] + step.changed,
            "round_changed": round_changed,
        }  # fmt: skip
        if step.position is None:
            fields |= {"rounds": state["rounds"] + 1, "round_changed": 0, "through_at": datetime.now(UTC)}
            if state["rounds"] and not round_changed:
                fields["done_at"] = datetime.now(UTC)
        seen = {"_id": state["_id"], "steps": state["steps"]}
        if not (await self._states.update_one(seen, {"$set": fields})).matched_count:
            return None
        return {**state, **fields}


def _settling(state: Document) -> bool:
    """A round that was begun (it has a position) is ended first."""
    if "through_at" not in state or state["position"] is not None:
        return False
    return bool(datetime.now(UTC) < state["through_at"] + timedelta(seconds=SETTLE_S))
