"""Build the book: `python -m tools.book.build` runs the lectures that need it and writes `_build/<profile>/html`.

The profile comes from `DGM_PROFILE`, default `quick`, the seed from `DGM_SEED`, default 0.  Each profile has its own
folder, and each other seed too, so that neither can be taken for the book.  Which data there are is decided here, once:
the kernels are told, and neither look nor download.

A lecture runs again when its cells have changed, or its fingerprint, see `tools.code`; those that must run do so side
by side, one thread each.  A build can be stopped at any moment: the next one keeps the lectures that had ended.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn
from sqlalchemy.exc import SQLAlchemyError

from dgm.data import DataError, Digits, data_folder, load_digits
from dgm.runtime import profile_name, run_folder, seed_of_environment

from tools import code, preflight, sync
from tools.book.execute import NOISE, LectureFailed, Plan, run_all
from tools.book.pages import problems
from tools.environment import ONE_THREAD, clean, side_by_side
from tools.repo import ROOT, lectures

UNFINISHED = "unfinished"  # this file stands in the build folder until the pages are there, and fit to be read
BESIDE = ("book/_static", "figures/icon.svg", "book/references.bib")  # what Sphinx looks for beside conf.py
UNKNOWN = 60.0  # seconds that a lecture takes of which nothing is known


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


def fingerprints(names: list[str], profile: str, dataset: str, seed: int, root: Path = ROOT) -> dict[str, str]:
    """Of each lecture what its outputs depend on beside its cells; where it quotes another, the other's cells too."""
    found = {name: code.fingerprint(name, profile, dataset, seed, root) for name in names}
    quotes = {name: sorted(code.quoted(name, names, root)) for name in names}
    for name in names:
        for other in quotes[name]:
            cells = hashlib.sha256(code.script_of(other, root).encode()).hexdigest()[:16]
            found[name] += f" {other} {found[other].split()[0]} {cells}"
    return found


def results_of(lecture: str, results: Path) -> dict[str, Any]:
    """The results file of a lecture that ran to its end; empty where there is none."""
    try:
        report = json.loads((results / f"{lecture}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return report if report.get("finished") else {}


def seconds_known(names: list[str], profile: str, results: Path) -> dict[str, float]:
    """How long each lecture will take: as the last time, else as the committed times say."""
    try:
        committed = json.loads((ROOT / "results" / "times.json").read_text(encoding="utf-8"))["lectures"]
    except (OSError, ValueError, KeyError):
        committed = {}
    return {
        name: results_of(name, results).get("seconds") or committed.get(name, {}).get(profile) or UNKNOWN
        for name in names
    }


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


def run_lectures(build: Path, names: list[str], profile: str, seed: int, digits: Digits) -> list[str]:
    """Run what must run, side by side; return which that were."""
    results, record = build / "results", Record(build)
    check_kept(record, digits)
    store = get_cache(str(build / "cache"))
    now = fingerprints(names, profile, digits.name, seed)
    stale = [
        name
        for name in names
        if record.lectures.get(name) != now[name] or not results_of(name, results) or not executed_before(store, name)
    ]
    if not stale:
        return []
    record.content["dataset"] = digits.name
    known = seconds_known(names, profile, results)
    for name in stale:
        record.lectures.pop(name, None)
    record.write()
    places = {name: build / "executed" / f"{name}.ipynb" for name in stale}
    (build / "executed").mkdir(exist_ok=True)

    def command(name: str) -> list[str]:
        return [sys.executable, "-m", "tools.book.execute", str(source_of(name)), str(places[name])]

    def environment(name: str) -> dict[str, str]:
        return clean(
            DGM_PROFILE=profile,
            DGM_SEED=str(seed),
            DGM_BUILD=str(build.parent),
            DGM_DATA=str(data_folder().absolute()),
            DGM_DATASET=digits.name,
            DGM_CODE=code.code(name),
            **ONE_THREAD,
        )

    plan = Plan({name: known[name] for name in stale}, {name: code.quoted(name, names) for name in stale})
    with contextlib.closing(run_all(plan, command, environment, side_by_side())) as ended:
        for name in ended:
            keep(store, name, places[name])
            forget_pages(build, [f"notebooks/{name}"])
            record.lectures[name] = now[name]
            record.write()
    return stale


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


def false_labels(names: list[str], results: Path, dataset: str) -> list[str]:
    """Lectures that used other data than the label of their page says."""
    found = {name: results_of(name, results).get("dataset") for name in names}
    return [
        f"{name}: it ran on {used}, but the pages are labelled {dataset}"
        for name, used in found.items()
        if used not in (None, dataset)
    ]


SOURCES = ("book", "dgm", "figures", "notebooks", "results", "tools")
SETTINGS = ("_config.yml", "_toc.yml", "README.md", "requirements.txt")


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


def show_times(names: list[str], results: Path, executed: list[str]) -> None:
    """A line a lecture."""
    for name in names:
        seconds = results_of(name, results)["seconds"]
        print(f"{name:24} {seconds:5.0f} s{'' if name in executed else '  (not run again)'}")


def main() -> int:
    """Build, check the pages, say where the book is and how long each lecture took."""
    started = time.perf_counter()
    preflight.stop_if(preflight.problems_of_build(str(ROOT)))
    try:
        profile, seed = profile_name(), seed_of_environment()
    except ValueError as error:
        raise SystemExit(str(error)) from None
    build, names, digits = folder_of(profile, seed), lectures(), load_digits()
    with alone_in(build):
        note, sources = build / "complete", sources_digest(f"{profile} {seed} {digits.name}")  # as they are now
        if note.is_file() and note.read_text(encoding="utf-8") == f"{sources} {made_digest(build)}":
            print(f"the profile {profile} is built, and nothing has changed")
            show_times(names, build / "results", [])
        else:
            note.unlink(missing_ok=True)
            write_book(build, names, profile, seed, digits)
            note.write_text(f"{sources} {made_digest(build)}", encoding="utf-8")
    print(f"{'total of this call':24} {time.perf_counter() - started:5.0f} s")
    print(build / "html" / "index.html")
    return 0


def write_book(build: Path, names: list[str], profile: str, seed: int, digits: Digits) -> None:
    """Run, render, check."""
    if stale := sync.out_of_step():
        names = ", ".join(path.name for path in stale)
        raise SystemExit(f"out of step with what they are made from: {names}.  Run `make sync`.")
    print(f"building the profile {profile}: a lecture whose outputs are still good does not run again")
    results = build / "results"
    if digits.warning:
        print(digits.warning)
    mend(build)
    (build / UNFINISHED).touch()
    executed = run_lectures(build, names, profile, seed, digits)
    if found := false_labels(names, results, digits.name):
        raise SystemExit("the book was not built:\n" + "\n".join(found))
    sources = digests()
    forget_edited(build, sources)
    write_configuration(ROOT, build / "conf")
    if not_kept := [name for name in names if not executed_before(get_cache(str(build / "cache")), name)]:
        # Sphinx would run it, alone and without its name, and nobody would know what it said.
        raise SystemExit(f"edited while it ran: {', '.join(not_kept)}; start again, and nothing else runs")
    environment = clean(
        DGM_PROFILE=profile,
        DGM_SEED=str(seed),
        DGM_BUILD=str(build.parent),
        DGM_DATASET=digits.name,
    )
    render(ROOT, build, environment, {"nb_execution_cache_path": str(build / "cache")})
    partial = build / "sources.partial"
    partial.write_text(json.dumps(sources), encoding="utf-8")
    partial.replace(build / "sources.json")
    if found := problems(build / "html", names, profile):
        raise SystemExit("the pages are not fit to be read:\n" + "\n".join(found))
    (build / UNFINISHED).unlink()
    show_times(names, results, executed)


def run(program: Callable[[], int]) -> int:
    """The exit status of a program that builds: whatever stops it is told in one message, with no traceback."""
    for ending in (signal.SIGTERM, signal.SIGHUP):  # as Ctrl-C: no lecture may go on alone
        if signal.getsignal(ending) != signal.SIG_IGN:  # nohup
            signal.signal(ending, signal.default_int_handler)
    try:
        return program()
    except KeyboardInterrupt:
        print("\nstopped; `make book` goes on with the lectures that are left", file=sys.stderr)
        return 130
    except LectureFailed as error:
        print(f"the book was not built: a check or the program stopped.\n\n{error}", file=sys.stderr)
    except (DataError, OSError, SQLAlchemyError) as error:
        print(f"the book was not built: {error}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(run(main))
