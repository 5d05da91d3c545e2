"""`make book` stopped at any moment, in any way: one line that says so, and the next run passes and is complete."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tools import sync
from tools.book.pages import problems_for_publishing
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
pytestmark = pytest.mark.slow
README = "# A book\n\n<!-- lectures -->\n<!-- /lectures -->\n"


@pytest.fixture
def small_book(tmp_path):
    """A book of two lectures, that wait for a second each, with the tools of this one."""
    for name in ("tools", "book/_static", "figures"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("_config.yml", "requirements.txt", "book/references.bib", "book/results.md"):
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "dgm").symlink_to(ROOT / "dgm")
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "README.md").write_text(README, encoding="utf-8")
    (tmp_path / "book" / "index.md").write_text("# The first page\n", encoding="utf-8")
    (tmp_path / "book" / "results.md").write_text("# Results\n\n```{results}\n```\n", encoding="utf-8")
    lectures = ("alpha", "beta")
    chapters = "".join(f"      - file: notebooks/{name}\n" for name in lectures)
    (tmp_path / "_toc.yml").write_text(
        "format: jb-book\nroot: book/index\nparts:\n  - caption: All\n    chapters:\n"
        + chapters
        + "      - file: book/results\n",
        encoding="utf-8",
    )
    for name in lectures:
        (tmp_path / "notebooks" / f"{name}.py").write_text(LECTURE.format(name=name, seconds=1), encoding="utf-8")
    for path, text in sync.expected(tmp_path).items():
        path.write_text(text, encoding="utf-8")
    return tmp_path


def start(folder, **settings):
    """The build, as the foreground job of a terminal."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("DGM_", "PYTHON"))}
    environment |= {"DGM_PROFILE": "smoke", "DGM_DATASET": "digits"} | settings
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
        assert name in (build / "html" / "searchindex.js").read_text(encoding="utf-8")
        assert name in (build / "html" / "book" / "results.html").read_text(encoding="utf-8")
        assert len(json.loads((build / "results" / f"{name}.json").read_text(encoding="utf-8"))["metrics"]) == 1


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
    cache = build / "cache"
    page, tree = build / "html" / "notebooks" / "alpha.html", build / "doctrees" / "notebooks" / "beta.doctree"
    first, second = cache.glob("executed/*/base.ipynb")
    for path in (page, tree, first):
        path.write_bytes(path.read_bytes()[:300])
    shutil.rmtree(second.parent)
    (build / "unfinished").touch()
    assert "was stopped, or failed" in finished(small_book)
    assert "</html>" in page.read_text(encoding="utf-8")
    assert len(list(cache.glob("executed/*/base.ipynb"))) == 2
    assert not (build / "unfinished").exists()


def wait_for(path, process):
    """Until a file is there."""
    while not path.exists() and process.poll() is None:
        time.sleep(0.002)
    assert process.poll() is None, process.communicate()[0]


def processes_of(folder, word):
    """Numbers of the processes below the build of `folder` whose command has a word in it."""
    found = []
    for status in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            command = status.read_bytes().decode(errors="replace").split("\0")
            if any(word in part for part in command) and os.readlink(status.parent / "cwd").startswith(str(folder)):
                found.append(int(status.parent.name))
    return found


def test_a_worker_that_is_killed_is_told_and_the_other_lecture_is_kept(small_book):
    build = small_book / "_build" / "smoke"
    process = start(small_book)
    wait_for(build / "results" / "alpha.json", process)
    workers = [n for n in processes_of(small_book, "tools.book.execute") if "alpha" in command_of(n)]
    assert len(workers) == 1
    os.kill(workers[0], signal.SIGKILL)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 1, printed
    assert "alpha failed:\nthe process was ended by SIGKILL" in printed
    assert "Traceback" not in printed
    lines = [line for line in finished(small_book).splitlines() if line.startswith(("alpha", "beta"))]
    assert [line.endswith("(not run again)") for line in lines] == [False, True]


def command_of(number):
    return Path(f"/proc/{number}/cmdline").read_bytes().decode(errors="replace")


def test_a_kernel_that_dies_is_told(small_book):
    path = small_book / "notebooks" / "alpha.py"
    dying = path.read_text(encoding="utf-8").replace("time.sleep(1)", "import os\nos._exit(9)")
    path.write_text(dying, encoding="utf-8")
    for written, text in sync.expected(small_book).items():
        written.write_text(text, encoding="utf-8")
    process = start(small_book)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "alpha failed:\nits kernel died" in printed
    assert re.search(r"[12] of  2 beta", printed)  # the other lecture has run


def test_two_builds_at_once(small_book):
    """One line for the second, which changes nothing; a lock whose holder has died holds nobody up."""
    first = start(small_book)
    wait_for(small_book / "_build" / "smoke" / "results" / "alpha.json", first)
    second = start(small_book)
    printed, _ = second.communicate(timeout=60)
    assert second.returncode == 1
    assert f"another build (process {first.pid}) is at work" in printed
    assert "Traceback" not in printed
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    assert "alpha" in finished(small_book)


def test_a_build_that_failed_on_a_page_fails_again(small_book):
    page = small_book / "book" / "index.md"
    page.write_text("# The first page\n\n{eq}`eq-nowhere`\n", encoding="utf-8")
    for _ in range(2):
        process = start(small_book)
        printed, _ = process.communicate(timeout=120)
        assert process.returncode == 1, printed
        assert "eq-nowhere" in printed
    page.write_text("# The first page\n", encoding="utf-8")
    assert "(not run again)" in finished(small_book)


def test_only_what_an_edit_touches_runs_again(small_book):
    finished(small_book)
    path = small_book / "notebooks" / "alpha.py"
    path.write_text(
        path.read_text(encoding="utf-8").replace("seconds = 1", "seconds = 2") + "\n# %%\nx = 1\n", encoding="utf-8"
    )
    for written, text in sync.expected(small_book).items():
        written.write_text(text, encoding="utf-8")
    lines = finished(small_book).splitlines()
    assert not [line for line in lines if line.startswith("alpha") and "not run again" in line]
    assert [line for line in lines if line.startswith("beta") and "not run again" in line]


def test_a_warning_in_a_cell_is_shown_and_stops_no_build(small_book):
    path = small_book / "notebooks" / "alpha.py"
    warn = "import sys, time\nprint('a warning of mine', file=sys.stderr)"
    noisy = path.read_text(encoding="utf-8").replace("import time", warn)
    path.write_text(noisy, encoding="utf-8")
    for written, text in sync.expected(small_book).items():
        written.write_text(text, encoding="utf-8")
    assert "alpha: a warning of mine" in finished(small_book)
    pages = small_book / "_build" / "smoke" / "html"
    assert any("standard error" in problem for problem in problems_for_publishing(pages, ["alpha"]))


def test_a_relative_folder_of_data_is_the_same_for_build_and_kernels(small_book):
    """A kernel works in `notebooks/`, the build at the root: both must mean one folder."""
    name = str(small_book / "notebooks" / "alpha.py")
    text = Path(name).read_text(encoding="utf-8").replace('dgm.start("alpha")', 'dgm.start("alpha", data="mnist")')
    Path(name).write_text(text, encoding="utf-8")
    for written, content in sync.expected(small_book).items():
        written.write_text(content, encoding="utf-8")
    if not os.environ.get("DGM_DATA"):
        pytest.skip("needs the real MNIST: set DGM_DATA")
    (small_book / "mine").symlink_to(os.environ["DGM_DATA"])
    process = start(small_book, DGM_DATA="mine", DGM_DATASET="", HTTPS_PROXY="http://127.0.0.1:9")
    printed, _ = process.communicate(timeout=120)
    assert process.returncode == 0, printed
    report = json.loads((small_book / "_build" / "smoke" / "results" / "alpha.json").read_text(encoding="utf-8"))
    assert report["dataset"] == "MNIST"
