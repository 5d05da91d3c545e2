"""Checkpoints from which an interrupted training goes on.  Imports no framework.

They are safetensors files: arrays and a text in JSON, so that nothing is ever unpickled.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from dgm.progress import progress

__all__ = ["CheckpointDamaged", "Checkpoints", "resumed"]

NUM_KEPT = 2  # of one training: the newest checkpoint, and the one before in case that it is damaged


class CheckpointDamaged(ValueError):
    """A checkpoint is not what was written; the message says what was found."""


def _flatten(value: Any, name: str, arrays: dict[str, np.ndarray]) -> Any:
    """`value` with its arrays moved to `arrays`; where one was stands its name."""
    if hasattr(value, "detach"):
        arrays[name] = value.detach().cpu().contiguous().numpy()
        return {"tensor": [name, str(value.device)]}
    if isinstance(value, np.ndarray):
        arrays[name] = np.asarray(value, order="C")
        return {"array": name}
    if isinstance(value, dict):  # as pairs, since JSON has no whole numbers as keys
        return {"pairs": [[key, _flatten(inner, f"{name}.{key}", arrays)] for key, inner in value.items()]}
    if isinstance(value, list | tuple):
        return {"list": [_flatten(inner, f"{name}.{i}", arrays) for i, inner in enumerate(value)]}
    if value is None or isinstance(value, bool | int | float | str):
        return {"plain": value}
    raise TypeError(f"{name}: expected tensors, arrays, numbers, texts, and lists and dicts of them, got {type(value)}")


def _unflatten(value: dict[str, Any], arrays: dict[str, np.ndarray]) -> Any:
    """The inverse of `_flatten`; tuples come back as lists."""
    ((kind, content),) = value.items()
    if kind == "tensor":
        import torch

        name, device = content
        return torch.from_numpy(arrays[name].copy()).to(device)
    if kind == "array":
        return arrays[content]
    if kind == "pairs":
        return {key: _unflatten(inner, arrays) for key, inner in content}
    if kind == "list":
        return [_unflatten(inner, arrays) for inner in content]
    return content


def _digest(arrays: dict[str, np.ndarray], words: str) -> str:
    """Hash of all that a checkpoint says: the format itself has none, and would hand on a flipped bit."""
    digest = hashlib.sha256(words.encode())
    for name in sorted(arrays):
        digest.update(name.encode() + arrays[name].tobytes())
    return digest.hexdigest()


class Checkpoints:
    """The newest states of one training, in a folder.

    Args:
        folder: where they are; made when needed.
        name: of the training, a part of the file names.
        identity: what a state must agree with to be used, such as parameters and seed; anything that JSON holds.

    Attributes:
        resumed: whether a training went on from one of them.
    """

    def __init__(self, folder: Path, name: str, identity: Any) -> None:
        self.folder, self.name, self.identity = folder, name, json.dumps(identity, sort_keys=True, default=str)
        self.resumed = False

    def files(self) -> list[Path]:
        """The checkpoints, the one that was written last first; among those of one instant the one with more steps."""
        found = []
        for path in self.folder.glob("*.safetensors"):
            name, _, step = path.stem.rpartition("-")
            if name == self.name and step.isdigit():
                found.append((path.stat().st_mtime_ns, int(step), path))
        return [path for *_, path in sorted(found, reverse=True)]

    def save(self, step: int, state: Any) -> Path:
        """Write the state after `step` steps, at once or not at all, and forget all but the newest two."""
        arrays: dict[str, np.ndarray] = {}
        words = json.dumps(_flatten(state, "state", arrays))
        notes = {"identity": self.identity, "state": words, "sha256": _digest(arrays, words)}
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{self.name}-{step}.safetensors"
        partial = path.with_suffix(f".{os.getpid()}.partial")
        try:
            partial.write_bytes(save(arrays, metadata=notes))
            partial.replace(path)  # in one step: an interruption never leaves half a checkpoint
        finally:
            partial.unlink(missing_ok=True)
        for old in [kept for kept in self.files() if kept != path][NUM_KEPT - 1 :]:
            old.unlink()
        return path

    def read(self, path: Path) -> Any:
        """The state in one file.

        Raises:
            CheckpointDamaged: it can't be read, or is not what was written.
            ValueError: it belongs to a training with other parameters.
        """
        try:
            with safe_open(path, framework="numpy") as file:
                notes = file.metadata() or {}
                names = file.keys()  # `file` itself can't be iterated
                arrays = {name: file.get_tensor(name) for name in names}
        except (OSError, SafetensorError) as error:
            raise CheckpointDamaged(f"{path.name}: expected a safetensors file, got {error}") from error
        if missing := {"identity", "state", "sha256"} - set(notes):
            raise CheckpointDamaged(f"{path.name}: expected a checkpoint, got a file without {sorted(missing)}")
        if _digest(arrays, notes["state"]) != notes["sha256"]:
            raise CheckpointDamaged(f"{path.name}: expected content with the checksum in its header, got another")
        if notes["identity"] != self.identity:
            raise ValueError(f"{path.name}: expected {self.identity}, got a checkpoint of {notes['identity']}")
        return _unflatten(json.loads(notes["state"]), arrays)

    def latest(self) -> tuple[int, Any]:
        """Number of steps and state of the newest checkpoint that can be used; 0 and None without one.

        A damaged one is named and left where it is, and the one before is used.
        """
        for path in self.files():
            try:
                return int(path.stem.rpartition("-")[2]), self.read(path)
            except ValueError as error:
                print(f"not used: {error}")
        return 0, None

    def keep(self, step: int, parts: dict[str, Any]) -> None:
        """Write the state of the parts, and of torch's default generators, after `step` steps."""
        kept = {name: _state_of(part) for name, part in parts.items()}
        self.save(step, {"parts": kept, "random": _random_state()})

    def restore(self, parts: dict[str, Any]) -> int:
        """Put the parts into the newest state that can be used; the number of its steps, 0 without one.

        Raises:
            ValueError: the checkpoint has other parts, since the program was changed.
        """
        done, state = self.latest()
        if state is not None:
            if set(state["parts"]) != set(parts):
                raise ValueError(
                    f"{self.name}: expected a checkpoint of {sorted(parts)}, got one of {sorted(state['parts'])}; "
                    f"remove {self.folder} to start anew"
                )
            for name, part in parts.items():
                _set_state(part, state["parts"][name])
            _set_random_state(state["random"])
            self.resumed = True
        return done


def _random_state() -> dict[str, Any]:
    """State of torch's default generators; NumPy's is that of the lecture, passed in as a part where it matters."""
    torch = sys.modules.get("torch")
    if torch is None:
        return {}
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() and torch.cuda.is_initialized() else []
    mps = torch.mps.get_rng_state() if torch.backends.mps.is_available() else None
    return {"cpu": torch.get_rng_state(), "cuda": cuda, "mps": mps}


def _set_random_state(state: dict[str, Any]) -> None:
    """The inverse of `_random_state`."""
    if state:
        torch = sys.modules["torch"]
        torch.set_rng_state(state["cpu"])
        if state["cuda"]:
            torch.cuda.set_rng_state_all(state["cuda"])
        if state["mps"] is not None:
            torch.mps.set_rng_state(state["mps"])


def _state_of(part: Any) -> Any:
    """What must be kept of a part: its content, the state of a generator, or its `state_dict`."""
    if isinstance(part, list | dict) or hasattr(part, "detach"):
        return part
    if hasattr(part, "assign"):  # a variable of Keras
        return np.asarray(part.numpy())
    return part.get_state() if hasattr(part, "get_state") else part.state_dict()


def _set_state(part: Any, state: Any) -> None:
    """The inverse of `_state_of`, in place."""
    if isinstance(part, list):
        part[:] = state
    elif isinstance(part, dict):
        part.clear()
        part.update(state)
    elif hasattr(part, "detach"):
        part.detach().copy_(state)
    elif hasattr(part, "assign"):
        part.assign(state)
    elif hasattr(part, "set_state"):
        part.set_state(state)
    else:
        part.load_state_dict(state)


def resumed(
    checkpoints: Checkpoints | None,
    what: str,
    total: int,
    parts: dict[str, Any],
    steps: Callable[[int], Iterable[Any]] | None = None,
    *,
    every: float = 60.0,
) -> Iterator[Any]:
    """Train with checkpoints: go on where an interrupted run was, and pass on what the remaining steps yield.

    Args:
        checkpoints: where the states are kept; `None` keeps none.
        what: a word or two for the progress bar.
        total: number of steps of the whole training.
        parts: everything that the training changes, and the loop around it: networks, averages, optimisers, tensors,
            generators, variables of Keras, lists and dicts of numbers and tensors.  Torch's default generators are
            added.
        steps: `steps(done)` trains on after `done` steps, and yields once a step; by default it yields the numbers of
            the steps that are left, counted from 0, and the loop trains.
        every: seconds between checkpoints; one more is written at the end.

    A state is taken when the loop asks for the next step, so that what it did with the last one is in it.  A resumed
    run ends with the numbers of an uninterrupted one, to the last digit where the device computes reproducibly.

    Raises:
        ValueError: as `Checkpoints.restore`.
    """
    done = checkpoints.restore(parts) if checkpoints else 0
    if done:
        print(f"{what}: goes on after {done:,} of {total:,} steps")
    left = range(done, total) if steps is None else steps(done)
    written = time.monotonic()
    for step, report in enumerate(progress(left, what, total=total, done=done), start=done + 1):
        yield report
        if checkpoints and (step == total or time.monotonic() - written > every):
            checkpoints.keep(step, parts)
            written = time.monotonic()
