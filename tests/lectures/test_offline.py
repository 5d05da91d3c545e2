"""Every lecture runs to its end without MNIST and without a network, and says loudly which data it used."""

import os
import subprocess
import sys

import pytest

from tools.repo import ROOT, lectures


@pytest.mark.parametrize("lecture", lectures())
def test_a_lecture_without_a_network(lecture, tmp_path):
    nobody_listens = "http://127.0.0.1:9"
    environment = os.environ | {
        "DGM_PROFILE": "smoke",
        "DGM_DATA": str(tmp_path / "data"),
        "DGM_BUILD": str(tmp_path / "build"),
        "DGM_THREADS": "1",
        "HTTP_PROXY": nobody_listens,
        "HTTPS_PROXY": nobody_listens,
        "MPLBACKEND": "agg",
    }
    command = [sys.executable, str(ROOT / "notebooks" / f"{lecture}.py")]
    finished = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stdout[-2000:] + finished.stderr[-2000:]
    if 'data="mnist"' in (ROOT / "notebooks" / f"{lecture}.py").read_text(encoding="utf-8"):
        first_lines = "\n".join(finished.stdout.splitlines()[:3])
        assert "NOT MNIST" in first_lines
        assert "digits" in first_lines
    assert (tmp_path / "build" / "smoke" / "results" / f"{lecture}.json").is_file()
