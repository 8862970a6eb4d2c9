"""How much one connection may bring: so much on average, and a burst at once.

Everything that arrives is paid for, whatever it is: a packet costs one, and one more for each KiB. Who has nothing
left is not read from until there is something again, so nothing is lost and nobody else waits. Who is refused again
and again pays for that too, and is closed in the end (docs/decisions/0028).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

# A packet costs as much as so many bytes.
PACKET_BYTES = 1_024
# So many packets of one connection that need no waiting are worked off before others have a turn.
TURN_PACKETS = 32


@dataclass(frozen=True, slots=True)
class Pace:
    per_s: float
    burst: float


@dataclass(frozen=True, slots=True)
class Paces:
    """`packets` of what arrives, `refusals` of what was refused for the client's own fault."""

    packets: Pace
    refusals: Pace

    def scaled(self, scale: float) -> Paces:
        return Paces(*(Pace(one.per_s * scale, one.burst * scale) for one in (self.packets, self.refusals)))


# Before a namespace has let it in: a CONNECT with its token for each of them, with some room.
STRANGER = Paces(packets=Pace(2, 64), refusals=Pace(0.2, 24))
MEMBER = Paces(packets=Pace(200, 2_000), refusals=Pace(10, 1_000))


# When nothing has been spent yet.
UNSPENT = -math.inf


def spend(spent_until: float, cost: float, pace: Pace, at: float) -> float:
    """The moment, in the time of `time.monotonic`, at which what was spent until now will be earned again.

    As long as it is not later than `at` there is something left. One number for each connection, instead of an amount
    and when it was counted (GCRA).
    """
    return max(spent_until, at - pace.burst / pace.per_s) + cost / pace.per_s
