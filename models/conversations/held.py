"""Conversations whose stored head cannot be moved, while those of others can: each is tried again ever more seldom.

Nobody who reads such a conversation can tell, since readers bring it up to date by its messages (`heads`); what suffers
is that each of them has to, and that search and lists of what is new look at more messages than they should.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Awaitable, Callable, Iterator

from ops.metrics import HEADS_HELD
from storage.mongo import as_parley_error

log = logging.getLogger("parley.conversations")

Work = Callable[[list[str]], Awaitable[None]]

# If the first ones fail one by one too, it is not a matter of single conversations.
FAILURES_MAX = 2
HELD_AT_ONCE = 4
HOLD_S = 1.0
HOLD_MAX_S = 60.0
COMPLAIN_S = 60.0
COMPLAINTS_MAX = 1_000


class Complaints:
    """Warnings of what fails again and again: one a minute for each matter."""

    def __init__(self) -> None:
        self._said: dict[str, float] = {}

    def say(self, about: str, text: str, *args: object) -> None:
        at = time.monotonic()
        if at < self._said.get(about, -COMPLAIN_S) + COMPLAIN_S:
            return
        if len(self._said) >= COMPLAINTS_MAX:
            self._said.clear()
        self._said[about] = at
        log.warning(text, *args)


class Held:
    """`Work` moves the heads of some conversations in one step, or raises."""

    def __init__(self, complaints: Complaints) -> None:
        self._complaints = complaints
        self._until: dict[str, tuple[float, float]] = {}  # (when to try again, how long it waited before that)

    def __contains__(self, conversation_id: str) -> bool:
        return conversation_id in self._until

    def __iter__(self) -> Iterator[str]:
        return iter(self._until)

    async def together(self, keys: list[str], work: Work, least: bool) -> None:
        """Does it of all, or else of each by itself and holds those that fail. Raises if it seems a matter of all.

        `least`: they are so few that it is no matter of their number if they take too long.
        """
        try:
            await work(keys)
        except Exception as error:
            known = as_parley_error(error)
            down = known is not None and known.code == "unavailable"
            late = isinstance(error, TimeoutError) or (known is not None and known.code == "timeout")
            if len(keys) < 2 or down or (late and not least):
                raise
            await self._apart(keys, work)

    async def _apart(self, keys: list[str], work: Work) -> None:
        failed: dict[str, Exception] = {}
        moved = 0
        # In another order each time: those that fail must not be the first for ever.
        for key in random.sample(keys, len(keys)):
            try:
                await work([key])
                moved += 1
            except Exception as error:
                failed[key] = error
                if not moved and len(failed) == FAILURES_MAX:
                    raise
        for key, failure in failed.items():
            self._hold(key, failure)

    async def again(self, work: Work) -> None:
        """Does it of those whose time has come."""
        at = time.monotonic()
        for key in [key for key, (until, _) in self._until.items() if until <= at][:HELD_AT_ONCE]:
            try:
                await work([key])
            except Exception as error:
                self._hold(key, error)
            else:
                self.release(key)

    def release(self, conversation_id: str) -> None:
        """Its head is where it should be."""
        if self._until.pop(conversation_id, None) is not None:
            HEADS_HELD.set(len(self._until))

    def _hold(self, conversation_id: str, error: Exception) -> None:
        _, waited_s = self._until.get(conversation_id, (0.0, HOLD_S / 2))
        wait_s = min(2 * waited_s, HOLD_MAX_S)
        self._until[conversation_id] = (time.monotonic() + wait_s, wait_s)
        HEADS_HELD.set(len(self._until))
        self._complaints.say(conversation_id, "the head of %s cannot be stored: %s", conversation_id, error)
