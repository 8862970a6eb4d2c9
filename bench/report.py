"""The table of a comparison: Parley's figure, what it is compared with, the ratio, the line, and whether it holds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from bench.scenarios import Line, Scenario

HEADER = ("scenario", "figure", "Parley", "compared with", "ratio", "line", "holds")
NAMES = {
    "acknowledged_per_s": "acknowledged/s",
    "connections_per_s": "connections/s",
    "cpu_us_per_delivery": "server CPU µs per delivery",
    "cpu_us_per_event": "server CPU µs per event",
    "database_cpu_us_per_event": "database CPU µs per event",
    "deliveries_per_s": "deliveries/s",
    "drop_cpu_us_per_client": "mass disconnect, CPU µs per client",
    "held_cpu_percent": "CPU %",
    "lost": "lost connections",
    "p50_ms": "p50 ms",
    "p99_ms": "p99 ms",
    "rss_growth_kib": "server memory growth KiB",
    "rss_kib_per_client": "memory KiB per client",
    "slow_dropped": "slow reader dropped",
}

Medians = Mapping[str, Mapping[str, Mapping[str, float]]]


def number(value: float | None) -> str:
    if value is None:
        return "failed"
    if value == 0 or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def holds(line: Line, own: float, other: float | None) -> bool | None:
    """None when there is nothing to hold, or nothing to compare with."""
    if line.limit is None or (line.against and other is None):
        return None
    limit = line.limit * other if other is not None else line.limit
    return own >= limit if line.at_least else own <= limit


def row(title: str, line: Line, sides: Mapping[str, Mapping[str, float]]) -> tuple[str, ...]:
    own = sides.get("parley", {}).get(line.figure)
    other = sides.get(line.against, {}).get(line.figure) if line.against else None
    compared = f"{line.against} {number(other)}" if line.against else ""
    ratio = f"{own / other:.2f}" if own is not None and other else ""
    limit = (
        "" if line.limit is None else f"{'≥' if line.at_least else '≤'} {line.limit:g}{' ×' if line.against else ''}"
    )
    verdict = holds(line, own, other) if own is not None else None
    answer = {True: "yes", False: "**no**", None: "?" if line.limit is not None else ""}[verdict]
    return (title, NAMES[line.figure], number(own), compared, ratio, limit, answer)


def table(scenarios: Iterable[Scenario], medians: Medians) -> Iterator[str]:
    yield _markdown(HEADER)
    yield _markdown(("---",) * len(HEADER))
    for scenario in scenarios:
        title = scenario.title
        for line in scenario.lines:
            yield _markdown(row(title, line, medians.get(scenario.name, {})))
            title = ""


def _markdown(cells: tuple[str, ...]) -> str:
    return f"| {' | '.join(cells)} |"
