"""Build the book: `python -m tools.book.build` runs the lectures that need it and writes `_build/<profile>/html`.

The profile comes from `DGM_PROFILE`, default `quick`.  Each profile has its own folder, so that a smoke build can
never be taken for the book.  The cache of executed lectures hangs on a hash over all that a lecture depends on and its
own text does not show: the helper package, the locked dependencies, the profile and the data set.

A build can be stopped at any moment.  The next one keeps the lectures that had ended and writes all pages anew.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from jupyter_cache import get_cache

from dgm.data import DataError, Digits, load_digits
from dgm.runtime import profile_name, recorded

from tools import preflight, sync
from tools.book.pages import problems
from tools.repo import ROOT, lectures

# Each kernel warns that it listens on this machine; TensorFlow calls it an error that there is no GPU.
NOISE = re.compile(
    r"\[IPKernelApp\] WARNING \| Kernel is running over TCP|WARNING: All log messages before absl::InitializeLog"
    r"|[IWE]\d{4} [\d:.]+ +\d+ \S+\.cc:\d+\]|\s*$"
)
UNFINISHED = "unfinished"  # this file stands in the build folder while Sphinx works, and stays where it was stopped


def fingerprint(profile: str, dataset: str, root: Path = ROOT) -> str:
    """Hash of everything outside a lecture that its outputs depend on."""
    digest = hashlib.sha256(f"{profile} {dataset} {sys.version_info[:2]}".encode())
    for path in [*sorted((root / "dgm").rglob("*.py")), root / "requirements.txt"]:
        digest.update(f"{path.relative_to(root)}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def check_kept(build: Path, digits: Digits) -> None:
    """Keep a book made from MNIST from being thrown away for one of the substitute, which nobody asked for.

    Raises:
        DataError: there is no MNIST now, and `build` has lectures that were run with it.
    """
    if digits.warning and any(build.glob("cache-MNIST-*/executed/*")):
        raise DataError(
            f"expected MNIST, as in the book in {build}, got no file of it, and none could be downloaded.\n"
            f"Name the folder that has MNIST/raw in DGM_DATA, or remove {build} to build from the substitute."
        )


def digests(root: Path = ROOT) -> dict[str, str]:
    """Hash of each page's source: Sphinx goes by file times, and misses an edit made while the page was being run."""
    sources = [*(root / "notebooks").glob("*.ipynb"), *(root / "book").glob("*.md")]
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(sources)}


def forget_edited(build: Path, now: dict[str, str]) -> None:
    """Make Sphinx read again every page whose source is not the one that was last rendered."""
    record = build / "sources.json"
    rendered = json.loads(record.read_text()) if record.is_file() else {}
    for name, digest in now.items():
        if rendered.get(name) != digest:
            (build / "doctrees" / name).with_suffix(".doctree").unlink(missing_ok=True)


def forget(build: Path, cache: Path, lecture: str) -> None:
    """Make `lecture` run again: drop its outputs from the cache, and the page that was read with them."""
    if cache.is_dir():
        store = get_cache(str(cache))
        for record in store.list_cache_records():
            if Path(record.uri).stem == lecture:
                store.remove_cache(record.pk)
    (build / "doctrees" / "notebooks" / f"{lecture}.doctree").unlink(missing_ok=True)


def mend(build: Path, cache: Path) -> None:
    """Remove what a build that was stopped may have left half-written: all pages, and outputs that can't be read.

    Sphinx goes by file times and would take half a page for a new one; the cache lists an entry before it writes it.
    """
    if (build / UNFINISHED).exists():
        print("the last build was stopped: its pages are written anew, lectures that had ended do not run again")
        for folder in ("doctrees", "html"):
            shutil.rmtree(build / folder, ignore_errors=True)
    if not cache.is_dir():
        return
    store = get_cache(str(cache))
    for record in store.list_cache_records():
        try:
            store.get_cache_bundle(record.pk)
        except (KeyError, ValueError):  # no file, or half a file
            shutil.rmtree(cache / "executed" / record.hashkey, ignore_errors=True)
            type(record).remove_records([record.pk], store.db)


def write_configuration(source: Path) -> None:
    """`conf.py` for Sphinx from `_config.yml`, without sphinx-thebe: its scripts ask another host and throw errors."""
    command = [str(Path(sys.executable).with_name("jupyter-book")), "config", "sphinx", str(source)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    conf = source / "conf.py"
    text = conf.read_text()
    without = text.replace("'sphinx_thebe', ", "")
    if without == text:
        raise SystemExit("conf.py: expected 'sphinx_thebe' among the extensions; did Jupyter Book change?")
    conf.write_text(without)


def render(source: Path, build: Path, settings: dict[str, str]) -> None:
    """One pass of Sphinx over `source`, warnings are errors."""
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", "-d", str(build / "doctrees")]
    for name, value in settings.items():
        command += ["-D", f"{name}={value}"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYDEVD_DISABLE_FILE_VALIDATION": "1"}
    build.mkdir(parents=True, exist_ok=True)
    (build / UNFINISHED).touch()
    status = run_alone([*command, str(source), str(build / "html")], environment)
    if status in (0, 1):  # 1: there were warnings, but every page was written
        (build / UNFINISHED).unlink()
    if status:
        raise SystemExit(f"the book was not built: Sphinx ended with {status}")


def run_alone(command: list[str], environment: dict[str, str]) -> int:
    """Exit status of a command that Ctrl-C does not reach: we stop it, at once and without its last words.

    What it says on its standard error passes through our hands, without what frightens and means nothing.
    """
    quiet = {"stdin": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    process = subprocess.Popen(command, env=environment, text=True, process_group=0, **quiet)
    try:
        for line in process.stderr:
            if not NOISE.match(line):
                print(line, end="", file=sys.stderr)
        return process.wait()
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def main() -> int:
    """Build, check the pages, say where the book is and how long each lecture took."""
    started = time.perf_counter()
    preflight.stop_if(preflight.problems_of_build(ROOT))
    if stale := sync.out_of_step():
        names = ", ".join(path.name for path in stale)
        raise SystemExit(f"out of step with what they are made from: {names}.  Run `make sync`.")
    try:
        profile = profile_name()
    except ValueError as error:
        raise SystemExit(str(error)) from None
    print(f"building the profile {profile}: a lecture whose outputs are still good does not run again")
    digits = load_digits()
    build = ROOT / "_build" / profile
    check_kept(build, digits)
    if digits.warning:
        print(digits.warning)
    results, cache = build / "results", build / f"cache-{digits.name}-{fingerprint(profile, digits.name)}"
    os.environ |= {"DGM_PROFILE": profile, "DGM_BUILD": str(ROOT / "_build"), "DGM_DATASET": digits.name}
    if not cache.is_dir():  # something that lectures depend on has changed: no old output may survive
        for stale_folder in [*build.glob("cache-*"), build / "doctrees", build / "html", results]:
            shutil.rmtree(stale_folder, ignore_errors=True)
    mend(build, cache)
    for lecture in lectures():
        if not recorded(lecture, profile):
            forget(build, cache, lecture)
    sources = digests()
    forget_edited(build, sources)
    before = {path: path.stat().st_mtime_ns for path in results.glob("*.json")}

    write_configuration(ROOT)
    settings = {"nb_execution_cache_path": str(cache)}
    render(ROOT, build, settings)
    executed = [path.stem for path in sorted(results.glob("*.json")) if before.get(path) != path.stat().st_mtime_ns]
    if executed:
        render(ROOT, build, settings)  # the page of results can be written only now that there are some

    partial = build / "sources.partial"
    partial.write_text(json.dumps(sources))
    partial.replace(build / "sources.json")  # in one step: the next build must not meet half of it

    if found := problems(build / "html", lectures(), profile):
        raise SystemExit("the pages are not fit to be read:\n" + "\n".join(found))
    for lecture in lectures():
        seconds = json.loads((results / f"{lecture}.json").read_text())["seconds"]
        print(f"{lecture:24} {seconds:5.0f} s{'' if lecture in executed else '  (not run again)'}")
    print(f"{'total of this call':24} {time.perf_counter() - started:5.0f} s")
    print(build / "html" / "index.html")
    return 0


if __name__ == "__main__":
    for ending in (signal.SIGTERM, signal.SIGHUP):  # as Ctrl-C: no lecture may go on alone
        if signal.getsignal(ending) != signal.SIG_IGN:  # nohup
            signal.signal(ending, signal.default_int_handler)
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("\nstopped; `make book` goes on with the lectures that are left", file=sys.stderr)
        sys.exit(130)
    except (DataError, OSError) as error:
        sys.exit(f"the book was not built: {error}")
