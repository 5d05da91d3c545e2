"""Recorded numbers: how one is checked, how a results file is written and read.  Imports no framework."""

from __future__ import annotations

import json
import math
import os
import platform
import sys
from pathlib import Path
from typing import Any

import numpy as np

from dgm._environment import build_folder, profile_name, run_folder, seed_of_environment

_VERSIONED = ("dgm", "numpy", "torch", "torchvision", "keras", "tensorflow", "jax", "matplotlib", "sklearn")


def with_error(value: float, error: float) -> str:
    """`value +/- error` with two digits of the standard error, and as many decimals of the value; error 0: `value`."""
    if not error:
        return f"{value:.6g}"
    decimals = max(0, 1 - math.floor(math.log10(error)))
    return f"{value:.{decimals}f} +/- {error:.{decimals}f}"


def scalar(what: str, value: Any) -> float:
    """`value` as a finite float."""
    number = np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)
    if number.size != 1 or not np.issubdtype(number.dtype, np.number) or np.iscomplexobj(number):
        raise ValueError(f"{what}: expected one real number, got {number.dtype} of shape {number.shape}")
    if not math.isfinite(number.item()):
        raise ValueError(f"{what}: expected a finite number, got {number.item()}")
    return float(number.item())


def metric(
    name: str, value: Any, unit: str, protocol: str, standard_error: Any, published: Any, source: str | None
) -> dict[str, Any]:
    """One recorded number as it stands in the results file; arguments and errors as in `Run.record`."""
    if not (isinstance(name, str) and name.isidentifier()):
        raise ValueError(f"name: expected an identifier such as 'test_log_likelihood', got {name!r}")
    for what, text in (("unit", unit), ("protocol", protocol)):
        if not (isinstance(text, str) and text.strip()):
            raise ValueError(f"{name}: expected a {what} in words, got {text!r}")
    if published is not None and not source:
        raise ValueError(f"{name}: a published number needs its source, got {source!r}")
    error = None if standard_error is None else scalar(f"{name}, standard_error", standard_error)
    if error is not None and error < 0:
        raise ValueError(f"{name}: expected a standard error of at least 0, got {error}")
    return {
        "name": name,
        "value": scalar(name, value),
        "unit": unit,
        "protocol": protocol,
        "standard_error": error,
        "published": None if published is None else scalar(f"{name}, published", published),
        "source": source,
    }


def versions() -> dict[str, str]:
    """Of Python and of what is loaded of that which numbers depend on."""
    found = {name: sys.modules[name] for name in _VERSIONED if name in sys.modules}
    return {"python": platform.python_version()} | {
        name: getattr(module, "__version__", "unknown") for name, module in found.items()
    }


def write_report(path: Path, report: dict[str, Any]) -> None:
    """Write a results file in one step: a reader never meets half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.partial")
    partial.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    partial.replace(path)


def recorded(lecture: str, profile: str | None = None) -> dict[str, dict[str, Any]]:
    """What a lecture has recorded: its metrics by name, as in the results file; nothing unless it ran to its end.

    To a lecture that runs alone the numbers of another one that did come first, then those of the book.

    Args:
        lecture: its name, as in `notebooks/`.
        profile: of that run; default the present one.
    """
    folders = [build_folder()]
    if not os.environ.get("DGM_BUILD"):
        folders.append(build_folder().parent)
    for folder in folders:
        path = run_folder(folder, profile or profile_name(), seed_of_environment()) / "results" / f"{lecture}.json"
        report = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        if report.get("finished"):  # else it runs at this moment, or was stopped
            return {metric["name"]: metric for metric in report["metrics"]}
    return {}
