"""Run profile, device, seeds and recorded results of a lecture.  Imports no framework."""

from __future__ import annotations

import copy
import os
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
from dgm._results import metric, recorded, versions, with_error, write_report
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
        found = metric(name, value, unit, protocol, standard_error, published, source)
        if self.data is not None and not self.on_mnist:
            found["published"] = found["source"] = None  # published numbers hold for MNIST
        self.metrics[name] = found
        self._write()
        number, error, published = found["value"], found["standard_error"], found["published"]
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
        report = {
            "lecture": self.lecture,
            "profile": self.profile,
            "seed": self._seed_number,
            "dataset": self.data.name if self.data else None,
            "device": self.hardware if self.device == "cpu" else f"{self.device}: {self.hardware}",
            "seconds": round(self.seconds, 1),
            "finished": finished,
            "resumed": any(checkpoints.resumed for checkpoints in self._checkpoints),
            "versions": versions(),
            "commit": self._commit,
            "code": os.environ.get("DGM_CODE"),
            "failed_checks": checks.noted(),
            "metrics": list(self.metrics.values()),
        }
        write_report(self.path, report)


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
