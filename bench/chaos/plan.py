"""What goes wrong, and when: a schedule drawn from a seed. The same seed gives the same schedule.

A run has three parts: a warm-up, the faults, and a calm last part in which everything is up again. Faults of different
things overlap. Those of one thing follow each other, because a killed Redis cannot also be frozen; a fault that takes
longer than was planned makes the next one of that thing late, and the calm part begins when the last one has ended.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

FAULTS_PER_MINUTE = 2.0  # of each kind, if it does not say otherwise
FAILOVERS_PER_MINUTE = 1.0  # a cluster of Redis takes longer to be whole again
WARM_SHARE, WARM_MAX_S = 0.05, 10.0
CALM_SHARE, CALM_MIN_S, CALM_MAX_S = 0.3, 8.0, 60.0
BUSY_SHARE_MAX = 0.6  # of the time, one thing may be in trouble
# Bugs that the servers can be given instead, to see that they are found: `bench.chaos.planted`.
PLANTS = ("drop", "twice", "swap", "hush", "lapse", "forget", "keep")


@dataclass(frozen=True, slots=True)
class Kind:
    """`shortest` and `longest` in seconds; `after_s`: what its end takes, such as starting again. `redis`: with which
    Redis it happens, if not with any.

    `of`: "web", "worker", "redis" and "database" are in trouble one fault at a time, "people" in any number.
    """

    name: str
    of: str
    shortest: float
    longest: float
    after_s: float
    text: str
    redis: str = ""
    per_minute: float = FAULTS_PER_MINUTE


def _failover(name: str, shortest: float, text: str) -> Kind:
    """What happens to a node of a cluster, which is whole again some seconds after it."""
    return Kind(name, "redis", shortest, 15, 5, text, "cluster", FAILOVERS_PER_MINUTE)


KINDS = {
    kind.name: kind
    for kind in (
        Kind("web-kill", "web", 1, 5, 3, "kill -9 of a web process, started again after a while"),
        Kind("web-stop", "web", 1, 20, 0, "SIGSTOP of a web process for a while"),
        Kind("web-term", "web", 0, 0, 6, "SIGTERM of a web process, started again once it has ended"),
        Kind("worker-kill", "worker", 1, 5, 3, "kill -9 of the worker process, started again after a while"),
        Kind("worker-stop", "worker", 1, 20, 0, "SIGSTOP of the worker process for a while"),
        Kind("redis-kill", "redis", 1, 30, 1, "kill -9 of Redis, started again after a while", "single"),
        Kind("redis-stop", "redis", 1, 10, 0, "SIGSTOP of Redis for a while", "single"),
        Kind("redis-cut", "redis", 0, 0, 1, "the subscriber connections of a web process are cut"),
        _failover(
            "redis-master", 5, "kill -9 of the node that has everything; started again once its replica took over"
        ),
        _failover("redis-node", 1, "kill -9 of another node, started again after a while"),
        _failover("redis-freeze", 1, "SIGSTOP of a node for a while, one time in two of the one that has everything"),
        Kind("database-kill", "database", 0.2, 2, 2, "kill -9 of the database, started again after a while"),
        Kind("database-stop", "database", 1, 8, 0, "SIGSTOP of the database for a while"),
        Kind("cut", "people", 0, 0, 0, "a share of the clients' sockets is cut"),
        Kind("freeze", "people", 5, 40, 0, "a share of the clients' sockets holds what it carries, one way or both"),
        Kind("slow", "people", 5, 20, 0, "a share of the clients reads slowly"),
    )
}


def kinds_with(redis: str) -> tuple[str, ...]:
    """The names of what can happen with this Redis, "single" or "cluster"."""
    return tuple(kind.name for kind in KINDS.values() if kind.redis in ("", redis))


SINGLE = kinds_with("single")


@dataclass(frozen=True, slots=True)
class Fault:
    """`at`: seconds after the load began. `thing`: what it happens to, such as "web 1"."""

    at: float
    kind: str
    thing: str
    lasts_s: float
    share: float  # of the clients

    def __str__(self) -> str:
        lasts = f" for {self.lasts_s:.1f} s" if self.lasts_s else ""
        share = f", {self.share:.0%} of the clients" if self.share else ""
        return f"{self.at:7.1f} s  {self.kind:<14} {self.thing}{lasts}{share}"


@dataclass(frozen=True, slots=True)
class Plan:
    faults: tuple[Fault, ...]
    calm_s: float

    def by_thing(self) -> list[list[Fault]]:
        """Sequences, each to be done one after the other. A fault of the clients is a sequence of its own."""
        sequences: dict[object, list[Fault]] = defaultdict(list)
        for fault in self.faults:
            sequences[fault if fault.thing == "people" else fault.thing].append(fault)
        return list(sequences.values())


def draw(seed: int, minutes: float, processes: int, kinds: Sequence[str] = SINGLE) -> Plan:
    """No kinds: a run without any fault, which is calm from beginning to end."""
    chance = random.Random(seed)
    total_s = minutes * 60
    calm_s = min(max(total_s * CALM_SHARE, CALM_MIN_S), CALM_MAX_S)
    if not kinds:
        return Plan((), total_s)
    warm_s = min(total_s * WARM_SHARE, WARM_MAX_S)
    span_s = max(total_s - warm_s - calm_s, 1.0)
    by_thing: dict[str, list[Kind]] = defaultdict(list)
    for name in kinds:
        kind = KINDS[name]
        for number in range(max(1, round(minutes * kind.per_minute))):
            # In turn, so that each process has its part even in a short run.
            by_thing[f"web {number % processes}" if kind.of == "web" else kind.of].append(kind)
    faults: list[Fault] = []
    for thing in sorted(by_thing):
        place = _anywhere if thing == "people" else _in_turn
        faults += place(chance, thing, by_thing[thing], warm_s, span_s)
    return Plan(tuple(sorted(faults, key=lambda fault: fault.at)), calm_s)


def _anywhere(chance: random.Random, thing: str, kinds: list[Kind], start_s: float, span_s: float) -> list[Fault]:
    """The clients are many: their faults overlap."""
    faults = []
    for kind in kinds:
        lasts_s = min(_lasts(chance, kind), max(kind.shortest, span_s / 2) if kind.longest else 0.0)
        at = start_s + chance.uniform(0, max(span_s - lasts_s, 0))
        faults.append(Fault(round(at, 2), kind.name, thing, round(lasts_s, 2), round(chance.uniform(0.1, 0.5), 2)))
    return faults


def _in_turn(chance: random.Random, thing: str, kinds: list[Kind], start_s: float, span_s: float) -> list[Fault]:
    """One after the other, with the time that is left spread at random between them."""
    kinds = chance.sample(kinds, len(kinds))
    lasting = [_lasts(chance, kind) for kind in kinds]
    fixed_s = sum(kind.after_s for kind in kinds)
    room_s = max(span_s * BUSY_SHARE_MAX - fixed_s, 0.0)
    scale = min(1.0, room_s / sum(lasting)) if any(lasting) else 1.0
    lasting = [max(kind.shortest, lasts_s * scale) for kind, lasts_s in zip(kinds, lasting, strict=True)]
    free_s = max(span_s - fixed_s - sum(lasting), 0.0)
    pauses = sorted(chance.uniform(0, free_s) for _ in kinds)
    faults, busy_s = [], 0.0
    for kind, lasts_s, pause_s in zip(kinds, lasting, pauses, strict=True):
        faults.append(Fault(round(start_s + pause_s + busy_s, 2), kind.name, thing, round(lasts_s, 2), 0.0))
        busy_s += lasts_s + kind.after_s
    return faults


def _lasts(chance: random.Random, kind: Kind) -> float:
    """Short ones are more likely than long ones, over the whole range."""
    if not kind.longest:
        return 0.0
    return float(kind.shortest * (kind.longest / kind.shortest) ** chance.random())
