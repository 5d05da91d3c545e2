"""What a machine may lack: each fault is planted, and must be told in one line."""

import ast
import os
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest

from tools import preflight
from tools.repo import ROOT


@pytest.fixture
def venv(tmp_path, make_venv):
    """A folder whose .venv was made by the Python that runs here, without anything installed."""
    return make_venv(tmp_path)


@pytest.fixture
def disk_with(monkeypatch):
    """A function that makes every disk have as many gigabytes left."""

    def fill(gigabytes):
        monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=gigabytes * 1e9))

    return fill


def make(folder, *words, **environment):
    """`make` in a copy of the Makefile, with nothing but the given programs in sight."""
    shutil.copytree(ROOT / "tools", folder / "tools", dirs_exist_ok=True)
    for name in ("Makefile", "requirements.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, folder / name)
    command = ["make", "-C", str(folder), *words]
    return subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)


def test_an_old_python_can_read_the_script():
    ast.parse((ROOT / "tools" / "preflight.py").read_text(encoding="utf-8"), feature_version=(3, 6))


@pytest.mark.parametrize(("version", "fits"), [((3, 10), False), ((3, 11), True), ((3, 13), True), ((3, 14), False)])
def test_the_range_of_pythons(version, fits):
    assert (preflight.problems_of_python(version, "/opt/python3") == []) is fits


def test_make_tells_an_old_python_so(tmp_path):
    old = tmp_path / "python3"
    # It answers as an old one would, when make asks for its version and when it runs the script.
    version = "import sys; sys.version_info = (3, 9, 2, 'final', 0); sys.argv = sys.argv[1:]; "
    old.write_text(
        f'#!/bin/sh\n[ "$1" = -c ] && exit 1\n[ "$1" = -I ] && shift\nexec {sys.executable} -c "'
        f'{version} import runpy; runpy.run_path(sys.argv[0], run_name=\'__main__\')" "$@"\n',
        encoding="utf-8",
    )
    old.chmod(0o755)
    done = make(tmp_path, "setup", f"PYTHON={old}")
    assert done.returncode == 2
    assert "Python 3.11, 3.12 or 3.13 is needed, got 3.9" in done.stderr.splitlines()[0]
    assert "Traceback" not in done.stderr
    assert not (tmp_path / ".venv").exists()


def test_a_full_disk_is_told_before_anything_is_made(tmp_path, disk_with):
    disk_with(2.0)
    (message,) = preflight.problems_of_setup(str(tmp_path))
    assert "2.0 GB free" in message
    disk_with(100.0)
    assert preflight.problems_of_setup(str(tmp_path)) == []


def test_a_finished_installation_needs_less_room(venv, disk_with):
    disk_with(preflight.VENV_GB)
    assert preflight.problems_of_setup(str(venv)) != []
    (venv / ".venv" / ".installed").touch()
    assert preflight.problems_of_setup(str(venv)) == []


def test_what_a_stopped_installation_left_counts_as_room(tmp_path, disk_with, monkeypatch):
    monkeypatch.setattr(preflight, "_size", lambda folder: 6e9)
    needed = preflight.VENV_GB + preflight.DOWNLOAD_GB
    monkeypatch.setattr(preflight, "cache_of_uv", lambda: str(tmp_path / "cache"))
    disk_with(needed - 5.9)
    assert preflight.problems_of_setup(str(tmp_path)) == []
    disk_with(needed - 6.1)
    assert len(preflight.problems_of_setup(str(tmp_path))) == 1


def test_each_disk_is_counted_alone(tmp_path, disk_with, monkeypatch):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    real = os.stat
    device = {str(tmp_path / "one"): 1, str(tmp_path / "two"): 2}
    monkeypatch.setattr(os, "stat", lambda path, **more: SimpleNamespace(st_dev=device[path]))
    monkeypatch.setattr(os.path, "isdir", lambda path: path in device)
    disk_with(5.0)
    needs = [(str(tmp_path / "one" / "new"), 3.0), (str(tmp_path / "two"), 4.0)]
    assert preflight.problems_of_room(needs) == []
    device[str(tmp_path / "two")] = 1
    (message,) = preflight.problems_of_room(needs)
    monkeypatch.setattr(os, "stat", real)
    assert "7.0 GB are needed" in message


def test_a_build_on_a_full_disk(tmp_path, disk_with):
    disk_with(0.1)
    (message,) = preflight.problems_of_build(str(tmp_path))
    assert "0.1 GB free, 0.5 GB are needed" in message


def test_a_folder_that_refuses_files(tmp_path, monkeypatch):
    def refuse(**_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(preflight.tempfile, "TemporaryFile", refuse)
    (message,) = preflight.problems_of_build(str(tmp_path))
    assert message.startswith(f"can't write to {tmp_path}: Permission denied")


def test_a_venv_that_works(venv):
    assert preflight.problems_of_venv(str(venv)) == []


def test_a_venv_whose_python_is_gone(venv):
    python = venv / ".venv" / "bin" / "python"
    python.unlink()
    python.symlink_to("/nowhere/python3.11")
    (message,) = preflight.problems_of_venv(str(venv))
    assert "rm -rf .venv" in message


def test_a_venv_of_another_minor_version(venv):
    """The system's python3 was upgraded: the link leads to it, and the packages lie where it does not look."""
    lib = venv / ".venv" / "lib"
    next(lib.iterdir()).rename(lib / "python3.2")
    assert "does not work" in preflight.problems_of_venv(str(venv))[0]


def test_a_venv_that_was_moved(venv, tmp_path):
    (tmp_path / "moved").mkdir()
    (venv / ".venv").rename(tmp_path / "moved" / ".venv")
    assert "made in another folder" in preflight.problems_of_venv(str(tmp_path / "moved"))[0]


@pytest.mark.parametrize("options", ["", "--clear ", "--without-pip --clear "])
@pytest.mark.parametrize("name", ["course", "my course/the book"])
def test_a_folder_with_blanks(tmp_path, name, options):
    """As `pyvenv.cfg` has it: all that follows the options is the folder."""
    venv = tmp_path / name / ".venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    (venv / "pyvenv.cfg").write_text(f"command = /usr/bin/python3.11 -m venv {options}{venv}\n", encoding="utf-8")
    found = preflight.problems_of_venv(str(tmp_path / name))
    assert not [message for message in found if "another folder" in message]
    moved = str(venv).replace("course", "other")
    (venv / "pyvenv.cfg").write_text(f"command = /usr/bin/python3.11 -m venv {options}{moved}\n", encoding="utf-8")
    (message,) = preflight.problems_of_venv(str(tmp_path / name))
    assert f"made in another folder, {moved}, and" in message


def test_an_intel_mac_is_told():
    (message,) = preflight.problems_of_machine("Darwin", "x86_64")
    assert "Colab" in message
    for machine in (("Darwin", "arm64"), ("Linux", "x86_64"), ("Linux", "aarch64")):
        assert preflight.problems_of_machine(*machine) == []
