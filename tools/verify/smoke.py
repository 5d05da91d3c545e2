"""The book in its smallest profile: its numbers of equations and figures are those of the exports, its pages short."""

from __future__ import annotations

import os
import sys

from tools import reading
from tools.book import build
from tools.book.folder import folder_of
from tools.export.labels import misnumbered, targets
from tools.repo import edited


def main() -> int:
    """Build, compare; return the exit status."""
    os.environ["DGM_PROFILE"] = "smoke"
    build.main()
    pages = folder_of("smoke", 0) / "html"
    found = misnumbered(pages, targets())
    for name, measured in reading.measures(pages, edited()).items():
        found += reading.over_budget(name, measured)
    print("\n".join(found), end="\n" if found else "")
    return bool(found)


if __name__ == "__main__":
    sys.exit(build.run(main))
