"""A deck of slides from a lecture: `python -m tools.export.slides.make LECTURE` writes `_build/slides/LECTURE.html`.

Outputs are those of the book (`DGM_PROFILE`, default quick); where it is not built, the lecture runs in smoke.
The deck needs no network: reveal.js and MathJax lie beside it.  Which part of a cell is shown says `cells.py`.
"""

from __future__ import annotations

import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

import nbformat
from jupyter_cache import get_cache
from nbclient import NotebookClient
from nbconvert import SlidesExporter
from nbformat import NotebookNode
from traitlets.config import Config

from dgm.runtime import profile_name

from tools.environment import clean
from tools.export.slides.cells import deck
from tools.repo import ROOT, lectures, title

TEMPLATES = Path(__file__).parent / "deck"
TARGET = ROOT / "_build" / "slides"


def from_book(notebook: NotebookNode, profile: str, build: Path = ROOT / "_build") -> NotebookNode | None:
    """The notebook with the outputs that the book shows, if this very text was executed for it."""
    cache = build / profile / "cache"
    if not cache.is_dir():
        return None
    try:
        return get_cache(str(cache)).merge_match_into_notebook(notebook)[1]
    except KeyError:
        return None


def executed(notebook: NotebookNode) -> NotebookNode:
    """The notebook after a run in the profile smoke."""
    environment = clean(DGM_PROFILE="smoke", DGM_BUILD=str(ROOT / "_build"))
    quiet = ["--IPKernelApp.log_level=ERROR"]  # else each kernel warns that it listens on this machine
    client = NotebookClient(notebook, timeout=3600, extra_arguments=quiet)
    client.execute(cwd=str(ROOT / "notebooks"), env=environment)
    return notebook


def lay_beside(target: Path) -> None:
    """Copy reveal.js, MathJax, style and drawings into the folder of the deck."""
    static = target / "_static"
    for package, inside, name in (
        ("sphinx_revealjs", "_static/revealjs", "reveal"),
        ("sphinx-mathjax-offline", "static/mathjax", "mathjax"),
    ):
        source = Path(find_spec(package).submodule_search_locations[0]) / inside
        shutil.copytree(source, static / name, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.scss", "*.map"))
    for name in ("slides.css", "slides.js"):
        shutil.copy(TEMPLATES / name, static / name)
    shutil.copytree(ROOT / "figures", target / "figures", dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.py"))


def html(notebook: NotebookNode) -> str:
    """The deck as one page."""
    config = Config()
    config.TagRemovePreprocessor.remove_input_tags = {"remove_input"}
    config.TagRemovePreprocessor.enabled = True
    exporter = SlidesExporter(
        config=config,
        template_file="index.html.j2",
        extra_template_basedirs=[str(TEMPLATES.parent)],
        template_name="deck",
        reveal_url_prefix="_static/reveal",
        reveal_theme="white",
        exclude_input_prompt=True,
        exclude_output_prompt=True,
    )
    return exporter.from_notebook_node(notebook)[0]


def write(notebook: NotebookNode, lecture: str, target: Path, note: str = "") -> tuple[Path, int]:
    """Write the deck of an executed lecture and all it needs into a folder; return its path and number of slides."""
    slides = deck(notebook, lecture, note)
    slides.metadata["title"] = title(lecture)
    lay_beside(target)
    path = target / f"{lecture}.html"
    path.write_text(html(slides), encoding="utf-8")
    return path, sum(cell.metadata.slideshow.slide_type in ("slide", "subslide") for cell in slides.cells)


def main(names: list[str]) -> int:
    """Write the deck of one lecture; return the exit status."""
    if len(names) != 1 or names[0] not in lectures():
        raise SystemExit(f"expected LECTURE=, one of {', '.join(lectures())}; got {' '.join(names) or 'nothing'}")
    (lecture,) = names
    notebook, profile = nbformat.read(ROOT / "notebooks" / f"{lecture}.ipynb", as_version=4), profile_name()
    with_outputs, note = from_book(notebook, profile), ""
    if with_outputs is None:
        note = "Executed in the profile smoke: numbers and pictures mean nothing."
        print(
            f"the book has no outputs of {lecture} as it is now (profile {profile}, see `make book`): it runs in smoke,"
        )
        print("and numbers and pictures on the slides mean nothing", flush=True)
        with_outputs = executed(notebook)
    path, count = write(with_outputs, lecture, TARGET, note)
    print(f"{count} slides; the space bar goes on, S opens the speaker's notes\n{path}")
    return 0


if __name__ == "__main__":
    sys.exit(main([name for name in sys.argv[1:] if name]))
