"""The runs that look for faults of lectures find them in small ones: what Apple's GPUs can't do, cells run twice."""

import json
import textwrap

import pytest

from tools.verify import try_apple, try_twice

START = """
import numpy as np
import torch
import dgm
run = dgm.start("small")
x = torch.randn(5, device=run.device)
assert str(x.device).startswith("mps")
"""


FINE = [
    "x.cpu().double()",
    "dgm.float64(x)",
    "x.cpu().numpy()",
    "dgm.float64(torch.nn.Linear(5, 2).to(run.device))(dgm.float64(x))",
    "torch.zeros(3, dtype=torch.float64)",
    "(x > 0).cpu().double().mean()",
]
NO_FLOAT64 = [
    "x.double()",
    "(x > 0).double().mean().cpu()",
    "torch.zeros(3, dtype=torch.float64, device=run.device)",
    "torch.zeros(3, dtype=torch.float64).to(run.device)",
    "torch.nn.Linear(5, 2).to(run.device).double()",
]
TRY = """
for line in {fine}:
    eval(line)
for line in {no_float64}:
    try:
        eval(line)
    except TypeError as error:
        assert "doesn't support float64" in str(error), line
    else:
        raise SystemExit(f"not refused: {{line}}")
np.asarray(x)
"""


def test_the_pretended_gpu(tmp_path):
    """One process, since each loads torch: all that is fine passes, all that is not is refused, NumPy last."""
    path = tmp_path / "small.py"
    path.write_text(START + TRY.format(fine=FINE, no_float64=NO_FLOAT64), encoding="utf-8")
    found, _ = try_apple.try_script(path)
    assert "Use Tensor.cpu() to copy" in found


def notebook(*cells):
    kinds = {"cell_type": "code", "metadata": {}, "execution_count": None, "outputs": []}
    made = [{**kinds, "id": str(i), "source": textwrap.dedent(cell)} for i, cell in enumerate(cells)]
    return json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": made})


@pytest.mark.parametrize(
    ("cells", "holds"),
    [
        (["import random", "rng = random.Random(0)\nx = rng.random()", "assert x == random.Random(0).random()"], True),
        (["import random\nrng = random.Random(0)", "x = rng.random()", "assert x == random.Random(0).random()"], False),
        (["total = 0", "total += 1", "assert total == 1"], False),
        (["start = 0", "total = start + 1", "start = 5", "assert total == 1"], True),
    ],
)
def test_cells_run_twice(tmp_path, cells, holds):
    (tmp_path / "small.ipynb").write_text(notebook(*cells), encoding="utf-8")
    found, _ = try_twice.try_lecture("small", tmp_path)
    assert (found == "") is holds, found
