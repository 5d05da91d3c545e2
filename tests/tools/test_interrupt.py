"""Ctrl-C at any moment of `make book`: one line, and the next run passes and is complete."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest

from tools import sync
from tools.repo import ROOT

LECTURE = '''# ---
# jupyter:
#   jupytext:
#     cell_markers: r"""
# ---

# %% [markdown]
r"""
# Lecture {name}

The word {name} is to be found.
"""

# %%
import time

import dgm

run = dgm.start("{name}")
number = run.record("number", 1, unit="1", protocol="none")
time.sleep({seconds})

# %%
run.finish()
'''
README = "# A book\n\n<!-- lectures -->\n<!-- /lectures -->\n"


@pytest.fixture
def small_book(tmp_path):
    """A book of two lectures, that wait for a second each, with the tools of this one."""
    for name in ("tools", "book/_static", "figures"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("_config.yml", "requirements.txt", "book/references.bib", "book/results.md"):
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "dgm").mkdir()
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "README.md").write_text(README)
    (tmp_path / "book" / "index.md").write_text("# The first page\n")
    (tmp_path / "book" / "results.md").write_text("# Results\n\n```{results}\n```\n")
    lectures = ("alpha", "beta")
    chapters = "".join(f"      - file: notebooks/{name}\n" for name in lectures)
    (tmp_path / "_toc.yml").write_text(
        "format: jb-book\nroot: book/index\nparts:\n  - caption: All\n    chapters:\n"
        + chapters
        + "      - file: book/results\n"
    )
    for name in lectures:
        (tmp_path / "notebooks" / f"{name}.py").write_text(LECTURE.format(name=name, seconds=1))
    for path, text in sync.expected(tmp_path).items():
        path.write_text(text)
    return tmp_path


def start(folder):
    """The build, as the foreground job of a terminal."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DGM_")}
    environment |= {"DGM_PROFILE": "smoke", "DGM_DATA": os.environ.get("DGM_DATA", str(folder / "data"))}
    command = [sys.executable, "-m", "tools.book.build"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}

    def listen():  # a test in the background ignores Ctrl-C, and would hand that down
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    return subprocess.Popen(command, cwd=folder, env=environment, start_new_session=True, preexec_fn=listen, **pipes)


MOMENTS = {
    "the first lecture runs": "results/alpha.json",
    "the second lecture runs": "results/beta.json",
    "pages are written": "html/book/index.html",
    "the search index is not yet written": "html/notebooks/beta.html",
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_an_interrupted_build_is_complete_after_the_next(small_book, moment):
    build = small_book / "_build" / "smoke"
    process = start(small_book)
    while not (build / MOMENTS[moment]).exists() and process.poll() is None:
        time.sleep(0.002)
    assert process.poll() is None, process.communicate()[0]
    os.killpg(process.pid, signal.SIGINT)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 130, printed
    # Nothing may show where it was, but a kernel that ends: on a busy machine it stumbles over its own socket.
    shown = re.findall(r'File "([^"]+)"', printed)
    assert not [path for path in shown if not re.search(r"(^|/)(ipykernel|zmq)/", path)], printed
    assert "stopped" in printed.splitlines()[-1]

    again = start(small_book)
    printed, _ = again.communicate(timeout=120)
    assert again.returncode == 0, printed
    for name in ("alpha", "beta"):
        assert name in (build / "html" / "searchindex.js").read_text()
        assert name in (build / "html" / "book" / "results.html").read_text()
        assert len(json.loads((build / "results" / f"{name}.json").read_text())["metrics"]) == 1


def finished(folder):
    """What a build printed, that must end well."""
    process = start(folder)
    printed, _ = process.communicate(timeout=120)
    assert process.returncode == 0, printed
    return printed


def test_half_written_files_are_not_taken_for_whole_ones(small_book):
    """As a power cut leaves them: Sphinx alone goes by file times, and jupyter-cache stumbles over its own list."""
    finished(small_book)
    build = small_book / "_build" / "smoke"
    (cache,) = build.glob("cache-*")
    page, tree = build / "html" / "notebooks" / "alpha.html", build / "doctrees" / "notebooks" / "beta.doctree"
    first, second = cache.glob("executed/*/base.ipynb")
    for path in (page, tree, first):
        path.write_bytes(path.read_bytes()[:300])
    shutil.rmtree(second.parent)
    (build / "unfinished").touch()
    assert "was stopped" in finished(small_book)
    assert "</html>" in page.read_text()
    assert len(list(cache.glob("executed/*/base.ipynb"))) == 2
    assert not (build / "unfinished").exists()
