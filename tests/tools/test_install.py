"""`make setup`: what is installed is known by hashes, nothing is lost without a network, nothing goes elsewhere."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from tools import install
from tools.repo import ROOT

NOWHERE = {
    "PIP_INDEX_URL": "http://127.0.0.1:9/simple",
    "PIP_CONFIG_FILE": os.devnull,
    "PIP_FIND_LINKS": "",
    "PIP_RETRIES": "0",
    "NO_PROXY": "*",
}


@pytest.fixture
def course(tmp_path):
    """What `make setup` needs, in a folder with a blank in its name."""
    folder = tmp_path / "my course"
    shutil.copytree(ROOT / "tools", folder / "tools", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("Makefile", "requirements.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, folder / name)
    return folder


@pytest.fixture
def installed(course, make_venv):
    """A finished installation, of which nothing is used but the Python."""
    make_venv(course)
    note(course)
    (course / ".venv" / "precious").touch()
    return course


def note(course):
    marker = course / ".venv" / ".installed"
    marker.write_text(json.dumps(install.wanted(course)), encoding="utf-8")


def make(folder, *words, **environment):
    command = ["make", "-C", str(folder), *words, f"PYTHON={sys.executable}"]
    return subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)


def test_a_finished_installation_is_left_alone(installed):
    done = make(installed, "setup", **NOWHERE)
    assert done.returncode == 0, done.stdout + done.stderr
    os.utime(installed / "pyproject.toml")  # as switching branches does
    os.utime(installed / "requirements.txt")
    assert make(installed, "setup", **NOWHERE).returncode == 0
    assert (installed / ".venv" / "precious").exists()


def test_without_a_network_nothing_is_lost(installed):
    lock = installed / "requirements.txt"
    lock.write_text(lock.read_text(encoding="utf-8") + "\n# another lock\n", encoding="utf-8")
    for _ in range(2):
        done = make(installed, "setup", **NOWHERE)
        assert done.returncode == 2
        assert done.stderr.startswith("pip can't get")
        assert "needs the network once" in done.stderr
        assert "Traceback" not in done.stderr
        assert (installed / ".venv" / "precious").exists()
        assert (installed / ".venv" / ".installed").exists()


def test_a_first_installation_without_a_network(course):
    done = make(course, "setup", **NOWHERE)
    assert done.returncode == 2
    first, *others = done.stderr.splitlines()
    assert first.startswith("pip can't get")
    assert all(line.startswith("make") for line in others)
    assert not (course / ".venv" / ".installed").exists()


def test_an_empty_python_is_none(course):
    done = subprocess.run(
        ["make", "-C", str(course), "-n", "setup", "PYTHON="], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    assert '"python3' in done.stdout


def test_a_change_of_the_project_alone_needs_no_network(installed, monkeypatch):
    steps = []
    monkeypatch.setattr(install.Installer, "packages", lambda self: steps.append("packages"))
    monkeypatch.setattr(install.Installer, "project", lambda self: steps.append("project"))
    monkeypatch.setattr(install.Installer, "ask_index", lambda self: steps.append("index"))
    settings = installed / "pyproject.toml"
    settings.write_text(settings.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    install.Installer(installed).install()
    assert steps == ["project"]
    install.Installer(installed).install()
    assert steps == ["project"]


def test_a_stopped_installation_is_made_anew(installed, monkeypatch):
    """Half a package, as Ctrl-C leaves it, would satisfy an installer: the second `make setup` must not keep it."""
    (installed / ".venv" / ".installed").unlink()
    for name in ("packages", "project", "ask_index"):
        monkeypatch.setattr(install.Installer, name, lambda self: None)
    install.Installer(installed).install()
    assert not (installed / ".venv" / "precious").exists()
    assert install.installed(installed) == install.wanted(installed)


def test_where_packages_go_is_ours_and_where_they_come_from_is_theirs():
    given = {
        "PIP_USER": "1",
        "PIP_TARGET": "/elsewhere",
        "PIP_PREFIX": "/elsewhere",
        "PIP_CONSTRAINT": "/their/constraints.txt",
        "UV_TARGET": "/elsewhere",
        "UV_PROJECT_ENVIRONMENT": "/elsewhere",
        "PIP_INDEX_URL": "https://mirror.example.org/simple",
        "PIP_CERT": "/their/ca.pem",
        "HTTPS_PROXY": "http://proxy",
        "HOME": "/home/me",
    }
    found = install.environment_of_installers({"index-url": "https://other.example.org"}, given)
    assert not [name for name, value in found.items() if "elsewhere" in value or value == "/their/constraints.txt"]
    assert found["UV_DEFAULT_INDEX"] == given["PIP_INDEX_URL"]
    assert found["SSL_CERT_FILE"] == "/their/ca.pem"
    assert found["HTTPS_PROXY"] == "http://proxy"
    found = install.environment_of_installers({"index-url": "https://other.example.org"}, {})
    assert found["UV_DEFAULT_INDEX"] == "https://other.example.org"


def test_uv_is_in_the_lock_with_its_hashes():
    block = install.locked_block("uv", (ROOT / "requirements.txt").read_text(encoding="utf-8"))
    assert block.count("--hash=sha256:") > 3
    assert block.startswith("uv==")
    with pytest.raises(ValueError, match="expected uvx with its hashes, found none"):
        install.locked_block("uvx", block)
