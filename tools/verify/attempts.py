"""Many lectures tried in some way, side by side, with a line for each and the reasons of all that failed at the end."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from tools.environment import side_by_side


def try_all(names: list[str], attempt: Callable[[str], tuple[str, float]], what_holds: str) -> int:
    """The exit status: 0 where every attempt held.

    Args:
        names: of the lectures.
        attempt: gives what is wrong with one, empty where nothing is, and the seconds it took.
        what_holds: the rest of the sentence "16 lectures ..." where all hold.
    """
    failed = []
    with ThreadPoolExecutor(side_by_side()) as pool:
        for name, (reason, seconds) in zip(names, pool.map(attempt, names), strict=True):
            print(f"{name:24} {seconds:5.0f} s  {'failed' if reason else 'ok'}", flush=True)
            failed += [f"{name}:\n{reason}"] if reason else []
    print("\n".join(failed) or f"{len(names)} lectures {what_holds}")
    return int(bool(failed))
