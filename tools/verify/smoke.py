"""Run every lecture once in the smoke profile, on all cores, and render the book from those runs.

The lectures are copied to `_staged` and executed there by nbmake, so that no output gets into the sources; Sphinx then
renders the copies with execution off and warnings as errors.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time

from dgm.data import load_digits

from tools.book.build import render, write_configuration
from tools.book.pages import problems
from tools.export.labels import misnumbered, targets
from tools.repo import ROOT, lectures

STAGE = ROOT / "_staged"  # not inside _build: nbmake passes over such paths


def main() -> int:
    """Execute, render, check; return the exit status."""
    started = time.perf_counter()
    shutil.rmtree(STAGE, ignore_errors=True)
    STAGE.mkdir()
    for name in ("book", "figures", "notebooks"):
        shutil.copytree(ROOT / name, STAGE / name)
    for name in ("_config.yml", "_toc.yml"):
        shutil.copy(ROOT / name, STAGE / name)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    workers = min(cores, len(lectures()))
    build = ROOT / "_build" / "smoke"
    shutil.rmtree(build, ignore_errors=True)
    os.environ |= {
        "DGM_PROFILE": "smoke",
        "DGM_BUILD": str(ROOT / "_build"),
        "DGM_DATASET": load_digits().name,
        "DGM_THREADS": str(max(1, cores // workers)),  # two pools of two threads on two cores would fight
    }
    command = [sys.executable, "-m", "pytest", "-q", "--nbmake", "--overwrite", "--nbmake-timeout=300", "--durations=0"]
    command += ["-n", str(workers), "-c", os.devnull, "--rootdir", str(STAGE), "-p", "no:cacheprovider"]
    command += [str(STAGE / "notebooks" / f"{lecture}.ipynb") for lecture in lectures()]
    if status := subprocess.run(command, cwd=STAGE, check=False).returncode:
        return status
    write_configuration(STAGE)
    render(STAGE, build, {"nb_execution_mode": "off"})
    if found := problems(build / "html", lectures(), "smoke") + misnumbered(build / "html", targets()):
        print("\n".join(found))
        return 1
    shutil.rmtree(STAGE)
    print(f"{len(lectures())} lecture(s) executed and rendered in {time.perf_counter() - started:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
