"""What the other tools must know of this repository: where it lies, which lectures it has, its public address."""

from __future__ import annotations

from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent


def lectures(root: Path = ROOT) -> list[str]:
    """Names of the lectures in the order of `_toc.yml`."""
    toc = yaml.safe_load((root / "_toc.yml").read_text())
    files = [entry["file"] for part in toc.get("parts", []) for entry in part["chapters"]]
    return [name.removeprefix("notebooks/") for name in files if name.startswith("notebooks/")]


def repository(root: Path = ROOT) -> tuple[str, str]:
    """`OWNER/REPO` and the branch, from `_config.yml`, the one place that holds them."""
    entry = yaml.safe_load((root / "_config.yml").read_text())["repository"]
    return entry["url"].removeprefix("https://github.com/").strip("/"), entry["branch"]


def title(lecture: str, root: Path = ROOT) -> str:
    """The heading of a lecture: the first line of its first Markdown cell."""
    text = (root / "notebooks" / f"{lecture}.py").read_text()
    return text.split('# %% [markdown]\nr"""\n# ', 1)[1].split("\n", 1)[0]
