"""Who is let in when there are more than can be served: the others are told when to come back, in a few microseconds.

A process over its capacity that accepts everybody is slow for everybody, and a crowd that comes back after a failure
keeps it so: each log-in that takes too long is given up by its client and tried again. So a connection's first
namespace is refused before anything is looked up, while those who are in notice nothing. Over capacity is any of: as
many connections as CONNECTIONS_MAX; LOGINS_MAX log-ins in progress; an event loop that stays late by LAG_MAX_S.

Those refused stand in a queue that exists only as a moment: each gets the next free place, so many a second, and is
told the time until then. So the hint grows with how many wait, they come back one after the other and not together,
and nothing is remembered of anybody. It is in `realtime` and not in `security`, because it asks what this process can
carry and not who someone is. docs/decisions/0016.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sized
from contextlib import AbstractContextManager, nullcontext

from contract.errors import ParleyError
from ops.lag import LoopLag
from ops.metrics import ADMISSIONS_REFUSED, LOG_INS, LOOP_LAG
from realtime.session import Session

LOGINS_MAX = 256
LAG_MAX_S = 0.2
RETURNS_PER_S = 500
RETRY_MIN_S = 1.0
RETRY_MAX_S = 60.0
JITTER = 0.25
_INSIDE = nullcontext()


class Admission(AbstractContextManager[None]):
    """Its own context is one log-in in progress."""

    def __init__(self, connections: Sized, connections_max: int, lag: LoopLag) -> None:
        self._connections = connections
        self._connections_max = connections_max
        self._lag = lag
        self._queue_ends_at = 0.0
        self._last: tuple[str, int] = ("", 0)
        self.entering = 0
        LOG_INS.set_function(lambda: self.entering)
        LOOP_LAG.set_function(lambda: lag.seconds)

    def entry(self, session: Session) -> AbstractContextManager[None]:
        """Goes around the log-in of a namespace. Raises over_capacity; a connection that was let in once stays so."""
        if session.known:
            return _INSIDE
        if (reason := self._over()) is not None:
            ADMISSIONS_REFUSED.labels(reason).inc()
            raise ParleyError("over_capacity", retry_after_ms=self._retry_after_ms(session))
        return self

    def __enter__(self) -> None:
        self.entering += 1

    def __exit__(self, *_: object) -> None:
        self.entering -= 1

    def _over(self) -> str | None:
        if len(self._connections) + self.entering >= self._connections_max:
            return "connections"
        if self.entering >= LOGINS_MAX:
            return "log_ins"
        return "lag" if self._lag.seconds > LAG_MAX_S else None

    def _retry_after_ms(self, session: Session) -> int:
        """The namespaces of a connection, which are refused one right after the other, take one place together."""
        if self._last[0] != session.sid:
            now = time.monotonic()
            place = min(max(self._queue_ends_at, now + RETRY_MIN_S), now + RETRY_MAX_S)
            self._queue_ends_at = place + 1 / RETURNS_PER_S
            wait_s = (place - now) * random.uniform(1 - JITTER, 1 + JITTER)
            self._last = (session.sid, int(wait_s * 1000))
        return self._last[1]
