"""The main command as on a machine that nobody has prepared: `python -m tools.verify.try_fresh`.

The smoke book is built twice, from nothing, with `DGM_DATA` unset: once where every connection is refused, which must
end well on the substitute and say so on every page; once with MNIST in the default cache folder, which must be found.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from dgm.data import FILES, DataError, fetch_mnist

from tools.book.pages import read
from tools.environment import clean
from tools.repo import ROOT, lectures

NOBODY_LISTENS = "http://127.0.0.1:9"
REFUSED = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy"), NOBODY_LISTENS)


def built(name: str, caches: Path, **settings: str) -> Path:
    """The pages of a smoke book that is built from nothing with the given cache folder of the user."""
    folder = ROOT / "_build" / "fresh" / name
    shutil.rmtree(folder, ignore_errors=True)
    unset = dict.fromkeys(key for key in os.environ if key.startswith("DGM_"))
    ours = {"DGM_PROFILE": "smoke", "DGM_BUILD": str(folder), "XDG_CACHE_HOME": str(caches), "NO_PROXY": ""}
    environment = clean(**(unset | ours | settings))
    started = time.perf_counter()
    command = [sys.executable, "-m", "tools.book.build"]
    if status := subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode:
        raise SystemExit(f"{name}: the build ended with status {status}")
    print(f"{name}: built in {time.perf_counter() - started:.0f} s", flush=True)
    return folder / "smoke" / "html"


def wrong_labels(pages: Path, dataset: str) -> list[str]:
    """Lectures whose page says that it was made from something else."""
    labels = {name: read(pages / "notebooks" / f"{name}.html").meta.get("dgm-dataset") for name in lectures()}
    return [f"{name}: labelled {label}, expected {dataset}" for name, label in labels.items() if label != dataset]


def main() -> int:
    """Build both; the status is 1 where a label is wrong."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        empty, full = Path(folder, "empty"), Path(folder, "full")
        found += wrong_labels(built("offline", empty, **REFUSED), "digits")
        try:
            raw = fetch_mnist()
        except DataError as error:
            print(f"the build with MNIST in the default cache folder was not tried: {error}")
        else:
            there = full / "dgm" / "MNIST" / "raw"
            there.mkdir(parents=True)
            for name in FILES:
                shutil.copy(raw / name, there)
            found += wrong_labels(built("cache", full, **REFUSED), "MNIST")
    print("\n".join(found) or "both books are right")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
