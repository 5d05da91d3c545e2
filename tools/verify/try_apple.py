"""Every torch lecture on a pretended Apple GPU: `python -m tools.verify.try_apple [LECTURE ...]`.

There is none in CI.  The pretended one computes on the CPU and knows which tensors would be on the GPU; what those
can't do there raises as it does on a Mac: double precision does not exist, NumPy reads no tensor of a GPU, and what
is computed together, random numbers and their generator too, must be in one place.
"""

from __future__ import annotations

import runpy
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tools.code import packages
from tools.environment import ONE_THREAD, clean
from tools.repo import ROOT, lectures
from tools.verify.attempts import try_all

NO_FLOAT64 = (
    "Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64. "
    "Please use float32 instead."
)
NO_NUMPY = "can't convert mps:0 device type tensor to numpy. Use Tensor.cpu() to copy the tensor to host memory first."
NOT_TOGETHER = "Expected all tensors to be on the same device, but found at least two devices, mps:0 and cpu!"
OTHER_GENERATOR = "Expected a generator on the device of the random numbers, mps:0 or cpu"
# These take a tensor from elsewhere: for its numbers, its shape or its type.
MAY_MIX = {"to", "copy_", "__set__", "__setitem__", "type_as", "view_as", "expand_as", "reshape_as"}
MAY_MIX |= {"grad", "backward", "_has_compatible_shallow_copy_type", "__deepcopy__"}
MARK = "_on_the_gpu"


def _tensors(value: Any) -> Iterator[Any]:
    """All tensors in arguments or results."""
    import torch

    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _tensors(part)
    elif isinstance(value, dict):
        yield from _tensors(list(value.values()))


def _marked(value: Any) -> bool:
    """Whether a tensor, or a generator, is on the GPU."""
    return bool(value.__dict__.get(MARK))


def _is_gpu(device: Any) -> bool:
    return str(device).startswith("mps")


def pretended_gpu():
    """The mode in which tensors are marked, and refused; it replaces what torch says of its devices."""
    import torch
    import torch._inductor.config
    from torch._C._functorch import is_functorch_wrapped_tensor
    from torch.overrides import TorchFunctionMode

    class Generator(torch.Generator):
        def __new__(cls, device: Any = "cpu"):
            made = super().__new__(cls, "cpu")
            made.__dict__[MARK] = _is_gpu(device)
            return made

    torch.Generator = Generator
    torch.backends.mps.is_available = lambda: True
    torch.cuda.is_available = lambda: False
    torch.mps.get_rng_state = torch.get_rng_state
    torch.mps.set_rng_state = lambda state: None
    real_deepcopy = torch.nn.Parameter.__deepcopy__

    def deepcopy(parameter: Any, memo: dict) -> Any:
        """PyTorch makes the copy of a parameter unseen by the mode."""
        result = real_deepcopy(parameter, memo)
        result.__dict__[MARK] = _marked(parameter)
        return result

    torch.nn.Parameter.__deepcopy__ = deepcopy

    def elsewhere(tensor: Any) -> bool:
        """Whether it can't meet one on the GPU: single numbers can, and inside of `vmap` nothing is marked."""
        return not _marked(tensor) and tensor.dim() > 0 and not is_functorch_wrapped_tensor(tensor)

    class Pretended(TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            kwargs, name = dict(kwargs or {}), getattr(function, "__name__", "")
            owner = getattr(function, "__self__", None)
            if name == "__get__" and owner is torch.Tensor.device:
                return torch.device("mps", 0) if _marked(args[0]) else function(*args, **kwargs)
            from_gpu = any(map(_marked, _tensors((args, kwargs))))
            args, kwargs, goal = self._aimed(name, args, kwargs)
            self._refuse(name, args, kwargs, goal, from_gpu)
            result = function(*args, **kwargs)
            if name == "__set__":
                if owner is torch.Tensor.data:
                    args[0].__dict__[MARK] = _marked(args[1])
                return result
            if function is torch.autograd.grad:  # where what one differentiates by is
                inputs = _tensors(args[1] if len(args) > 1 else kwargs["inputs"])
                for part, of in zip(result, inputs, strict=True):
                    if part is not None:
                        part.__dict__[MARK] = _marked(of)
                return result
            return self._placed(name, result, goal, from_gpu, {id(tensor) for tensor in _tensors((args, kwargs))})

        @staticmethod
        def _aimed(name: str, args: tuple, kwargs: dict) -> tuple[tuple, dict, str]:
            """The arguments with the CPU in place of the GPU, and where the result goes: gpu, cpu or nowhere."""
            goal = "cpu" if name == "cpu" or (name == "tensor" and isinstance(args[0], list | tuple)) else ""
            if name in ("copy_", "__setitem__"):
                goal = "gpu" if _marked(args[0]) else "cpu"

            def real(value: Any) -> Any:
                nonlocal goal
                if isinstance(value, str | torch.device):
                    goal = "gpu" if _is_gpu(value) else "cpu"
                    return "cpu"
                if isinstance(value, torch.Tensor):
                    goal = "gpu" if _marked(value) else "cpu"
                return value

            if kwargs.get("device") is not None:
                kwargs["device"] = real(kwargs["device"])
            if name == "to":
                args = (args[0], *map(real, args[1:]))
            return args, kwargs, goal

        @staticmethod
        def _refuse(name: str, args: tuple, kwargs: dict, goal: str, from_gpu: bool) -> None:
            """Raise what a Mac would."""
            if name in ("numpy", "__array__") and from_gpu and args[0].dim():
                raise TypeError(NO_NUMPY)
            free = name in MAY_MIX or goal == "cpu" or (name == "__getitem__" and _marked(args[0]))
            if from_gpu and not free and any(map(elsewhere, _tensors((args, kwargs)))):
                raise RuntimeError(NOT_TOGETHER)
            generator, to_gpu = kwargs.get("generator"), goal == "gpu" or (from_gpu and goal != "cpu")
            if isinstance(generator, Generator) and _marked(generator) != to_gpu:
                raise RuntimeError(OTHER_GENERATOR)
            # The GPU itself changes the type, also for the way back of a gradient.
            of_double = name in ("to", "copy_", "__setitem__") and args[0].dtype == torch.float64
            tracked = name == "to" and goal == "gpu" and torch.is_grad_enabled() and args[0].requires_grad
            if of_double and (tracked or (goal == "cpu" and from_gpu)):
                raise TypeError(NO_FLOAT64)

        @staticmethod
        def _placed(name: str, result: Any, goal: str, from_gpu: bool, given: set[int]) -> Any:
            """Mark the results that are on the GPU; a copy where one tensor would be in both places."""
            single = isinstance(result, torch.Tensor)
            if goal == "cpu" and from_gpu and single and _marked(result):
                result = result.clone() if result.requires_grad else result.detach().clone()
                result.__dict__[MARK] = False
            elif goal == "gpu" and single and id(result) in given and not from_gpu:
                result = result.clone()
            to_gpu = goal == "gpu" or (from_gpu and goal != "cpu")
            for tensor in _tensors(result) if to_gpu or (from_gpu and name == "to") else ():
                if tensor.dtype == torch.float64:
                    raise TypeError(NO_FLOAT64)
                tensor.__dict__[MARK] = to_gpu
            return result

    return Pretended()


def run_here(script: str) -> None:
    """Run a script in this process on the pretended GPU."""
    sys.argv = [script]
    sys.path.insert(0, str(Path(script).parent))
    with pretended_gpu():
        runpy.run_path(script, run_name="__main__")


def try_script(script: Path) -> tuple[str, float]:
    """What is wrong with a script there, empty where nothing is, and the seconds it took."""
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as build:
        environment = clean(DGM_PROFILE="smoke", DGM_BUILD=build, MPLBACKEND="agg", **ONE_THREAD)
        command = [sys.executable, "-m", "tools.verify.try_apple", "--here", str(script)]
        done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stderr[-2000:] if done.returncode else "", time.perf_counter() - started


def main(arguments: list[str]) -> int:
    """Try the lectures that import torch, side by side."""
    if arguments[:1] == ["--here"]:
        run_here(arguments[1])
        return 0
    names = arguments or [name for name in lectures() if "torch" in packages(name)]
    names = [name for name in names if "keras" not in packages(name)]  # Keras chooses its own device
    words = "hold on the pretended GPU of an Apple computer"
    return try_all(names, lambda name: try_script(ROOT / "notebooks" / f"{name}.py"), words)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
