"""Write how long things take to `results/times.json`, from which README and the first estimate of a build come.

python -m tools.runs.times --setup 150 --book 1100 --test 600    seconds, as measured on a quiet machine

The times of the lectures are those of the last builds in `_build` and of the committed runs of `full`; how long their
pages take to read is counted on those of the last book.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from tools.reading import measures
from tools.repo import ROOT, lectures

PROFILES = ("smoke", "quick")
STEPS = ("setup", "book", "test")


def seconds_of_lectures(names: list[str], root: Path = ROOT) -> dict[str, dict[str, float]]:
    """Seconds of each lecture in each profile in which it has run to its end."""
    found: dict[str, dict[str, float]] = {name: {} for name in names}
    for profile in (*PROFILES, "full"):
        folder = root / "results" / "full" if profile == "full" else root / "_build" / profile / "results"
        for name in names:
            path = folder / f"{name}.json"
            report = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
            if report.get("finished", profile == "full" and bool(report)):
                found[name][profile] = round(report["seconds"])
    return found


def minutes_to_read(names: list[str], root: Path = ROOT) -> dict[str, dict[str, int]]:
    """Minutes that each page of the last book takes to read: the words are the same in every profile."""
    books = [root / "_build" / profile / "html" for profile in PROFILES]
    found = measures(max(books, key=lambda book: book.stat().st_mtime if book.is_dir() else 0.0), names)
    return {name: {"minutes": measured.minutes} for name, measured in found.items()}


def merged(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """`old` with what is known anew."""
    names = {name: old.get("lectures", {}).get(name, {}) | times for name, times in new["lectures"].items()}
    targets = old.get("targets", {}) | new["targets"]
    return {"machine": new["machine"] or old.get("machine", ""), "targets": targets, "lectures": names}


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    """Write; say what is missing for the sentence in README."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for step in STEPS:
        parser.add_argument(f"--{step}", type=float, metavar="SECONDS")
    parser.add_argument("--machine", default=f"{os.cpu_count()} cores")
    options = parser.parse_args(arguments)
    given = {step: round(getattr(options, step)) for step in STEPS if getattr(options, step) is not None}
    path = root / "results" / "times.json"
    old = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    names = lectures(root)
    seconds, minutes = seconds_of_lectures(names, root), minutes_to_read(names, root)
    times = {name: seconds[name] | minutes.get(name, {}) for name in names}
    new = {"machine": options.machine, "targets": given, "lectures": times}
    content = merged(old, new)
    if missing := set(STEPS) - set(content["targets"]):
        raise SystemExit(f"results/times.json: expected the times of {', '.join(STEPS)}, missing: {', '.join(missing)}")
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print(f"{path.relative_to(root)} written; `make sync` writes README")
    return 0


if __name__ == "__main__":
    sys.exit(main())
