"""Which committed results were given by an older version of the code: `python -m tools.runs.stale`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tools.repo import ROOT, lectures
from tools.runs.records import is_stale


def stale(root: Path = ROOT) -> list[str]:
    """Results files whose lecture has other code now."""
    paths = [root / "results" / kind / f"{name}.json" for kind in ("full", "seeds") for name in lectures(root)]
    there = [path for path in paths if path.is_file()]
    return [
        str(path.relative_to(root)) for path in there if is_stale(json.loads(path.read_text(encoding="utf-8")), root)
    ]


def main() -> int:
    """List them; that there are some is no error."""
    found = stale()
    for name in found:
        print(f"{name}: of an older version of the code")
    if not found:
        print("every committed result is of today's code")
    return 0


if __name__ == "__main__":
    sys.exit(main())
