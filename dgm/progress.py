"""A progress bar for a terminal, Jupyter and Colab, of which one line is left."""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any

from tqdm import tqdm

__all__ = ["progress"]


class _NotebookBar(tqdm):
    """A bar of plain text that replaces itself, in Jupyter and in Colab; a saved notebook keeps the last text only."""

    last_line = ""  # shown from the end on, in place of the bar

    def __init__(self, *args: Any, **settings: Any) -> None:
        from IPython.display import display

        self.shown = display({"text/plain": ""}, raw=True, display_id=True)
        super().__init__(*args, file=io.StringIO(), ncols=72, **settings)

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        """Show the bar as it is now."""
        self.shown.update({"text/plain": self.last_line or msg or str(self)}, raw=True)


def _in_notebook() -> bool:
    """Whether a Jupyter kernel runs this: Colab has one, too."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return hasattr(shell, "kernel")


def progress(steps: Iterable[Any], what: str, *, total: int | None = None, done: int = 0) -> Iterator[Any]:
    """Pass on `steps`, with a bar and the time left in a terminal, in Jupyter and in Colab.

    At the end one line is left that says how many steps were made and how long they took; in a log that is all.

    Args:
        steps: what is passed on.
        what: a word or two for the work, such as "U-Net".
        total: number of steps; default `len(steps)` where it has a length.
        done: steps that an earlier run has made.
    """
    if total is None and hasattr(steps, "__len__"):
        total = len(steps) + done
    notebook = _in_notebook()
    bar_class = _NotebookBar if notebook else tqdm
    settings: dict[str, Any] = {"desc": what, "total": total, "initial": done, "leave": False, "mininterval": 0.5}
    settings["disable"] = not notebook and not sys.stderr.isatty()
    started, count = time.perf_counter(), done
    with bar_class(**settings) as bar:
        for step in steps:
            count += 1
            bar.update()
            yield step
        before = f", {done:,} of them before" if done else ""
        line = f"{what}: {count:,} step{'s' * (count != 1)}{before}, {time.perf_counter() - started:.0f} s"
        if notebook:
            bar.leave, bar.last_line = True, line
    if not notebook:
        print(line)
