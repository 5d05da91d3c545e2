"""Run lectures in the full profile, as scripts, and keep their results: `python -m tools.runs.full [LECTURE ...]`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

from tools import code
from tools.environment import clean
from tools.repo import ROOT, lectures


def main() -> int:
    """Run each lecture; copy its results file to `results/full` when it ended well.  One that fails stops no other."""
    names = sys.argv[1:] or lectures()
    if unknown := set(names) - set(lectures()):
        raise SystemExit(f"expected lectures out of {', '.join(lectures())}, got {', '.join(sorted(unknown))}")
    failed = []
    for name in names:
        script = str(ROOT / "notebooks" / f"{name}.py")
        environment = clean(
            DGM_PROFILE="full",
            DGM_SEED="0",
            DGM_BUILD=str(ROOT / "_build"),
            DGM_CODE=code.code(name),
            MPLBACKEND="agg",
            KERAS_BACKEND=os.environ.get("KERAS_BACKEND"),
        )
        if subprocess.run([sys.executable, script], env=environment, check=False).returncode:
            failed.append(name)
            continue
        kept = ROOT / "results" / "full" / f"{name}.json"
        kept.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "_build" / "full" / "results" / f"{name}.json", kept)
        print(f"kept {kept.relative_to(ROOT)}: commit it")
    if failed:
        print(f"nothing kept of {', '.join(failed)}: a check or the program stopped", file=sys.stderr)
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
