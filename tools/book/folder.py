"""The folder of a build: its lock, its record, the cache of executed notebooks, and whether anything has changed."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
from jupyter_cache.base import CacheBundleIn

from dgm.data import DataError, Digits
from dgm.runtime import run_folder

from tools.repo import ROOT

SOURCES = ("book", "dgm", "figures", "notebooks", "results", "tools")
SETTINGS = ("_config.yml", "_toc.yml", "README.md", "requirements.txt")


def folder_of(profile: str, seed: int) -> Path:
    """Where a book of this profile and seed is built: `_build`, or `DGM_BUILD`."""
    return run_folder(Path(os.environ.get("DGM_BUILD") or ROOT / "_build").absolute(), profile, seed)


@contextlib.contextmanager
def alone_in(build: Path) -> Iterator[None]:
    """Hold the lock of a build folder.  It is the system's: where its holder has died, nobody holds it.

    Raises:
        SystemExit: another build holds it.
    """
    build.mkdir(parents=True, exist_ok=True)
    with (build / "lock").open("a+", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            holder = lock.read().strip() or "unknown"
            message = f"another build (process {holder}) is at work in {build}: wait for its end, or stop it"
            raise SystemExit(message) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


class Record:
    """What the build folder holds: of each executed lecture its fingerprint, and the data set of all.

    Attributes:
        content: `{"dataset": name, "lectures": {lecture: fingerprint}}`.
    """

    def __init__(self, build: Path):
        self.path = build / "lectures.json"
        try:
            self.content: dict[str, Any] = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError):  # none, or half of one: then all run
            self.content = {"dataset": None, "lectures": {}}

    @property
    def lectures(self) -> dict[str, str]:
        """Fingerprints by lecture."""
        return self.content["lectures"]

    def write(self) -> None:
        """In one step: the next build must not meet half of it."""
        partial = self.path.with_suffix(".partial")
        partial.write_text(json.dumps(self.content, indent=1), encoding="utf-8")
        partial.replace(self.path)


def check_kept(record: Record, digits: Digits) -> None:
    """Keep a book made from MNIST from being thrown away for one of the substitute, which nobody asked for.

    Raises:
        DataError: there is no MNIST now, and lectures were run with it.
    """
    asked = os.environ.get("DGM_DATASET") == "digits"
    if digits.name != "MNIST" and record.content["dataset"] == "MNIST" and record.lectures and not asked:
        raise DataError(
            f"expected MNIST, as in the book in {record.path.parent}, got no file of it, and none could be "
            f"downloaded.\nName the folder that has MNIST/raw in DGM_DATA, or remove {record.path.parent} to build "
            "from the substitute."
        )


def results_of(lecture: str, results: Path) -> dict[str, Any]:
    """The results file of a lecture that ran to its end; empty where there is none."""
    try:
        report = json.loads((results / f"{lecture}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return report if report.get("finished") else {}


def false_labels(names: list[str], results: Path, dataset: str) -> list[str]:
    """Lectures that used other data than the label of their page says."""
    found = {name: results_of(name, results).get("dataset") for name in names}
    return [
        f"{name}: it ran on {used}, but the pages are labelled {dataset}"
        for name, used in found.items()
        if used not in (None, dataset)
    ]


def source_of(lecture: str, root: Path = ROOT) -> Path:
    """The notebook of a lecture."""
    return root / "notebooks" / f"{lecture}.ipynb"


def executed_before(store: Any, lecture: str) -> bool:
    """Whether the cache holds outputs of these very cells."""
    try:
        store.match_cache_notebook(nbformat.read(source_of(lecture), as_version=4))
    except KeyError:
        return False
    return True


def keep(store: Any, lecture: str, executed: Path) -> None:
    """Put an executed notebook into the cache, in place of all earlier ones of this lecture."""
    for record in store.list_cache_records():
        if Path(record.uri).stem == lecture:
            store.remove_cache(record.pk)
    notebook = nbformat.read(executed, as_version=4)
    bundle = CacheBundleIn(notebook, str(source_of(lecture)), data={})
    store.cache_notebook_bundle(bundle, check_validity=False, overwrite=True)
    executed.unlink()


def sources_digest(label: str, root: Path = ROOT) -> str:
    """Hash of all that a book is made from.

    Args:
        label: profile, seed and data set in words.
        root: of the repository.
    """
    digest = hashlib.sha256(f"{label} {sys.version}".encode())
    paths = [path for name in SOURCES for path in sorted((root / name).rglob("*"))]
    for path in [*paths, *(root / name for name in SETTINGS)]:
        if path.is_file() and "__pycache__" not in path.parts:
            digest.update(f"{path.relative_to(root)}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def made_digest(build: Path) -> str:
    """Hash of the names, sizes and times of what was built."""
    digest = hashlib.sha256()
    made = [path for name in ("html", "results") for path in sorted((build / name).rglob("*")) if path.is_file()]
    for path in [*made, build / "lectures.json"]:
        there = path.stat() if path.exists() else None
        digest.update(f"{path.name} {there and (there.st_size, there.st_mtime_ns)}\n".encode())
    return digest.hexdigest()
