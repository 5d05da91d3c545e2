"""Chromium is found, installed or asked for in words, and so is the book; no browser runs here."""

import os

import pytest

from tools import browser


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """A function that puts a shell script into the only folder where programs are looked for."""
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("DGM_CHROMIUM", "DGM_BOOK"):
        monkeypatch.delenv(name, raising=False)

    def put(name, script=":"):
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        path.chmod(0o755)
        return str(path)

    return put


def be(monkeypatch, user):
    monkeypatch.setattr(os, "geteuid", lambda: user, raising=False)


@pytest.mark.parametrize("name", browser.PROGRAMS)
def test_a_browser_that_is_there_is_taken(programs, name):
    path = programs(name)
    assert browser.chromium() == path


def test_a_browser_that_is_named_is_taken(programs, monkeypatch):
    programs("chromium")
    monkeypatch.setenv("DGM_CHROMIUM", wanted := programs("brave"))
    assert browser.chromium() == wanted
    monkeypatch.setenv("DGM_CHROMIUM", "nothing")
    with pytest.raises(SystemExit, match="DGM_CHROMIUM: expected a program, got 'nothing'"):
        browser.chromium()


def test_a_missing_browser_is_installed_without_questions(programs, monkeypatch, tmp_path):
    be(monkeypatch, 0)
    chromium = tmp_path / "chromium"
    asked = f'echo "$DEBIAN_FRONTEND $*" >> {tmp_path}/asked'
    programs("apt-get", f"{asked}\n[ $1 = update ] || {{ : > {chromium}; /bin/chmod +x {chromium}; }}")
    assert browser.chromium() == str(chromium)
    update, install = (tmp_path / "asked").read_text(encoding="utf-8").splitlines()
    assert update.startswith("noninteractive update")
    assert install.startswith("noninteractive install")
    assert "--yes" in install


def test_what_can_not_be_installed_is_named(programs, monkeypatch):
    be(monkeypatch, 0)
    with pytest.raises(SystemExit, match="install the package `chromium`"):  # no apt-get
        browser.chromium()
    programs("apt-get", "exit 1")
    with pytest.raises(SystemExit, match="failed: install the package `chromium` by hand"):
        browser.chromium()
    programs("apt-get")
    with pytest.raises(SystemExit, match="after its installation, found none"):
        browser.chromium()
    be(monkeypatch, 1000)
    with pytest.raises(SystemExit, match="install the package `chromium`"):
        browser.chromium()


def test_the_newest_book_is_read(programs, monkeypatch, tmp_path):
    with pytest.raises(SystemExit, match="expected a built book"):
        browser.book_folder(tmp_path)
    for age, profile in ((100, "quick"), (50, "smoke")):
        index = tmp_path / "_build" / profile / "html" / "index.html"
        index.parent.mkdir(parents=True)
        index.touch()
        os.utime(index, (1e9 - age, 1e9 - age))
        assert browser.book_folder(tmp_path) == index.parent
    monkeypatch.setenv("DGM_BOOK", str(tmp_path / "_build/quick/html"))
    assert browser.book_folder(tmp_path).parts[-2] == "quick"
    monkeypatch.setenv("DGM_BOOK", str(tmp_path))
    with pytest.raises(SystemExit, match=r"DGM_BOOK: expected a folder with index\.html"):
        browser.book_folder(tmp_path)


def test_a_long_temporary_folder_is_not_used(monkeypatch):
    """The path of a socket may have 107 characters."""
    long = "/tmp/" + "x" * 90
    monkeypatch.setenv("TMPDIR", long)
    with browser.short_temporary_folder():
        assert os.environ["TMPDIR"] == "/tmp"
    assert os.environ["TMPDIR"] == long
    monkeypatch.setenv("TMPDIR", "/tmp/short")
    with browser.short_temporary_folder():
        assert os.environ["TMPDIR"] == "/tmp/short"
