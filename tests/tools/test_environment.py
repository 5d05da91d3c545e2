"""What of the settings of whoever builds reaches a kernel, a page, a repository: nothing."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tools import environment
from tools.repo import ROOT

SETTINGS = {
    "MPLBACKEND": "agg",
    "MATPLOTLIBRC": "/home/me/dark",
    "MPLCONFIGDIR": "/home/me/.config/matplotlib",
    "PYTHONWARNINGS": "error",
    "PYTHONSAFEPATH": "1",
    "PYTHONPATH": "/home/me/broken",
    "PYTHONOPTIMIZE": "2",
    "PYTEST_ADDOPTS": "-x",
    "PYTEST_PLUGINS": "nowhere",
    "JUPYTER_PATH": "/home/me/kernels",
    "IPYTHONDIR": "/home/me/.ipython",
    "KERAS_HOME": "/home/me/.keras",
    "KERAS_BACKEND": "jax",
    "GIT_DIR": "/home/me/project/.git",
    "GIT_INDEX_FILE": "/home/me/project/.git/index",
}


def test_an_old_python_can_read_it():
    ast.parse((ROOT / "tools" / "environment.py").read_text(encoding="utf-8"), feature_version=(3, 6))


def test_settings_are_left_out_and_all_else_stays():
    found = environment.clean({**SETTINGS, "HOME": "/home/me", "HTTPS_PROXY": "http://proxy", "OMP_NUM_THREADS": "3"})
    assert not [name for name, value in SETTINGS.items() if found.get(name) == value and name != "PYTHONSAFEPATH"]
    assert "PYTHONSAFEPATH" not in found
    assert (found["HOME"], found["HTTPS_PROXY"], found["OMP_NUM_THREADS"]) == ("/home/me", "http://proxy", "3")
    assert found["PYTHONPATH"] == str(ROOT)


def test_ours_are_on_top_and_none_removes():
    found = environment.clean({"DGM_DATA": "/data", "DGM_SEED": "3"}, DGM_SEED=None, DGM_PROFILE="smoke")
    assert "DGM_SEED" not in found
    assert (found["DGM_DATA"], found["DGM_PROFILE"]) == ("/data", "smoke")


def test_relative_folders_are_resolved(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    found = environment.clean({"DGM_DATA": "data", "DGM_BUILD": "../build", "DGM_BOOK": ""})
    assert found["DGM_DATA"] == str(tmp_path / "data")
    assert found["DGM_BUILD"] == str(tmp_path.parent / "build")
    assert found["DGM_BOOK"] == ""


@pytest.fixture
def hostile(tmp_path):
    """An environment in which most things go wrong."""
    broken = tmp_path / "broken"
    for name in ("yaml", "numpy", "nbclient"):
        (broken / name).mkdir(parents=True)
        (broken / name / "__init__.py").write_text("raise RuntimeError('a module of somebody')", encoding="utf-8")
    (tmp_path / "home/.ipython/profile_default").mkdir(parents=True)
    config = "c.InteractiveShell.ast_node_interactivity = 'all'\nc.InteractiveShellApp.exec_lines = ['1/0']\n"
    (tmp_path / "home/.ipython/profile_default/ipython_config.py").write_text(config, encoding="utf-8")
    kernel = tmp_path / "jupyter/kernels/python3"
    kernel.mkdir(parents=True)
    foreign = '{"argv": ["/bin/false"], "display_name": "x", "language": "python"}'
    (kernel / "kernel.json").write_text(foreign, encoding="utf-8")
    for folder in (".config/matplotlib", ".keras"):
        (tmp_path / "home" / folder).mkdir(parents=True)
    (tmp_path / "home/.config/matplotlib/matplotlibrc").write_text("text.usetex: True\n", encoding="utf-8")
    (tmp_path / "home/.keras/keras.json").write_text('{"floatx": "float64"}', encoding="utf-8")
    settings = SETTINGS | {
        "HOME": str(tmp_path / "home"),
        "PYTHONPATH": str(broken),
        "JUPYTER_PATH": str(tmp_path / "jupyter"),
        "IPYTHONDIR": str(tmp_path / "home/.ipython"),
        "MPLBACKEND": "agg",
        "MATPLOTLIBRC": str(tmp_path / "home/.config/matplotlib"),
        "LC_ALL": "POSIX",
        "PYTHONCOERCECLOCALE": "0",
        "PYTHONUTF8": "0",
    }
    return os.environ | settings


NOTEBOOK = """{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [
 {"cell_type": "code", "id": "a", "metadata": {}, "execution_count": null, "outputs": [], "source": %s}]}"""
SOURCE = """
import locale, sys
import matplotlib.pyplot as plt
1
2
print("usetex", plt.rcParams["text.usetex"], locale.getpreferredencoding(False), sys.flags.optimize, "\\u00e4")
_ = plt.plot([0, 1])
"""


def test_none_of_it_reaches_a_page(hostile, tmp_path):
    """Run as the Makefile does: through the launcher, and through the clean environment of the worker."""
    import json

    source, target = tmp_path / "a.ipynb", tmp_path / "b.ipynb"
    source.write_text(NOTEBOOK % json.dumps(SOURCE), encoding="utf-8")
    launcher = [sys.executable, "-I", str(ROOT / "tools" / "environment.py")]
    command = [*launcher, "-m", "tools.book.execute", str(source), str(target)]
    done = subprocess.run(command, env=hostile, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (cell,) = json.loads(target.read_text(encoding="utf-8"))["cells"]
    kinds = [output["output_type"] for output in cell["outputs"]]
    assert kinds == ["stream", "display_data"]  # a picture, and the values of `1` and `2` are not shown
    assert "".join(cell["outputs"][0]["text"]).split() == ["usetex", "False", "utf-8", "0", "ä"]


def test_pytest_starts_in_it(hostile):
    launcher = [sys.executable, "-I", str(ROOT / "tools" / "environment.py")]
    command = [*launcher, "-m", "pytest", "-q", "tests/tools/test_environment.py", "-k", "old_python"]
    done = subprocess.run(command, env=hostile, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_git_looks_where_it_is_started(monkeypatch, tmp_path):
    """Inside of a hook GIT_DIR names the repository of the developer: no program of ours may write to it."""
    theirs = tmp_path / "theirs"
    subprocess.run(["git", "init", "-q", str(theirs)], check=True, env=environment.git_free())
    monkeypatch.setenv("GIT_DIR", str(theirs / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(theirs))
    before = sorted(path.relative_to(theirs) for path in theirs.rglob("*"))
    from tools.verify.try_colab import Workshop

    Workshop(tmp_path / "workshop")
    assert sorted(path.relative_to(theirs) for path in theirs.rglob("*")) == before
    assert (tmp_path / "workshop" / "source" / ".git").is_dir()


def test_the_commit_is_that_of_the_package(monkeypatch, tmp_path):
    """Neither that of GIT_DIR, nor that of a repository in which an archive of the book lies."""
    from dgm import _environment

    run = {"check": True, "env": environment.git_free(), "capture_output": True}
    subprocess.run(["git", "init", "-q", str(tmp_path)], **run)
    person = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run(["git", "-C", str(tmp_path), *person, "commit", "-q", "--allow-empty", "-m", "x"], **run)
    archive = tmp_path / "archive" / "dgm"
    archive.mkdir(parents=True)
    monkeypatch.setattr(_environment, "__file__", str(archive / "_environment.py"))
    monkeypatch.delenv("DGM_COMMIT", raising=False)
    assert _environment.commit() == "unknown"
    (archive / "__init__.py").write_text("", encoding="utf-8")
    subprocess.run(["git", "-C", str(tmp_path), "add", "-A"], **run)
    subprocess.run(["git", "-C", str(tmp_path), *person, "commit", "-q", "-m", "y"], **run)
    own = _environment.commit()
    assert len(own) == 40
    monkeypatch.setenv("GIT_DIR", str(Path(ROOT) / ".git"))
    assert _environment.commit() == own
