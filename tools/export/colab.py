"""Write the clean notebooks that Colab opens: `python -m tools.export.colab [--tag vX.Y.Z]` fills `_build/colab`.

They are the lectures without MyST: equations and references carry the numbers of the book, citations are names and
years, notes are quotations, solutions are folded.  The workflow `publish` puts the folder on the branch `colab`.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from html import escape
from pathlib import Path

import jupytext
import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell

from tools import claims
from tools.edited import is_edited, put_aside
from tools.export.citations import Citations
from tools.export.labels import Target, figure_of, targets
from tools.export.plain_markdown import ROLE, Translator, left_over, picture_address
from tools.repo import ROOT, colab_address, lectures, page_address, repository, tag
from tools.sync import give_ids

DRAWN = {"hide-input", "hide-cell", "plot"}
SETUP = {"bootstrap", "imports", "parameters"}
NOTES = """# Clean notebooks of [this repository](https://github.com/{address})

Generated from {tag} for Colab: do not edit.
The lectures and all else are on the branch [{branch}](https://github.com/{address}/tree/{branch}).
"""


def header(lecture: str) -> str:
    """The first cell: a button that opens this notebook in Colab, the page in the book, how to run it elsewhere."""
    badge = f"[![Open in Colab]({picture_address('figures/colab.svg')})]({colab_address(lecture)})"
    page = f"[This lecture as a page of the book]({page_address(f'notebooks/{lecture}')})"
    install = f'`pip install "dgm[torch,keras] @ git+https://github.com/{repository()[0]}@{tag()}"`'
    return f"{badge}\n\n{page}.\nColab needs nothing but this notebook; elsewhere run {install} once."


def fold(cell: NotebookNode, title: str) -> None:
    """Hide the code of a cell behind a title, in Colab and in Jupyter."""
    cell.source = f"# @title {title}\n{cell.source}"
    cell.metadata["cellView"] = "form"
    cell.metadata["jupyter"] = {"source_hidden": True}


def at_tag(source: str) -> str:
    """The bootstrap cell, with the tag in place of the branch."""
    address, branch = repository()
    old, new = f"github.com/{address}@{branch}", f"github.com/{address}@{tag()}"
    if source.count(old) != 1:
        raise ValueError(f"the bootstrap cell: expected {old} once, found {source.count(old)} times")
    return source.replace(old, new)


def code(cell: NotebookNode, translator: Translator) -> list[NotebookNode]:
    """A code cell, folded where the book folds it, and the caption of its picture, with what is to be seen in words."""
    tags, figure = set(cell.metadata.get("tags", [])), figure_of(cell)
    alt = cell.metadata.get("mystnb", {}).get("image", {}).get("alt")
    name = figure.get("name") if figure else None
    if "bootstrap" in tags:
        cell.source = at_tag(cell.source)
    if translator.solution:
        fold(cell, f"Solution of {translator.solution.words}")
    elif tags & DRAWN:
        first = cell.source.split("\n", 1)[0]
        words = f"Code: {first[2:]}" if first.startswith("# ") else "Code"
        fold(cell, f"Code of {translator.targets[name].words}" if name else words)
    elif "check" in tags:
        fold(cell, claims.title(cell.source))
    elif tags & SETUP:
        fold(cell, "Set-up")
    for key in ("mystnb", "lines_to_next_cell"):
        cell.metadata.pop(key, None)
    if not figure:
        return [cell]
    caption = translator.caption(name, figure["caption"])
    if alt:  # a picture that a kernel draws has no place for it
        caption += f"\n\n<details><summary>The picture in words</summary>{escape(alt)}</details>"
    return [cell, new_markdown_cell(caption)]


def cited(cells: list[NotebookNode]) -> list[str]:
    """The keys of all works that a lecture cites, captions included."""
    texts = [(figure_of(cell) or {}).get("caption", "") if cell.cell_type == "code" else cell.source for cell in cells]
    roles = [match for text in texts for match in ROLE.finditer(text) if match[1].startswith("cite:")]
    return [key.strip() for match in roles for key in match[3].split(",")]


def clean(script: str, lecture: str, labels: dict[str, Target]) -> tuple[NotebookNode, list[str]]:
    """The clean notebook of a lecture, from the text of its `.py`, and the drawings that it shows.

    Raises:
        ValueError: something in it has no translation.
    """
    notebook = jupytext.reads(script, fmt="py:percent")
    citations = Citations(cited(notebook.cells))
    translator = Translator(lecture, labels, citations)
    cells = [new_markdown_cell(header(lecture))]
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cells += code(cell, translator)
        elif text := translator.cell(cell.source):
            cells.append(new_markdown_cell(text))
    if translator.solution:
        raise ValueError(f"the solution of {translator.solution.words} has no end")
    if citations.entries:
        cells.append(new_markdown_cell(f"## References\n\n{citations.references()}"))
    if left := [what for cell in cells if cell.cell_type == "markdown" for what in left_over(cell.source)]:
        raise ValueError("; ".join(left))
    notebook.cells = cells
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook.metadata = NotebookNode(colab={"toc_visible": True}, kernelspec=kernel)
    return give_ids(notebook), ["figures/colab.svg", *translator.pictures]


def export(folder: Path) -> list[Path]:
    """Write all clean notebooks, and the drawings they show; an error names the lecture it is in.

    A notebook that somebody has worked in gets another name before its own is written; files that are not ours stay.
    """
    labels, written = targets(), []
    for name in ("notebooks", "figures"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for path in sorted((folder / "notebooks").glob("*.ipynb")):
        if is_edited(path):
            if path.stem in lectures():
                print(f"you have worked in {path.name}: it is now {Path(put_aside(path)).name}")
        elif path.stem not in lectures():
            path.unlink()  # of a lecture that is gone
    for lecture in lectures():
        try:
            notebook, pictures = clean(
                (ROOT / "notebooks" / f"{lecture}.py").read_text(encoding="utf-8"), lecture, labels
            )
        except ValueError as error:
            raise SystemExit(f"{lecture}: {error}") from error
        nbformat.validate(notebook)
        written.append(folder / "notebooks" / f"{lecture}.ipynb")
        written[-1].write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")
        for picture in pictures:
            shutil.copy(ROOT / picture, folder / picture)
    address, branch = repository()
    (folder / "README.md").write_text(NOTES.format(address=address, branch=branch, tag=tag()), encoding="utf-8")
    shutil.copy(ROOT / "LICENSE", folder)
    return written


def main() -> int:
    """Export; refuse a tag that is not the one which the notebooks install."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tag", default=tag(), help="the tag that is being published")
    asked = parser.parse_args().tag
    if asked != tag():
        raise SystemExit(f"the tag is {asked}, but the notebooks install {tag()}: set the version in pyproject.toml")
    written = export(ROOT / "_build" / "colab")
    print(f"{len(written)} clean notebooks in {written[0].parent.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
