"""Pages from executed notebooks: one pass of Sphinx, which runs no lecture, and what it must read again."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from jupyter_cache import get_cache

from tools.book.execute import NOISE
from tools.environment import clean
from tools.repo import ROOT

UNFINISHED = "unfinished"  # this file stands in the build folder until the pages are there, and fit to be read
BESIDE = ("book/_static", "figures/icon.svg", "book/references.bib")  # what Sphinx looks for beside conf.py


def digests(root: Path = ROOT) -> dict[str, str]:
    """Hash of each page's source: Sphinx goes by file times, and misses an edit made while the page was being run."""
    sources = [*(root / "notebooks").glob("*.ipynb"), *(root / "book").glob("*.md")]
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(sources)}


def forget_pages(build: Path, names: list[str]) -> None:
    """Make Sphinx read pages again, such as `notebooks/rbm`."""
    for name in names:
        (build / "doctrees" / f"{name}.doctree").unlink(missing_ok=True)


def forget_edited(build: Path, now: dict[str, str]) -> None:
    """Make Sphinx read again every page whose source is not the one that was last rendered."""
    record = build / "sources.json"
    rendered = json.loads(record.read_text(encoding="utf-8")) if record.is_file() else {}
    forget_pages(build, [str(Path(name).with_suffix("")) for name in now if rendered.get(name) != now[name]])


def mend(build: Path) -> None:
    """Remove what a build that was stopped, or that failed, may have left: all pages, and outputs that can't be read.

    Sphinx goes by file times: it would take half a page for a new one, and say nothing of a page that it had warned of.
    The cache lists an entry before it writes it.
    """
    if (build / UNFINISHED).exists():
        print("the last build was stopped, or failed: its pages are written anew, lectures that had ended do not run")
        for folder in ("doctrees", "html"):
            shutil.rmtree(build / folder, ignore_errors=True)
    cache = build / "cache"
    if not cache.is_dir():
        return
    store = get_cache(str(cache))
    for record in store.list_cache_records():
        try:
            store.get_cache_bundle(record.pk)
        except (KeyError, ValueError):  # no file, or half a file
            shutil.rmtree(cache / "executed" / record.hashkey, ignore_errors=True)
            type(record).remove_records([record.pk], store.db)


def write_configuration(source: Path, target: Path) -> None:
    """`target/conf.py` for Sphinx from `source/_config.yml`, without sphinx-thebe, whose scripts ask another host."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    settings = shutil.copy(source / "_config.yml", target)  # conf.py is written beside it
    command = [str(Path(sys.executable).with_name("jupyter-book")), "config", "sphinx", "--config", str(settings)]
    command += ["--toc", str(source / "_toc.yml"), str(source)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=clean())
    written = target / "conf.py"
    text = written.read_text(encoding="utf-8")
    changes = {"'sphinx_thebe', ": ""} | {f"'{name}'": repr(str(source / name)) for name in BESIDE}
    for old, new in changes.items():
        if old not in text:
            raise SystemExit(f"conf.py: expected {old} in it; did Jupyter Book change?")
        text = text.replace(old, new)
    written.write_text(text, encoding="utf-8")


def render(source: Path, build: Path, environment: dict[str, str], settings: dict[str, str]) -> None:
    """One pass of Sphinx over `source`, warnings are errors."""
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", "-c", str(build / "conf")]
    command += ["-d", str(build / "doctrees")]
    for name, value in settings.items():
        command += ["-D", f"{name}={value}"]
    if status := run_alone([*command, str(source), str(build / "html")], environment):
        raise SystemExit(f"the book was not built: Sphinx ended with {status}")


def run_alone(command: list[str], environment: dict[str, str]) -> int:
    """Exit status of a command that Ctrl-C does not reach: we stop it, at once and without its last words.

    What it says on its standard error passes through our hands, without what frightens and means nothing.
    """
    quiet = {"stdin": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    process = subprocess.Popen(command, env=environment, encoding="utf-8", process_group=0, **quiet)
    try:
        for line in process.stderr:
            if not NOISE.match(line):
                print(line, end="", file=sys.stderr)
        return process.wait()
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
