"""What the other tools must know of this repository: where it lies, which lectures it has, its public address."""

from __future__ import annotations

import subprocess
import tomllib
from pathlib import Path

import yaml

from tools.environment import git_free

ROOT = Path(__file__).resolve().parent.parent
NOWHERE = "OWNER/REPO"  # what `_config.yml` says until the repository has a public home
COLAB = "colab"  # the branch with the clean notebooks: the workflow `publish` writes it, the Colab buttons open it


def lectures(root: Path = ROOT) -> list[str]:
    """Names of the lectures in the order of `_toc.yml`."""
    toc = yaml.safe_load((root / "_toc.yml").read_text(encoding="utf-8"))
    files = [entry["file"] for part in toc.get("parts", []) for entry in part["chapters"]]
    return [name.removeprefix("notebooks/") for name in files if name.startswith("notebooks/")]


def edited(root: Path = ROOT) -> list[str]:
    """The lectures that are through: `edited: true` in `book/lectures.yml`.  They keep the rules of CONTRIBUTING.md."""
    entries = yaml.safe_load((root / "book" / "lectures.yml").read_text(encoding="utf-8"))["lectures"]
    return [name for name, entry in entries.items() if entry.get("edited")]


def repository(root: Path = ROOT) -> tuple[str, str]:
    """`OWNER/REPO` and the branch, from `_config.yml`, the one place that holds them."""
    entry = yaml.safe_load((root / "_config.yml").read_text(encoding="utf-8"))["repository"]
    return entry["url"].removeprefix("https://github.com/").strip("/"), entry["branch"]


def tag(root: Path = ROOT) -> str:
    """The tag under which the present version of `dgm` is published, and which the clean notebooks install."""
    return "v" + tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]


def colab_address(lecture: str, root: Path = ROOT) -> str:
    """Where Colab opens the clean notebook of a lecture."""
    return f"https://colab.research.google.com/github/{repository(root)[0]}/blob/{COLAB}/notebooks/{lecture}.ipynb"


def page_address(page: str, root: Path = ROOT) -> str:
    """Where GitHub Pages shows a page of the book, such as `book/results`."""
    owner, name = repository(root)[0].split("/")
    host = f"{owner.lower()}.github.io"
    return f"https://{host}/{page}.html" if name.lower() == host else f"https://{host}/{name}/{page}.html"


def title(lecture: str, root: Path = ROOT) -> str:
    """The heading of a lecture: the first line of its first Markdown cell."""
    text = (root / "notebooks" / f"{lecture}.py").read_text(encoding="utf-8")
    return text.split('# %% [markdown]\nr"""\n# ', 1)[1].split("\n", 1)[0]


def tracked(root: Path = ROOT) -> list[str] | None:
    """The committed files; nothing where this is no checkout, but an archive, perhaps inside another repository."""
    command = ["git", "-C", str(root), "ls-files", "-z"]
    try:
        asked = subprocess.run(command, env=git_free(), capture_output=True, encoding="utf-8", check=False)
    except OSError:  # no git
        return None
    names = asked.stdout.split("\0")[:-1]
    return names if asked.returncode == 0 and "_toc.yml" in names else None
