"""Run one notebook in a kernel of its own: `python -m tools.book.execute NOTEBOOK OUTPUT`; `run_all` runs many.

What a cell writes to its standard error is shown as it comes, but for lines that are known and mean nothing: those are
taken out of the page too.  A notebook that fails leaves no output, and its traceback is printed to standard output.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

# Each kernel warns that it listens on this machine; TensorFlow calls it an error that there is no GPU; tqdm misses
# widgets that a page could not show.
NOISE = re.compile(
    r"\[IPKernelApp\] WARNING \| Kernel is running over TCP|WARNING: All log messages before absl::InitializeLog"
    r"|[IWE]\d{4} [\d:.]+ +\d+ \S+\.cc:\d+\]|.*TqdmWarning: IProgress not found"
    r"|  from (\.autonotebook|tqdm\.auto) import tqdm( as notebook_tqdm)?$|\s*$"
)
TIMEOUT = 3600  # seconds a cell: on a busy machine a training took more than a quarter of an hour


class LectureFailed(RuntimeError):
    """Lectures did not run to their end; the message has what each said."""


def meaningful(text: str) -> str:
    """The lines of a standard error that are worth to be read."""
    return "".join(line for line in text.splitlines(keepends=True) if not NOISE.match(line))


def execute(source: Path, target: Path) -> None:
    """Run the notebook `source` in its folder, and write it with its outputs to `target` in one step."""
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(source, as_version=4)

    def tell(cell, cell_index, execute_reply) -> None:
        """Show what the cell wrote to its standard error, and leave out of the page what means nothing."""
        for output in list(cell.outputs):
            if output.output_type == "stream" and output.name == "stderr":
                output.text = meaningful(output.text)
                sys.stderr.write(output.text)
                if not output.text:
                    cell.outputs.remove(output)

    quiet = ["--IPKernelApp.log_level=ERROR"]
    settings = {"kernel_name": "python3", "extra_arguments": quiet, "on_cell_executed": tell}
    # No timing in the cells: their metadata are part of what the cache knows them by.
    client = NotebookClient(notebook, timeout=TIMEOUT, record_timing=False, **settings)
    client.execute(cwd=str(source.parent))
    partial = target.with_suffix(".partial")
    nbformat.write(notebook, partial)
    partial.replace(target)


@dataclass
class Worker:
    """A lecture that runs: a process of its own, whose group is its own, so that Ctrl-C does not reach it."""

    lecture: str
    process: subprocess.Popen
    started: float = field(default_factory=time.monotonic)
    said: list[str] = field(default_factory=list)
    listeners: list[threading.Thread] = field(default_factory=list)

    @classmethod
    def start(cls, lecture: str, command: list[str], environment: dict[str, str], tell: Callable[[str], None]):
        """Begin, and listen to what it says on both channels."""
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        process = subprocess.Popen(
            command, env=environment, process_group=0, encoding="utf-8", errors="replace", **pipes
        )
        worker = cls(lecture, process)

        def relay() -> None:
            for line in process.stderr:
                if not NOISE.match(line):
                    tell(f"{lecture}: {line.rstrip()}")

        for listen in (relay, lambda: worker.said.extend(process.stdout)):
            worker.listeners.append(threading.Thread(target=listen, daemon=True))
            worker.listeners[-1].start()
        return worker

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self.started

    def verdict(self) -> str:
        """Empty where it ended well, else why not."""
        for listener in self.listeners:
            listener.join(timeout=5)
        if not (status := self.process.returncode):
            return ""
        words = "".join(self.said).strip()
        if status < 0:
            words += f"the process was ended by {signal.Signals(-status).name}"
            words += ", which is what happens where memory runs out" if status == -signal.SIGKILL else ""
        return words or f"the process ended with status {status}"

    def kill(self) -> None:
        """End it at once, without its last words; its kernel sees that it is gone, and ends too."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


def words(seconds: float) -> str:
    """A time as one says it."""
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


class Plan:
    """Which lecture is next, and how long all will take.

    Args:
        seconds: how long each of the lectures that must run will take, as far as that is known.
        after: for each, those of them that must have ended before it starts, since it quotes their numbers.
    """

    def __init__(self, seconds: dict[str, float], after: dict[str, set[str]]):
        self.seconds = dict(seconds)
        self.after = {name: after.get(name, set()) & set(seconds) for name in seconds}
        self.waiting = set(seconds)
        self.ended: set[str] = set()

    def path(self, name: str) -> float:
        """Seconds until the last of those that wait for this one has ended."""
        later = [self.path(other) for other in self.seconds if name in self.after[other]]
        return self.seconds[name] + max(later, default=0.0)

    def next(self) -> str | None:
        """The one on which most time hangs, of those that may start; it is taken out of the waiting ones."""
        ready = [name for name in self.waiting if self.after[name] <= self.ended]
        if not ready:
            return None
        chosen = max(ready, key=lambda name: (self.path(name), name))
        self.waiting.remove(chosen)
        return chosen

    def left(self, running: dict[str, float], num_workers: int) -> float:
        """Seconds until all have ended.

        Args:
            running: seconds that each of the running ones has taken up to now.
            num_workers: how many run side by side.
        """
        rest = {name: max(self.seconds[name] - spent, 0.05 * self.seconds[name]) for name, spent in running.items()}
        total = sum(rest.values()) + sum(self.seconds[name] for name in self.waiting)
        longest = max([*rest.values(), *(self.path(name) for name in self.waiting)], default=0.0)
        return max(total / num_workers, longest)


def run_all(
    plan: Plan, command: Callable[[str], list[str]], environment: Callable[[str], dict[str, str]], num_workers: int
) -> Iterator[str]:
    """Run what is planned, side by side; yield each lecture that ended well, and tell how it goes.

    Raises:
        LectureFailed: some failed; the others have run.
    """
    workers: list[Worker] = []
    failed: dict[str, str] = {}
    total, live = len(plan.seconds), sys.stdout.isatty()
    lock = threading.Lock()

    def say(line: str) -> None:
        with lock:
            print(f"\r\x1b[K{line}" if live else line, flush=True)

    try:
        while workers or plan.waiting:
            while len(workers) < num_workers and (name := plan.next()):
                workers.append(Worker.start(name, command(name), environment(name), say))
                left = plan.left({worker.lecture: worker.seconds for worker in workers}, num_workers)
                say(f"         {name:24} runs; all that is to run ends in about {words(left)}")
            if not workers:  # what they wait for has failed
                failed |= dict.fromkeys(plan.waiting, "not run: it quotes numbers of one that failed")
                break
            time.sleep(0.05)
            for worker in [worker for worker in workers if worker.process.poll() is not None]:
                workers.remove(worker)
                if reason := worker.verdict():
                    failed[worker.lecture] = reason
                    say(f"         {worker.lecture:24} failed after {words(worker.seconds)}")
                    continue
                plan.ended.add(worker.lecture)
                done = f"{len(plan.ended) + len(failed):2} of {total:2}"
                yield worker.lecture
                say(f"{done} {worker.lecture:24} {words(worker.seconds):>6}")
            if live and workers:
                now = ", ".join(f"{worker.lecture} {words(worker.seconds)}" for worker in workers)
                left = plan.left({worker.lecture: worker.seconds for worker in workers}, num_workers)
                status = f"{now}; about {words(left)} left"[: shutil.get_terminal_size().columns - 1]
                with lock:
                    print(f"\r\x1b[K{status}", end="", flush=True)
    finally:
        for worker in workers:
            worker.kill()
        if live:
            print("\r\x1b[K", end="", flush=True)
    if failed:
        raise LectureFailed("\n\n".join(f"{name} failed:\n{reason}" for name, reason in failed.items()))


def main(arguments: list[str]) -> int:
    """Run one notebook; say on standard output why it failed."""
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    source, target = map(Path, arguments)
    try:
        execute(source, target)
    except CellExecutionError as error:
        print(re.sub(r"\x1b\[[\d;]*m", "", str(error)))
    except CellTimeoutError:
        print(f"a cell took more than {TIMEOUT} s")
    except DeadKernelError:
        print("its kernel died, which is what happens where memory runs out")
    except OSError as error:
        print(f"can't write or read a file: {error}")
    else:
        return 0
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
