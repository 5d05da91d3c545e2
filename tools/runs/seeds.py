"""Every number over seeds: `python -m tools.runs.seeds [--seeds 5] [LECTURE ...]` writes `results/seeds/LECTURE.json`.

Each lecture runs in the profile quick with the seeds 0, 1, 2, ..., and goes on past a check that fails.  Dask
distributes the runs: on this machine, one thread a worker, or on the cluster whose scheduler `DASK_SCHEDULER_ADDRESS`
names, which must see this folder under the same path.  What is done is kept: a second call goes on with what is left.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dask.distributed import Client, LocalCluster, as_completed

from dgm.data import data_folder, load_digits

from tools import code
from tools.environment import ONE_THREAD, clean, side_by_side
from tools.repo import ROOT, lectures

PROFILE = os.environ.get("DGM_PROFILE") or "quick"
KEPT = ROOT / "_build" / "seeds"
Runs = list[dict[str, Any]]


def _die_with_parent() -> None:
    """In the child: a worker that is ended leaves no lecture behind.  Only Linux can be told so."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def run_one(lecture: str, seed: int, settings: dict[str, str], root: str = str(ROOT)) -> dict[str, Any]:
    """Run a lecture once, on the machine of a worker.

    Args:
        lecture: its name.
        seed: the value of `DGM_SEED`.
        settings: other variables of its environment.
        root: the repository, on the worker's machine.

    Returns:
        `lecture`, `seed`, `seconds`, `report` (what it recorded), and `error`, empty where it ran to its end.
    """
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as build:
        environment = clean(
            DGM_SEED=str(seed), DGM_BUILD=build, DGM_CHECKS="note", MPLBACKEND="agg", **ONE_THREAD, **settings
        )
        script = Path(root) / "notebooks" / f"{lecture}.py"
        words = {"env": environment, "cwd": build, "preexec_fn": _die_with_parent, "stdin": subprocess.DEVNULL}
        command = [sys.executable, str(script)]
        done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False, **words)
        paths = list(Path(build).glob(f"*/results/{lecture}.json"))
        report = json.loads(paths[0].read_text(encoding="utf-8")) if paths else {}
    error = "" if done.returncode == 0 else done.stderr[-2000:] or f"it ended with status {done.returncode}"
    seconds = round(time.monotonic() - started, 1)
    return {"lecture": lecture, "seed": seed, "seconds": seconds, "report": report, "error": error}


def place(lecture: str, seed: int, kept: Path) -> Path:
    """Where one run is kept."""
    return kept / f"{lecture}-{PROFILE}-{seed}.json"


def done_before(lecture: str, seed: int, dataset: str, kept: Path, root: Path = ROOT) -> dict[str, Any] | None:
    """An earlier run of today's code that is kept."""
    try:
        run = json.loads(place(lecture, seed, kept).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    report = run["report"]
    same = report.get("code") == code.code(lecture, root) and report.get("dataset") in (None, dataset)
    return run if same else None


@contextlib.contextmanager
def cluster(timeout: str = "20s") -> Iterator[Client]:
    """The cluster that `DASK_SCHEDULER_ADDRESS` names, else one on this machine."""
    if address := os.environ.get("DASK_SCHEDULER_ADDRESS"):
        try:
            client = Client(address, timeout=timeout)
        except OSError as error:
            raise SystemExit(f"DASK_SCHEDULER_ADDRESS: no scheduler answers at {address} ({error})") from None
        with client:
            yield client
        return
    settings = {"n_workers": side_by_side(), "threads_per_worker": 1, "memory_limit": 0, "dashboard_address": ":0"}
    local = LocalCluster(**settings, silence_logs="ERROR")
    try:
        with Client(local) as client:
            yield client
    finally:
        # Dask cannot join a worker that it is just starting anew after a loss; the runs are over by then.
        with contextlib.suppress(AssertionError):
            local.close()


def runs(names: list[str], num_seeds: int, kept: Path = KEPT) -> Iterator[dict[str, Any]]:
    """Every run, those that are kept first; each new one is kept as soon as it has ended.

    A run whose worker was lost, or raised, is told and not kept: the next call tries it again.
    """
    digits = load_digits()
    kept.mkdir(parents=True, exist_ok=True)
    wanted = [(name, seed) for seed in range(num_seeds) for name in names]
    found = {pair: done_before(*pair, digits.name, kept) for pair in wanted}
    yield from filter(None, found.values())
    left = [pair for pair in wanted if not found[pair]]
    if not left:
        return
    common = {"DGM_PROFILE": PROFILE, "DGM_DATA": str(data_folder().absolute()), "DGM_DATASET": digits.name}
    common |= {"DGM_DEVICE": device} if (device := os.environ.get("DGM_DEVICE")) else {}
    with cluster() as client:
        print(f"{len(left)} of {len(wanted)} runs are left, on {sum(client.nthreads().values())} threads", flush=True)
        tasks = {}
        for name, seed in left:
            settings = common | {"DGM_CODE": code.code(name)}
            tasks[client.submit(run_one, name, seed, settings, str(ROOT), pure=False)] = name, seed
        for count, task in enumerate(as_completed(tasks), 1):
            name, seed = tasks[task]
            if task.status != "finished":
                error = task.exception()
                print(f"{name}, seed {seed}: its worker failed: {type(error).__name__}: {error}", file=sys.stderr)
                continue
            run = task.result()
            task.release()
            partial = place(name, seed, kept).with_suffix(".partial")
            partial.write_text(json.dumps(run), encoding="utf-8")
            partial.replace(place(name, seed, kept))
            print(
                f"{count:3} of {len(left)}  {name:24} seed {seed}  {run['seconds']:5.0f} s  {verdict(run)}", flush=True
            )
            yield run


def verdict(run: dict[str, Any]) -> str:
    """How a run ended, in a few words."""
    if run["error"]:
        return "stopped: " + run["error"].strip().splitlines()[-1][:120]
    failed = run["report"].get("failed_checks", [])
    return f"{len(failed)} check(s) failed" if failed else "ok"


def summary(found: Runs) -> dict[str, Any]:
    """What `results/seeds/LECTURE.json` holds: of each number mean, standard deviation, extremes and count over seeds.

    The standard deviation is that of a sample, with n - 1 in the denominator; of one run there is none.
    """
    found = sorted(found, key=lambda run: run["seed"])
    first = next((run["report"] for run in found if run["report"]), {})
    values: dict[str, list[float]] = {}
    for run in found:
        for metric in run["report"].get("metrics", []):
            values.setdefault(metric["name"], []).append(metric["value"])
    return {
        "lecture": found[0]["lecture"],
        **{key: first.get(key) for key in ("profile", "dataset", "device", "versions", "commit", "code")},
        "seeds": [run["seed"] for run in found],
        "seconds": [run["seconds"] for run in found],
        "metrics": {
            name: {
                "mean": statistics.fmean(numbers),
                "sd": statistics.stdev(numbers) if len(numbers) > 1 else None,
                "min": min(numbers),
                "max": max(numbers),
                "n": len(numbers),
            }
            for name, numbers in values.items()
        },
        "failed_checks": {
            str(run["seed"]): run["report"]["failed_checks"] for run in found if run["report"].get("failed_checks")
        },
        "stopped": {str(run["seed"]): run["error"].strip().splitlines()[-1] for run in found if run["error"]},
    }


def main(arguments: list[str] | None = None, target: Path = ROOT / "results" / "seeds") -> int:
    """Run, summarise, tell what failed on which seed; the status is 1 where a run is missing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("lectures", nargs="*", metavar="LECTURE")
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args(arguments)
    names = options.lectures or lectures()
    if unknown := set(names) - set(lectures()):
        raise SystemExit(f"expected lectures out of {', '.join(lectures())}, got {', '.join(sorted(unknown))}")
    if options.seeds < 1:
        raise SystemExit(f"SEEDS: expected at least 1, got {options.seeds}")
    found: dict[str, Runs] = {name: [] for name in names}
    for run in runs(names, options.seeds):
        found[run["lecture"]].append(run)
        if len(found[run["lecture"]]) == options.seeds:
            write(found[run["lecture"]], target)
    missing = False
    for name, some in found.items():
        if 0 < len(some) < options.seeds:
            write(some, target)
        missing |= len(some) < options.seeds
        for run in sorted(some, key=lambda run: run["seed"]):
            for line in run["report"].get("failed_checks", []):
                print(f"{name}, seed {run['seed']}: {line}")
            if run["error"]:
                print(f"{name}, seed {run['seed']}: {verdict(run)}")
    return int(missing)


def write(found: Runs, target: Path) -> None:
    """One file, in one step."""
    content = summary(found)
    target.mkdir(parents=True, exist_ok=True)
    path = target / f"{content['lecture']}.json"
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    partial.replace(path)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("\nstopped; the next call goes on with what is left", file=sys.stderr)
        sys.exit(130)
