"""Times of two programs that do the same work, taken in turns in one process.  Imports no framework."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

ROUNDS = 5


def seconds(action: Callable[[], object]) -> float:
    """Wall-clock seconds of one call."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def measure(module, machine_rate: Callable[[], float], share_of: str) -> dict[str, float | str]:
    """Alternate the two loops of `module`; medians of the times, and of the ratios of neighbours in time.

    Args:
        module: has a `NAME` and `epochs()`, which gives our loop, the textbook's, and the floating-point operations of
            the heavy part in ours.
        machine_rate: measures how many such operations the machine can do in a second.
        share_of: what that rate is of, in words.
    """
    ours, textbook, flops = module.epochs()
    ours(), textbook()  # first calls allocate and compile
    times = [(seconds(ours), seconds(textbook), machine_rate()) for _ in range(ROUNDS)]
    return {
        "name": module.NAME,
        "ours_seconds": round(statistics.median(a for a, _, _ in times), 3),
        "textbook_seconds": round(statistics.median(b for _, b, _ in times), 3),
        "ratio": round(statistics.median(b / a for a, b, _ in times), 2),
        "share": round(statistics.median(flops / a / rate for a, _, rate in times), 3),
        "share_of": share_of,
    }
