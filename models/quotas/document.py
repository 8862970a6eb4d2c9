"""The quota documents, of two kinds, found by their `_id` alone.

    {_id: "LIMIT:KEY", until}                   what may be done in a day: none of it is left in use at that moment
    {_id: "LIMIT:KEY", count, at, counted_at?}  what there may be: how many there are, when the last one was counted,
                                              and when all were

KEY is a user or a conversation. `until` is all that a limit by the day needs (GCRA): each use moves it on by its share
of the day, and no use may move it further than a day ahead. So nothing has to be cleared away when a day is over.
"""

from __future__ import annotations

from contract.quotas import DAY_S, Daily


def quota_id(limit: str, key: str) -> str:
    return f"{limit}:{key}"


class Pace:
    """A limit by the day as this installation has it. Moments are seconds since 1970."""

    def __init__(self, limit: Daily, scale: float) -> None:
        self.limit = limit
        self.amount = max(1, round(limit.amount * scale))
        self._each_s = DAY_S / self.amount

    def after(self, until: float, amount: int, at: float) -> float:
        return max(until, at) + amount * self._each_s

    def wait_s(self, until: float, amount: int, at: float) -> float:
        """How long until there is room for so much; not above zero: there is."""
        # What is more than a whole day's can be done when nothing else was: or it could never be.
        return self.after(until, min(amount, self.amount), at) - at - DAY_S

    def left(self, until: float, at: float) -> int:
        return max(0, int(self.amount - (max(until, at) - at) / self._each_s))
