"""Speed of the book's training loops beside the loops that a textbook would print: `make bench`.

Both loops run in one process, alternating, with the same mathematics, batch size, data and number of threads, so that
their ratio holds on a noisy machine.  Every benchmark is a pair of functions that do the same work: an epoch, or a
number of chains.  The record also says which share of the machine's measured matrix-product rate our loop reaches.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable

import energy_langevin
import rbm_cd1
import torch

from dgm.runtime import build_folder

BENCHMARKS = (rbm_cd1, energy_langevin)
ROUNDS = 5


def seconds(action: Callable[[], object]) -> float:
    """Wall-clock seconds of one call."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def gemm_rate(size: int = 2048) -> float:
    """Floating-point operations per second of a large matrix product, the best of several."""
    a = torch.randn(size, size)
    return 2 * size**3 / min(seconds(lambda: a @ a) for _ in range(8))


def measure(module) -> dict[str, float | str]:
    """Alternate the two loops; medians of the times, and of the ratios of neighbours in time."""
    ours, textbook, flops = module.epochs()
    ours(), textbook()  # first calls allocate and compile
    times = [(seconds(ours), seconds(textbook), gemm_rate()) for _ in range(ROUNDS)]
    return {
        "name": module.NAME,
        "ours_seconds": round(statistics.median(a for a, _, _ in times), 3),
        "textbook_seconds": round(statistics.median(b for _, b, _ in times), 3),
        "ratio": round(statistics.median(b / a for a, b, _ in times), 2),
        "gemm_share": round(statistics.median(flops / a / rate for a, _, rate in times), 3),
    }


def main() -> None:
    """Measure everything, print a table, write `bench.json`."""
    records = []
    print(f"{'':16} {'ours':>8} {'textbook':>9} {'ratio':>6} {'share of matrix-product rate':>29}")
    for module in BENCHMARKS:
        record = measure(module)
        records.append(record)
        print(
            f"{record['name']:16} {record['ours_seconds']:7.2f}s {record['textbook_seconds']:8.2f}s "
            f"{record['ratio']:6.1f} {record['gemm_share']:29.0%}"
        )
    machine = {
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
    path = build_folder() / "bench.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"machine": machine, "records": records}, indent=1) + "\n")
    print(path)


if __name__ == "__main__":
    main()
