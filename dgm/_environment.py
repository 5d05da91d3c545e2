"""What a run finds around it: profile, build folder, threads, device, commit.  Imports no framework."""

from __future__ import annotations

import contextlib
import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np

PROFILES = ("smoke", "quick", "full")


def profile_name(default: str = "quick") -> str:
    """Name of the run profile, from the environment variable `DGM_PROFILE`.

    Raises:
        ValueError: the variable holds no known profile.
    """
    name = os.environ.get("DGM_PROFILE") or default
    if name not in PROFILES:
        raise ValueError(f"DGM_PROFILE: expected one of {', '.join(PROFILES)}, got {name!r}")
    return name


def build_folder() -> Path:
    """Where runs keep what they make: `DGM_BUILD`, else `_build/alone` of the book, else `_build/alone` here.

    The programs behind `make` set `DGM_BUILD` to `_build`: a lecture that somebody runs alone, perhaps with other
    parameters, must not change the numbers of the book.  The book is the nearest folder upwards that holds `_toc.yml`;
    in Colab there is none.
    """
    if named := os.environ.get("DGM_BUILD"):
        return Path(named)
    here = Path.cwd()
    book = next((folder for folder in (here, *here.parents) if (folder / "_toc.yml").is_file()), here)
    return book / "_build" / "alone"


def seed_of_environment(default: int = 0) -> int:
    """The seed of a run, from the environment variable `DGM_SEED`.

    Raises:
        ValueError: the variable holds no whole number from 0 to 99,999.
    """
    text = os.environ.get("DGM_SEED") or str(default)
    if not (text.isascii() and text.isdecimal() and len(text) <= 5):
        raise ValueError(f"DGM_SEED: expected a whole number from 0 to 99999, got {text!r}")
    return int(text)


def run_folder(build: Path, profile: str, seed: int) -> Path:
    """Where in a build folder a profile has its own: with a seed other than 0 beside it, so that none is published."""
    return build / (profile if seed == 0 else f"{profile}-seed{seed}")


def seed_everything(seed: int) -> None:
    """Seed NumPy's global generator and those of torch and Keras, where they are loaded.

    Deterministic algorithms are asked for too; an operation that has none warns instead of failing.
    """
    np.random.seed(seed)
    if torch := sys.modules.get("torch"):
        # cuBLAS reads this at its first call; without it its results may differ from run to run.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.manual_seed(seed)
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.backends.cudnn.benchmark = False
    if keras := sys.modules.get("keras"):
        keras.utils.set_random_seed(seed)


def set_threads() -> int:
    """Apply `DGM_THREADS`, if it is set, and return the number of threads that a matrix product uses."""
    wanted = os.environ.get("DGM_THREADS")
    if wanted is not None and not (wanted.isdecimal() and int(wanted) > 0):
        raise ValueError(f"DGM_THREADS: expected a positive whole number, got {wanted!r}")
    torch, tensorflow = sys.modules.get("torch"), sys.modules.get("tensorflow")
    if wanted and torch:
        torch.set_num_threads(int(wanted))
    if wanted and tensorflow:
        with contextlib.suppress(RuntimeError):  # raised when TensorFlow has already started its threads
            tensorflow.config.threading.set_intra_op_parallelism_threads(int(wanted))
    if torch:
        return torch.get_num_threads()
    return int(wanted) if wanted else os.cpu_count() or 1


def find_device() -> tuple[str, str]:
    """The device, as its framework names it, and the hardware in words: CUDA, else MPS, else CPU.

    `DGM_DEVICE=cpu` keeps everything on the CPU.

    Raises:
        ValueError: the variable holds another word.
    """
    wanted = os.environ.get("DGM_DEVICE")
    if wanted not in (None, "", "cpu"):
        raise ValueError(f"DGM_DEVICE: expected cpu, or nothing, got {wanted!r}")
    torch, tensorflow = sys.modules.get("torch"), sys.modules.get("tensorflow")
    if wanted and tensorflow:
        with contextlib.suppress(RuntimeError):  # raised when TensorFlow already uses one
            tensorflow.config.set_visible_devices([], "GPU")
    if torch and torch.cuda.is_available() and not wanted:
        return "cuda", torch.cuda.get_device_name()
    if torch and torch.backends.mps.is_available() and not wanted:
        return "mps", f"Apple {platform.machine()}"
    if tensorflow and not torch and not wanted and tensorflow.config.list_physical_devices("GPU"):
        return "gpu", "GPU"
    return "cpu", f"{platform.machine()} CPU, {os.cpu_count()} cores"


def settle_keras() -> None:
    """What the lectures assume of Keras, whatever the reader's `keras.json` says."""
    if keras := sys.modules.get("keras"):
        keras.config.set_floatx("float32")
        keras.config.set_image_data_format("channels_last")


def commit() -> str:
    """The commit that runs, with `+changes` behind it when the tree differs, or `unknown` outside a checkout."""
    if named := os.environ.get("DGM_COMMIT"):
        return named
    here = Path(__file__).parent
    # Inside a hook git names another repository in GIT_DIR.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}

    def git(*words: str) -> str:
        command = ["git", *words]
        done = subprocess.run(command, cwd=here, env=environment, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        git("ls-files", "--error-unmatch", "__init__.py")  # an archive inside somebody's repository is not of it
        return git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
