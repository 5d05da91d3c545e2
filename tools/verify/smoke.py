"""The book in its smallest profile, and whether its numbers of equations and figures are those of the exports."""

from __future__ import annotations

import os
import sys

from tools.book import build
from tools.book.folder import folder_of
from tools.export.labels import misnumbered, targets


def main() -> int:
    """Build, compare; return the exit status."""
    os.environ["DGM_PROFILE"] = "smoke"
    build.main()
    if found := misnumbered(folder_of("smoke", 0) / "html", targets()):
        print("\n".join(found))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(build.run(main))
