"""Every lecture with each cell run twice in a row, as by a second shift-enter, and then the whole of it once more.

python -m tools.verify.try_twice [LECTURE ...]

A cell makes what it changes, or copies it: else the second run trains on, or goes on drawing, and a check stops.
"""

from __future__ import annotations

import copy
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat

from tools.environment import ONE_THREAD, clean
from tools.repo import ROOT, lectures
from tools.verify.attempts import try_all


def doubled(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Each code cell twice, one after the other; then all of them once more."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    order = [cell for cell in cells for _ in range(2)] + cells
    notebook = copy.copy(notebook)
    notebook.cells = [copy.deepcopy(cell) for cell in order]
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number}"
    return notebook


def try_lecture(lecture: str, folder: Path = ROOT / "notebooks") -> tuple[str, float]:
    """What stopped it, empty where nothing did, and the seconds it took."""
    started = time.perf_counter()
    notebook = doubled(nbformat.read(folder / f"{lecture}.ipynb", as_version=4))
    with tempfile.TemporaryDirectory() as build:
        source, target = Path(build, f"{lecture}.ipynb"), Path(build, "executed.ipynb")
        nbformat.write(notebook, source)
        environment = clean(DGM_PROFILE="smoke", DGM_BUILD=build, **ONE_THREAD)
        command = [sys.executable, "-m", "tools.book.execute", str(source), str(target)]
        done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    return (done.stdout or done.stderr)[-2000:] if done.returncode else "", time.perf_counter() - started


def main(arguments: list[str]) -> int:
    """Try the lectures, side by side."""
    return try_all(arguments or lectures(), try_lecture, "hold with each cell run twice")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
