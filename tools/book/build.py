"""Build the book: `python -m tools.book.build` runs the lectures that need it and writes `_build/<profile>/html`.

The profile comes from `DGM_PROFILE`, default `quick`, the seed from `DGM_SEED`, default 0.  Each profile has its own
folder, and each other seed too, so that neither can be taken for the book.  Which data there are is decided here, once:
the kernels are told, and neither look nor download.

A lecture runs again when its cells have changed, or its fingerprint, see `tools.code`; those that must run do so side
by side, one thread each.  A build can be stopped at any moment: the next one keeps the lectures that had ended.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from jupyter_cache import get_cache
from sqlalchemy.exc import SQLAlchemyError

from dgm.data import DataError, Digits, data_folder, load_digits
from dgm.runtime import profile_name, seed_of_environment

from tools import code, preflight, reading, sync
from tools.book.execute import LectureFailed, Plan, run_all
from tools.book.folder import (
    Record,
    alone_in,
    check_kept,
    executed_before,
    false_labels,
    folder_of,
    keep,
    made_digest,
    results_of,
    source_of,
    sources_digest,
)
from tools.book.pages import problems
from tools.book.render import UNFINISHED, digests, forget_edited, forget_pages, mend, render, write_configuration
from tools.environment import ONE_THREAD, clean, side_by_side
from tools.repo import ROOT, lectures

UNKNOWN = 60.0  # seconds that a lecture takes of which nothing is known


def fingerprints(names: list[str], profile: str, dataset: str, seed: int, root: Path = ROOT) -> dict[str, str]:
    """Of each lecture what its outputs depend on beside its cells; where it quotes another, the other's cells too."""
    found = {name: code.fingerprint(name, profile, dataset, seed, root) for name in names}
    quotes = {name: sorted(code.quoted(name, names, root)) for name in names}
    for name in names:
        for other in quotes[name]:
            cells = hashlib.sha256(code.script_of(other, root).encode()).hexdigest()[:16]
            found[name] += f" {other} {found[other].split()[0]} {cells}"
    return found


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
    reading.fill_in(build / "html", reading.measures(build / "html", names))
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
