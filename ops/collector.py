"""The garbage collector's part in a process that holds very many small objects for long."""

from __future__ import annotations

import gc


def spare() -> None:
    """What was imported stays; and connections are freed without the garbage collector, which need not look so often.

    By default it walked over every connection again and again while messages came and went.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 50, 100)
