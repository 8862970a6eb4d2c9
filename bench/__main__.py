"""`python -m bench`: everything Parley is held to, measured beside its Node peers, and the picture of how it scales.

Prints the table of `bench.compare`, then sweeps the number of clients and draws `data/bench/sweep.png`. It takes three
quarters of an hour; `--quick` takes minutes and shows that everything works.
"""

from __future__ import annotations

import argparse
import sys

from bench import plot
from bench.compare import OUT, add_options, compare
from bench.processes import BenchError


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    add_options(parser)
    parser.set_defaults(only=None, sweep=False, out=None)
    options = parser.parse_args()
    try:
        code = compare(options)
        options.sweep = True
        code |= compare(options)
        plot.draw(OUT / "sweep.json", OUT / "sweep.png")
    except BenchError as error:
        print(f"stopped: {error}", file=sys.stderr)
        return 1
    return code


if __name__ == "__main__":
    sys.exit(main())
