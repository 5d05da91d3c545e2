"""Speed of the book's training loops beside the loops that a textbook would print: `make bench`.

Both loops run in one process, alternating, with the same mathematics, batch size, data and number of threads, so that
their ratio holds on a noisy machine.  Every benchmark is a pair of functions that do the same work: an epoch, or a
number of chains.  The record also says which share of the machine's measured rate, of matrix products or of
convolutions, our loop reaches.  Keras has a process of its own: TensorFlow and PyTorch do not share one.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import energy_langevin
import gan_mnist
import mnist_diffusion
import rbm_cd1
import torch
import vae_mlp
from side_by_side import measure, seconds

BENCHMARKS = (rbm_cd1, energy_langevin, vae_mlp, gan_mnist, mnist_diffusion.TRAIN, mnist_diffusion.SAMPLE)


def gemm_rate(size: int = 2048) -> float:
    """Floating-point operations per second of a large matrix product, the best of several."""
    a = torch.randn(size, size)
    return 2 * size**3 / min(seconds(lambda: a @ a) for _ in range(8))


def keras_record() -> dict[str, float | str]:
    """The record that `vae_keras.py` prints in its last line."""
    command = [sys.executable, str(Path(__file__).with_name("vae_keras.py"))]
    finished = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(finished.stdout.splitlines()[-1])


def show(record: dict[str, float | str]) -> None:
    """One line of the table."""
    print(
        f"{record['name']:16} {record['ours_seconds']:7.2f}s {record['textbook_seconds']:8.2f}s "
        f"{record['ratio']:6.1f} {record['share']:6.0%} of {record['share_of']}"
    )


def main() -> None:
    """Measure everything, print a table, write `bench.json`."""
    records = []
    print(f"{'':16} {'ours':>8} {'textbook':>9} {'ratio':>6} {'share of the rate of this machine':>34}")
    for module in BENCHMARKS:
        records.append(measure(module, gemm_rate, "matrix products"))
        show(records[-1])
    records.append(keras_record())
    show(records[-1])
    machine = {
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
    path = Path(__file__).parents[1] / "_build" / "bench.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"machine": machine, "records": records}, indent=1) + "\n", encoding="utf-8")
    print(path)


if __name__ == "__main__":
    main()
