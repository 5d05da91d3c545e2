"""Committed results: numbers of the full profile and over seeds, and whether today's code would give them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dgm.runtime import with_error

from tools import code
from tools.repo import ROOT


def number(value: float | None, error: float | None = None) -> str:
    """A number with as many digits as its standard error allows, in MyST Markdown."""
    if value is None:
        return ""
    return with_error(value, error or 0).replace("+/-", "±")


def seeds_of(lecture: str, root: Path = ROOT) -> dict[str, Any]:
    """What `make seeds` found for a lecture; empty where it was not run."""
    path = root / "results" / "seeds" / f"{lecture}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def is_stale(report: dict[str, Any], root: Path = ROOT) -> bool:
    """Whether today's code of the lecture is another one than that which gave a committed result."""
    return bool(report) and report.get("code") != code.code(report["lecture"], root)


def quoted_number(text: str, root: Path = ROOT) -> tuple[str, bool]:
    """The recorded number `LECTURE.NUMBER` of the full profile, and whether an older version of the code gave it."""
    lecture, metric = text.strip().split(".")
    report = json.loads((root / "results" / "full" / f"{lecture}.json").read_text(encoding="utf-8"))
    entry = {entry["name"]: entry for entry in report["metrics"]}[metric]
    stale = is_stale(report, root)
    return number(entry["value"], entry["standard_error"]) + "*" * stale, stale
