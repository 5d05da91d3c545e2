"""The one environment in which lectures, Sphinx and tests run: without the settings of whoever runs them.

python -I tools/environment.py -m tools.book.build     runs a program of this repository in it

A style of matplotlib's with a dark ground, a backend without pictures, another kernel called python3, a broken plug-in
of pytest on PYTHONPATH, GIT_DIR inside of a hook: none of it may reach a page, a number or somebody's repository.  The
Makefile starts everything through this file; the programs use `clean` once more for what they start themselves.

Any Python from 3.6 on can read it: an old one is told so by `preflight`, and must not stumble here.
"""

import contextlib
import os
import shutil
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

# Names that begin so are somebody's settings of a program that runs here.
SETTINGS = ("PYTHON", "GIT_", "PYTEST_", "IPYTHON", "JUPYTER", "MPL", "MATPLOTLIBRC", "KERAS_", "NBCLIENT", "SPHINX")
# What they would read from the home of the user; made here, and empty but for caches.
FOLDERS = {
    "IPYTHONDIR": "ipython",
    "JUPYTER_CONFIG_DIR": "jupyter",
    "JUPYTER_DATA_DIR": "jupyter",
    "KERAS_HOME": "keras",
    "MPLCONFIGDIR": "matplotlib",
}
MEMORY_OF_ONE = 2e9  # bytes a lecture, at most
# Two pools of two threads on two cores would fight.
ONE_THREAD = {
    "DGM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "VECLIB_MAXIMUM_THREADS": "1",
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
}
PATHS = ("DGM_DATA", "DGM_BUILD", "DGM_BOOK")  # a kernel has another working folder than who names one


def clean(environment=None, **ours):
    """A copy of the environment without anybody's settings, with `ours` on top.

    Args:
        environment: what to start from; default that of this process.
        ours: variables to set; `None` removes one.
    """
    given = dict(os.environ if environment is None else environment)
    kept = {key: value for key, value in given.items() if not key.startswith(SETTINGS)}
    settings = os.path.join(ROOT, "_build", "settings")
    kept.update({key: os.path.join(settings, name) for key, name in FOLDERS.items()})
    for name in FOLDERS.values():
        with contextlib.suppress(OSError):  # `preflight` says that nothing can be written
            os.makedirs(os.path.join(settings, name), exist_ok=True)
    kept.update({key: os.path.abspath(os.path.expanduser(kept[key])) for key in PATHS if kept.get(key)})
    kept.update(
        PYTHONPATH=ROOT,  # `dgm` and `tools` of this checkout, in kernels too
        PYTHONUTF8="1",  # also where the locale is another
        JUPYTER_PREFER_ENV_PATH="1",  # the kernel `python3` of .venv
        PYDEVD_DISABLE_FILE_VALIDATION="1",  # else each kernel warns about frozen modules
    )
    kept.update({key: value for key, value in ours.items() if value is not None})
    return {key: value for key, value in kept.items() if ours.get(key, "") is not None}


def git_free(environment=None):
    """A copy of the environment without `GIT_*`: git must look at the folder it is started in, and at no other."""
    given = dict(os.environ if environment is None else environment)
    return {key: value for key, value in given.items() if not key.startswith("GIT_")}


def side_by_side():
    """How many lectures may run at once: one a core, one for each 2 GB of free memory, one where there is a GPU."""
    if shutil.which("nvidia-smi") or (sys.platform == "darwin" and os.uname().machine == "arm64"):
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):  # macOS does not say
        return cores
    return max(1, min(cores, int(free / MEMORY_OF_ONE)))


def main(arguments):
    """Replace this process by Python with the arguments, in the clean environment and at the root."""
    environment = clean()
    os.chdir(ROOT)
    sys.stdout.flush()
    os.execve(sys.executable, [sys.executable, *arguments], environment)


if __name__ == "__main__":
    main(sys.argv[1:])
