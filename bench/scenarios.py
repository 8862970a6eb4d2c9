"""What is compared with what, and the lines to hold.

A scenario has sides, each a function that measures one server afresh and returns figures. The side `parley` is judged
by the lines: against a number, or against another side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

from bench.generator import Figures
from bench.sides import (
    LONG_TEXT,
    node_ack,
    node_durable,
    node_fanout,
    node_idle,
    our_ack,
    our_durable,
    our_fanout,
    our_idle,
    send_cost,
)

SWEEP = (10, 30, 100, 300, 1_000, 3_000, 10_000)

Side = Callable[[], Figures]


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of everything; `quick` is for trying the harness out."""

    seconds: float = 8
    room: int = 1_000
    small: int = 500
    large: int = 5_000
    held: int = 15_000
    held_s: float = 300
    hold_s: float = 5


QUICK = Sizes(seconds=3, large=2_000, hold_s=2)


@dataclass(frozen=True, slots=True)
class Line:
    """Parley's figure must be at most `limit`, or at least; times that of the side `against`, if one is named.

    Without a limit it is only reported.
    """

    figure: str
    limit: float | None = None
    against: str = ""
    at_least: bool = False


@dataclass(frozen=True, slots=True)
class Scenario:
    name: str
    title: str
    sides: dict[str, Side]
    lines: tuple[Line, ...]
    once: bool = False  # too long to be repeated, and left out of a quick run


def _fanouts(sizes: Sizes) -> Iterable[Scenario]:
    lines = {
        32: (Line("deliveries_per_s", 5, "node", at_least=True), Line("cpu_us_per_delivery", 0.2, "node")),
        1: (
            Line("cpu_us_per_delivery", 0.9, "node"),
            Line("p99_ms", 1, "node"),
            Line("deliveries_per_s", None, "node"),
        ),
    }
    for window in (32, 1):
        yield Scenario(
            f"fanout-w{window}",
            f"fan-out, {sizes.room:,} clients in a room, window {window}",
            {
                "parley": partial(our_fanout, sizes.seconds, sizes.room, window),
                "node": partial(node_fanout, sizes.seconds, sizes.room, window),
            },
            lines[window],
        )
    yield Scenario(
        "scale",
        f"fan-out, {sizes.large:,} clients against {sizes.small:,}, window 32",
        {
            "parley": partial(our_fanout, sizes.seconds, sizes.large, 32),
            "fewer": partial(our_fanout, sizes.seconds, sizes.small, 32),
        },
        (Line("cpu_us_per_delivery", 1.3, "fewer"),),
    )
    yield Scenario(
        "slow",
        f"fan-out, {sizes.room:,} clients and one who never reads, window 8",
        {
            "parley": partial(our_fanout, sizes.seconds, sizes.room, 8, slow=1, text=LONG_TEXT),
            "without": partial(our_fanout, sizes.seconds, sizes.room, 8, text=LONG_TEXT),
        },
        (Line("p99_ms", 1.2, "without"), Line("rss_growth_kib", None, "without"), Line("slow_dropped")),
    )


def _acks(sizes: Sizes) -> Iterable[Scenario]:
    for window in (8, 1):
        yield Scenario(
            f"ack-w{window}",
            f"acknowledged chat:leave, 100 clients, window {window}",
            {"parley": partial(our_ack, sizes.seconds, window), "node": partial(node_ack, sizes.seconds, window)},
            (
                Line("cpu_us_per_event", 2, "node"),
                Line("acknowledged_per_s", None, "node"),
                Line("p99_ms", None, "node"),
            ),
        )


def _durables(sizes: Sizes) -> Iterable[Scenario]:
    reported = tuple(Line(name, None, "node") for name in ("cpu_us_per_event", "database_cpu_us_per_event", "p99_ms"))
    for name, clients, window, line in (
        ("durable-w8", 100, 8, Line("acknowledged_per_s", 5, "node", at_least=True)),
        ("durable-alone", 1, 1, Line("p50_ms", 1, "node")),
    ):
        yield Scenario(
            name,
            f"durable chat:send, {clients} client{'s' * (clients > 1)} in the room, window {window}",
            {
                "parley": partial(our_durable, sizes.seconds, clients, window),
                "node": partial(node_durable, sizes.seconds, clients, window),
            },
            (line, *reported),
        )
    for window in (1, 8):
        yield Scenario(
            f"send-cost-w{window}",
            f"durable chat:send, 50 direct conversations, window {window}",
            {"parley": partial(send_cost, sizes.seconds, window)},
            tuple(Line(name) for name in ("cpu_us_per_event", "acknowledged_per_s", "p50_ms", "p99_ms")),
        )


def _crowds(sizes: Sizes) -> Iterable[Scenario]:
    yield Scenario(
        "idle",
        f"{sizes.large:,} idle connections, all namespaces",
        {
            "parley": partial(our_idle, sizes.large, sizes.hold_s),
            "node": partial(node_idle, sizes.large, sizes.hold_s),
            "fewer": partial(our_idle, sizes.small, sizes.hold_s),
        },
        (
            Line("connections_per_s", 1, "node", at_least=True),
            Line("rss_kib_per_client", 1, "node"),
            Line("drop_cpu_us_per_client", 200),
            Line("drop_cpu_us_per_client", 1.3, "fewer"),
            Line("drop_cpu_us_per_client", None, "node"),
        ),
    )
    yield Scenario(
        "held",
        f"{sizes.held:,} idle connections, all namespaces, held {sizes.held_s / 60:g} minutes",
        {"parley": partial(our_idle, sizes.held, sizes.held_s)},
        (Line("lost", 0), Line("held_cpu_percent", 15), Line("rss_kib_per_client"), Line("drop_cpu_us_per_client")),
        once=True,
    )


def all_scenarios(sizes: Sizes) -> list[Scenario]:
    return [*_fanouts(sizes), *_acks(sizes), *_durables(sizes), *_crowds(sizes)]


def sweep_scenarios(sizes: Sizes) -> list[Scenario]:
    """The same fan-out over the number of clients, for the picture that `bench.plot` draws."""
    return [
        Scenario(
            f"sweep-{clients}",
            f"fan-out, {clients:,} clients, window 32",
            {
                "parley": partial(our_fanout, sizes.seconds, clients, 32),
                "node": partial(node_fanout, sizes.seconds, clients, 32),
            },
            (Line("deliveries_per_s", None, "node"), Line("cpu_us_per_delivery", None, "node")),
        )
        for clients in SWEEP
    ]
