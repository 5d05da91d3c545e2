"""Sphinx extension: the idea is in sight, and the rest of a cell is one touch away.

A cell of checks is one line that names its claims; the set-up of a lecture is one block; the code that draws a figure
says which one; what stands under *Further* is folded, unit by unit.  All of it is `details` with a `summary`, elements
of HTML itself, so that a page without scripts can open them and a screen reader knows them.

What a reader must see stays in sight and in order: answers to exercises, recorded numbers, tables, errors.
"""

from __future__ import annotations

import html
from typing import Any

from docutils import nodes
from myst_nb.sphinx_ import HideCodeCellNode
from sphinx.application import Sphinx

from dgm.checks import claim

from tools.claims import MARK, in_short

START = "dgm.start("  # the cell that has it is the last one of the set-up


def details(kind: str, summary: str, children: list[nodes.Node]) -> list[nodes.Node]:
    """`children` behind a line that opens them; `summary` is HTML."""
    start = f'<details class="dgm-fold dgm-{kind}"><summary>{summary}</summary>'
    return [nodes.raw("", start, format="html"), *children, nodes.raw("", "</details>", format="html")]


def _part(block: nodes.literal_block, lines: list[str]) -> nodes.literal_block:
    """A block like `block` with these lines only."""
    text = "\n".join(lines)
    part = block.copy()
    part.rawsource = text  # Sphinx takes a block whose source differs from its text for one that is marked up inside
    part += nodes.Text(text)
    return part


def is_printed(node: nodes.Node) -> bool:
    """Whether it is what a cell wrote to its standard output."""
    return isinstance(node, nodes.literal_block) and {"output", "stream"} <= set(node["classes"])


def parted(block: nodes.literal_block) -> tuple[list[str], list[str]]:
    """The lines of checks that passed, and the others."""
    lines = block.astext().rstrip("\n").split("\n")
    passed = [line for line in lines if claim(line)]
    return passed, [line for line in lines if not claim(line)]


def element(cell: nodes.container, name: str) -> nodes.container | None:
    """The code of a cell, `cell_code_source`, or what it shows, `cell_code_output`."""
    return next((node for node in cell.children if node.get("nb_element") == name), None)


def fold_check(cell: nodes.container) -> None:
    """One line in place of a cell of checks; what else it shows follows."""
    source, shown = element(cell, "cell_code_source"), element(cell, "cell_code_output")
    passed: list[str] = []
    for block in [node for node in (shown.children if shown else []) if is_printed(node)]:
        lines, others = parted(block)
        passed += lines
        at = shown.index(block)
        shown[at : at + 1] = [_part(block, others)] if others else []
    for code in source.findall(nodes.literal_block) if source else []:
        first, _, rest = code.astext().partition("\n")
        if first.startswith(f"# {MARK}"):  # the line that Jupyter shows; here the summary says it
            code.children = [nodes.Text(rest)]
            code.rawsource = rest
    inside: list[nodes.Node] = [source] if source else []
    if passed:
        text = "\n".join(passed)
        inside.append(nodes.literal_block(text, text, classes=["output", "stream"], language="none"))
    claims = html.escape(in_short([claim(line) for line in passed]))
    summary = (
        f'<span class="dgm-mark">{MARK}</span> <span class="dgm-claims">{claims}</span>'
        if passed
        else "The check, as code"
    )
    rest = [shown] if shown and shown.children else []
    if rest and shown.astext().strip() == "not yet":
        cell["classes"].append("dgm-not-yet")
    cell.children = []
    cell.extend([*details("check", summary, inside), *rest])


def fold_checks(document: nodes.document) -> None:
    """Every cell that is tagged `check`."""
    for cell in cells(document):
        if "tag_check" in cell["classes"]:
            fold_check(cell)


def cells(document: nodes.document) -> list[nodes.container]:
    """All code cells."""
    return [node for node in document.findall(nodes.container) if node.get("nb_element") == "cell_code"]


def fold_setup(document: nodes.document) -> None:
    """The cells from the imports to the start of the run, as one block, under what the header says.

    The first line that the start prints is folded too; a warning, that the digits are not MNIST, is not.
    """
    found = cells(document)
    last = next((i for i, cell in enumerate(found) if START in cell.astext()), None)
    if last is None:
        return
    group, parent = found[: last + 1], found[last].parent
    if any(cell.parent is not parent for cell in group):
        raise ValueError("the cells of the set-up stand in different sections: expected them under the title")
    outside: list[nodes.Node] = []
    shown = element(group[-1], "cell_code_output")
    for block in [node for node in (shown.children if shown else []) if is_printed(node)]:
        first, *others = block.astext().rstrip("\n").split("\n")
        shown.replace(block, _part(block, [first]))
        if others:
            outside.append(nodes.container("", _part(block, others), classes=["cell", "cell_output"]))
    at = parent.index(group[0])
    for cell in group:
        parent.remove(cell)
    parent[at:at] = [*details("setup", "Set-up", group), *outside]


def name_plots(app: Sphinx, document: nodes.document, docname: str) -> None:
    """The fold over the code of a picture says which it draws; a plot whose code was not hidden is hidden."""
    numbers = app.env.toc_fignumbers.get(docname, {}).get("figure", {})
    for cell in cells(document):
        if "tag_plot" not in cell["classes"] and not any(cell.findall(HideCodeCellNode)):
            continue
        figures = [name for node in cell.findall(nodes.figure) for name in node["ids"] if name in numbers]
        words = " and ".join(".".join(map(str, numbers[name])) for name in figures)
        first = cell.astext().lstrip().split("\n")[0]
        prompt = f"Code: {first[2:]}" if first.startswith("# ") else "Code"
        prompt = f"Code of figure {words}" if figures else prompt
        folds = list(cell.findall(HideCodeCellNode))
        if not folds and (source := element(cell, "cell_code_source")):
            fold = HideCodeCellNode(classes=["above-input"])
            cell.replace(source, fold)
            fold += source
            folds = [fold]
        for fold in folds:
            fold["prompt_show"] = fold["prompt_hide"] = prompt


def fold_further(document: nodes.document) -> None:
    """Each unit of the section *Further* behind its title."""
    for section in document.findall(nodes.section):
        if section.children and section[0].astext() != "Further":
            continue
        for unit in [node for node in section.children if isinstance(node, nodes.section)]:
            title, *content = unit.children
            unit.children = []
            # The title stays a heading: contents and links lead to it, and scripts open what they lead to.
            start = nodes.raw("", '<details class="dgm-fold dgm-further"><summary>', format="html")
            middle, end = (nodes.raw("", text, format="html") for text in ("</summary>", "</details>"))
            unit.extend([start, title, middle, *content, end])


def fold(app: Sphinx, document: nodes.document, docname: str) -> None:
    """All of it, on the page of a lecture."""
    if not docname.startswith("notebooks/"):
        return
    name_plots(app, document, docname)
    fold_checks(document)
    fold_setup(document)
    fold_further(document)


def setup(app: Sphinx) -> dict[str, Any]:
    """Do it when the figures have their numbers."""
    app.connect("doctree-resolved", fold)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
