"""Run profile, device, seeds and recorded results of a lecture.  Imports no framework."""

from __future__ import annotations

import copy
import json
import math
import os
import platform
import shutil
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from dgm import checks
from dgm import data as _data
from dgm import plotting as _plotting
from dgm._environment import (
    PROFILES,
    build_folder,
    commit,
    find_device,
    profile_name,
    run_folder,
    seed_everything,
    seed_of_environment,
    set_threads,
    settle_keras,
)
from dgm.checkpoints import Checkpoints

__all__ = [
    "PROFILES",
    "Run",
    "build_folder",
    "float64",
    "profile_name",
    "recorded",
    "run_folder",
    "seed_everything",
    "seed_of_environment",
    "start",
    "with_error",
]

SEEDS_APART = 10_000  # lectures add small numbers to the seed: two runs must share no stream
_VERSIONED = ("dgm", "numpy", "torch", "torchvision", "keras", "tensorflow", "jax", "matplotlib", "sklearn")


def with_error(value: float, error: float) -> str:
    """`value +/- error` with two digits of the standard error, and as many decimals of the value; error 0: `value`."""
    if not error:
        return f"{value:.6g}"
    decimals = max(0, 1 - math.floor(math.log10(error)))
    return f"{value:.{decimals}f} +/- {error:.{decimals}f}"


def _scalar(what: str, value: Any) -> float:
    """`value` as a finite float."""
    number = np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)
    if number.size != 1 or not np.issubdtype(number.dtype, np.number) or np.iscomplexobj(number):
        raise ValueError(f"{what}: expected one real number, got {number.dtype} of shape {number.shape}")
    if not math.isfinite(number.item()):
        raise ValueError(f"{what}: expected a finite number, got {number.item()}")
    return float(number.item())


def float64(x: Any) -> Any:
    """A tensor, or a copy of a module, in double precision and on the CPU: Apple's GPUs have none."""
    if hasattr(x, "parameters"):
        return copy.deepcopy(x).cpu().double()
    return x.cpu().double()


@dataclass
class Run:
    """One run of one lecture: what it may spend, where it computes, what it found.

    Attributes:
        lecture: name of the lecture, as in `notebooks/`.
        profile: `smoke`, `quick` or `full`.
        parameters: what the profile means in this lecture, as attributes.
        device: where tensors go, as the framework names it.
        hardware: the device in words.
        seed: what every generator starts from: 10,000 times `DGM_SEED`, since lectures add small numbers to it.
        data: the digits, when `start` was asked for them; `data.name` is `MNIST` or `digits`.
        rng: NumPy's random numbers, from the seed.
    """

    lecture: str
    profile: str
    parameters: SimpleNamespace
    device: str
    hardware: str
    seed: int
    data: _data.Digits | None = None
    rng: np.random.Generator = field(default_factory=np.random.default_rng)
    metrics: dict[str, dict[str, Any]] = field(default_factory=dict)
    _checkpoints: list[Checkpoints] = field(default_factory=list)
    _seed_number: int = 0
    _started: float = field(default_factory=time.perf_counter)
    _commit: str = field(default_factory=commit)

    @property
    def path(self) -> Path:
        """The results file of this lecture and profile."""
        return self._folder / "results" / f"{self.lecture}.json"

    @property
    def _folder(self) -> Path:
        return run_folder(build_folder(), self.profile, self._seed_number)

    @property
    def on_mnist(self) -> bool:
        """Whether published numbers may be compared with: they hold on MNIST, not on the embedded digits."""
        return self.data is not None and self.data.name == "MNIST"

    @property
    def seconds(self) -> float:
        """Seconds since the lecture started."""
        return time.perf_counter() - self._started

    def generator(self, offset: int = 0):
        """A `torch.Generator` on this device, seeded with `seed + offset`: streams that do not share a state."""
        import torch

        return torch.Generator(self.device).manual_seed(self.seed + offset)

    def record(
        self,
        name: str,
        value: Any,
        *,
        unit: str,
        protocol: str,
        standard_error: Any = None,
        published: Any = None,
        source: str | None = None,
    ) -> float:
        """Write one number to the results file, say so in one line, and return it.

        Args:
            name: an identifier; recording a name again replaces it, so that a cell can be run twice.
            value: one finite real number.
            unit: `nats`, `seconds`, `1` for a pure number, ...
            protocol: what was computed on which data, in words that let another person repeat it.
            standard_error: of `value`, in the same unit, where it was estimated.
            published: the number to compare with; it needs a source, and is left out where the data are not MNIST.
            source: where the published number stands.

        Raises:
            ValueError: no identifier, no finite number, an empty unit or protocol, a published number without source.
        """
        if not (isinstance(name, str) and name.isidentifier()):
            raise ValueError(f"name: expected an identifier such as 'test_log_likelihood', got {name!r}")
        for what, text in (("unit", unit), ("protocol", protocol)):
            if not (isinstance(text, str) and text.strip()):
                raise ValueError(f"{name}: expected a {what} in words, got {text!r}")
        if published is not None and not source:
            raise ValueError(f"{name}: a published number needs its source, got {source!r}")
        if self.data is not None and not self.on_mnist:
            published = source = None  # published numbers hold for MNIST
        number = _scalar(name, value)
        error = None if standard_error is None else _scalar(f"{name}, standard_error", standard_error)
        if error is not None and error < 0:
            raise ValueError(f"{name}: expected a standard error of at least 0, got {error}")
        self.metrics[name] = {
            "name": name,
            "value": number,
            "unit": unit,
            "protocol": protocol,
            "standard_error": error,
            "published": None if published is None else _scalar(f"{name}, published", published),
            "source": source,
        }
        self._write()
        shown = f"{number:.6g}" if error is None else with_error(number, error)
        beside = "" if published is None else f" (published {published:g})"
        in_unit = "" if unit == "1" else f" {unit}"
        print(f"recorded {name} = {shown}{in_unit}{beside}")
        return number

    def checkpoints(self, name: str) -> Checkpoints | None:
        """Where the training `name` keeps its states in the profile `full`; nothing in the short profiles.

        They serve the same parameters, seed, data, kind of device and backend of Keras only; `finish` removes them.
        """
        if self.profile != "full":
            return None
        identity = {
            "parameters": vars(self.parameters),
            "seed": self.seed,
            "data": self.data.name if self.data else None,
            "device": self.device,
            "backend": sys.modules["keras"].backend.backend() if "keras" in sys.modules else None,
        }
        self._checkpoints.append(Checkpoints(self._checkpoint_folder, name, identity))
        return self._checkpoints[-1]

    @property
    def _checkpoint_folder(self) -> Path:
        return self._folder / "checkpoints" / self.lecture

    def finish(self) -> None:
        """Write the results file for the last time, forget the checkpoints, and say how long the lecture took."""
        self._write(finished=True)
        shutil.rmtree(self._checkpoint_folder, ignore_errors=True)
        print(
            f"{self.lecture}: {len(self.metrics)} numbers recorded, {self.seconds:.0f} s in the profile {self.profile}"
        )
        if failed := checks.noted():
            print(f"{self.lecture}: {len(failed)} checks failed, and the run went on: DGM_CHECKS=note")

    def _write(self, *, finished: bool = False) -> None:
        found = {name: sys.modules[name] for name in _VERSIONED if name in sys.modules}
        versions = {name: getattr(module, "__version__", "unknown") for name, module in found.items()}
        report = {
            "lecture": self.lecture,
            "profile": self.profile,
            "seed": self._seed_number,
            "dataset": self.data.name if self.data else None,
            "device": self.hardware if self.device == "cpu" else f"{self.device}: {self.hardware}",
            "seconds": round(self.seconds, 1),
            "finished": finished,
            "resumed": any(checkpoints.resumed for checkpoints in self._checkpoints),
            "versions": {"python": platform.python_version(), **versions},
            "commit": self._commit,
            "code": os.environ.get("DGM_CODE"),
            "failed_checks": checks.noted(),
            "metrics": list(self.metrics.values()),
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_suffix(f".{os.getpid()}.partial")
        partial.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        partial.replace(self.path)  # in one step: a reader never meets half a file


def start(
    lecture: str,
    *,
    parameters: dict[str, tuple[Any, Any, Any]] | None = None,
    data: str | None = None,
    seed: int | None = None,
) -> Run:
    """Start a lecture: read the profile, find the device, seed everything, load the data, print one line of them.

    Call it after the imports: only frameworks that are already loaded are seeded.

    Args:
        lecture: its name, as in `notebooks/`.
        parameters: for each name its value in the profiles smoke, quick and full, e.g. `{"epochs": (1, 10, 300)}`.
        data: `"mnist"` to load the digits, `None` for a lecture that needs none.
        seed: of every generator; default 10,000 times `DGM_SEED`, which is 0 where nobody sets it.

    Raises:
        ValueError: an unknown profile or data set, or a parameter without a value of one kind for each profile.
    """
    profile = profile_name()
    number = seed_of_environment() if seed is None else seed
    seed = SEEDS_APART * number if seed is None else seed
    if data not in (None, "mnist"):
        raise ValueError(f"data: expected 'mnist' or None, got {data!r}")
    for name, values in (parameters or {}).items():
        if not isinstance(values, tuple) or len(values) != len(PROFILES):
            raise ValueError(f"parameters, {name}: expected a tuple for {', '.join(PROFILES)}, got {values!r}")
        kinds = {"number" if isinstance(v, int | float) else type(v).__name__ for v in values if v is not None}
        if len(kinds) > 1:
            raise ValueError(f"parameters, {name}: expected three values of one kind, got {values!r}")
    threads = set_threads()
    device, hardware = find_device()
    settle_keras()
    seed_everything(seed)
    _plotting.apply_style()
    chosen = PROFILES.index(profile)
    meaning = SimpleNamespace(**{name: values[chosen] for name, values in (parameters or {}).items()})
    run = Run(lecture, profile, meaning, device, hardware, seed, rng=np.random.default_rng(seed), _seed_number=number)
    run.path.unlink(missing_ok=True)  # a run that fails must not leave the numbers of an earlier one
    run.data = digits = _data.load_digits() if data else None
    words = [lecture, f"profile {profile}", f"{device} ({hardware}, {threads} threads)", f"seed {number}"]
    if digits:
        words.append(f"{digits.name}: {len(digits.images):,} + {len(digits.test_images):,} images")
    print(" | ".join(words))
    if digits and digits.warning:
        print(digits.warning)
    return run


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
