"""The Keras lectures run unchanged on every backend that is installed, besides their default, TensorFlow."""

import importlib.util
import json
import os
import subprocess
import sys

import pytest

from tools.repo import ROOT

pytestmark = pytest.mark.slow
INSTALLED = [name for name in ("torch", "jax") if importlib.util.find_spec(name)]


@pytest.mark.parametrize("lecture", ["rbm_keras", "vae_keras"])
@pytest.mark.parametrize("backend", INSTALLED)
def test_lecture_on(backend, lecture, tmp_path):
    environment = os.environ | {
        "KERAS_BACKEND": backend,
        "DGM_PROFILE": "smoke",
        "DGM_BUILD": str(tmp_path),
        "DGM_THREADS": "1",
        "MPLBACKEND": "agg",
    }
    command = [sys.executable, str(ROOT / "notebooks" / f"{lecture}.py")]
    finished = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stdout[-2000:] + finished.stderr[-2000:]
    record = json.loads((tmp_path / "smoke" / "results" / f"{lecture}.json").read_text(encoding="utf-8"))
    assert backend in record["versions"]
