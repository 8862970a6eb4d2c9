"""A clock that a test moves, instead of waiting for the real one and guessing how long the machine takes meanwhile."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta, tzinfo

import jwt.api_jwt
import pytest

import models.context

_REAL_TIME = time.time


class Clock:
    """What the servers of this process take for the time of day. Timers of the event loop go on as ever."""

    ahead_s = 0.0

    def move(self, seconds: float) -> None:
        self.ahead_s += seconds

    def time(self) -> float:
        return _REAL_TIME() + self.ahead_s


def moved_by(patch: pytest.MonkeyPatch) -> Clock:
    """For as long as `patch` lasts: time.time, the moments that are stored, and the expiry of tokens."""
    clock = Clock()

    class Moved(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return datetime.now(UTC).astimezone(tz) + timedelta(seconds=clock.ahead_s)

    patch.setattr(time, "time", clock.time)
    patch.setattr(models.context, "datetime", Moved)
    patch.setattr(jwt.api_jwt, "datetime", Moved)
    return clock
