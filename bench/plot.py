"""`python -m bench.plot FILE.json OUT.png`: how a fan-out scales with the number of clients, Parley beside Node.

FILE is what `python -m bench.compare --sweep` wrote. Points are medians; the pale band is the range of the runs.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

PREFIX = "sweep-"


@dataclass(frozen=True, slots=True)
class Panel:
    title: str
    unit: str
    figures: dict[str, str]  # figure → what its line is called, and how it is drawn


PANELS = (
    Panel("Deliveries per second", "deliveries/s", {"deliveries_per_s": "-"}),
    Panel("Server CPU per delivery", "µs", {"cpu_us_per_delivery": "-"}),
    Panel("Latency", "ms", {"p50_ms": "-", "p99_ms": "--"}),
    Panel("Memory per client in one namespace", "KiB", {"rss_kib_per_client": "-"}),
)
SIDES = {"parley": ("Parley, durable", "#0b6e6e"), "node": ("Node + socket.io, in memory", "#c2571a")}

# (side, figure) → number of clients → the values of all runs
Series = dict[tuple[str, str], dict[int, list[float]]]


def read(path: Path) -> Series:
    series: Series = defaultdict(lambda: defaultdict(list))
    runs: list[dict[str, Any]] = json.loads(path.read_text("utf-8"))["runs"]
    for run in runs:
        if run["scenario"].startswith(PREFIX):
            clients = int(run["scenario"].removeprefix(PREFIX))
            for name, value in run.get("figures", {}).items():
                series[run["side"], name][clients].append(value)
    return series


def median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


def plain(value: float, _position: object = None) -> str:
    return f"{value:,.0f}" if value >= 1 else f"{value:g}"


def draw_panel(axes: Axes, panel: Panel, series: Series) -> None:
    clients: set[int] = set()
    for side, (label, colour) in SIDES.items():
        for figure, style in panel.figures.items():
            # Ten clients may fit into memory the server has already: nothing a logarithm could show.
            points = {n: values for n, values in sorted(series[side, figure].items()) if min(values) > 0}
            name = f"{label}, {figure.removesuffix('_ms')}" if len(panel.figures) > 1 else label
            middle = [median(values) for values in points.values()]
            axes.plot(list(points), middle, style, color=colour, marker="o", markersize=4, label=name)
            low, high = [min(v) for v in points.values()], [max(v) for v in points.values()]
            axes.fill_between(list(points), low, high, color=colour, alpha=0.15, linewidth=0)
            clients |= points.keys()
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_title(panel.title, loc="left", fontweight="bold")
    axes.set_ylabel(panel.unit)
    axes.set_xlabel("clients in the room")
    axes.set_xticks(sorted(clients), [plain(n) for n in sorted(clients)])
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_formatter(FuncFormatter(plain))
    axes.grid(which="major", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)


def draw(source: Path, out: Path) -> None:
    series = read(source)
    figure = Figure(figsize=(12, 8.5), layout="constrained")
    for axes, panel in zip(figure.subplots(2, 2).flat, PANELS, strict=True):
        draw_panel(axes, panel, series)
    figure.suptitle("Fan-out to one room, window 32, server on one core; log scales", fontsize=11)
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=130)
    print(f"drew {out}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.plot", description="Draw what a sweep measured.")
    parser.add_argument("source", type=Path, help="the JSON that bench.compare --sweep wrote")
    parser.add_argument("out", type=Path, help="the picture, .png or .svg")
    options = parser.parse_args()
    draw(options.source, options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
