"""Sphinx extension: runs of passed checks are folded, pictures link to themselves, lines break where they should.

A cell of checks may print twenty lines that all end in "ok"; on a phone they fill two screens.  They are folded by an
element of HTML itself, so that a page without scripts can open them; every other line, an answer to an exercise, a
number, an error, stays in sight and in order.
"""

from __future__ import annotations

import re
from itertools import groupby
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

FEWEST = 3  # fewer lines take no more room than the line that would stand for them
PASSED = ": ok"  # how `dgm.checks` ends the line of a check that passed


def runs(lines: list[str]) -> list[tuple[bool, list[str]]]:
    """Split lines into runs that are folded (True), and what lies between them."""
    by_verdict = [(passed, list(run)) for passed, run in groupby(lines, lambda line: line.rstrip().endswith(PASSED))]
    folded = [(passed and len(run) >= FEWEST, run) for passed, run in by_verdict]
    return [(fold, [line for _, run in group for line in run]) for fold, group in groupby(folded, lambda pair: pair[0])]


def _part(block: nodes.literal_block, lines: list[str]) -> nodes.literal_block:
    """A block like `block` with these lines only."""
    text = "\n".join(lines)
    part = block.copy()
    part.rawsource = text  # Sphinx takes a block whose source differs from its text for one that is marked up inside
    part += nodes.Text(text)
    return part


def fold(block: nodes.literal_block) -> list[nodes.Node]:
    """What stands in place of the output `block` of a cell of checks."""
    parts: list[nodes.Node] = []
    for folded, lines in runs(block.astext().rstrip("\n").split("\n")):
        if not folded:
            parts.append(_part(block, lines))
            continue
        summary = f'<details class="dgm-checks"><summary>{len(lines)} checks: all ok</summary>'
        start, end = (nodes.raw("", text, format="html") for text in (summary, "</details>"))
        parts += [start, _part(block, lines), end]
    return parts


def fold_checks(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Fold the printed lines of every cell that is tagged `check`."""
    for cell in doctree.findall(lambda node: isinstance(node, nodes.container) and "tag_check" in node["classes"]):
        for block in list(cell.findall(nodes.literal_block)):
            if {"output", "stream"} <= set(block["classes"]):
                at = block.parent.index(block)
                block.parent[at : at + 1] = fold(block)  # `replace_self` would make a box of the first tag


def link_pictures(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Make Sphinx link each picture to its file, where it can be enlarged: it does so for pictures with a scale."""
    for picture in doctree.findall(nodes.image):
        sized = {"scale", "width", "height"} & set(picture.attributes)
        if not sized and not picture["uri"].endswith(".svg"):  # whose size Sphinx could not read
            picture["scale"] = 100


# A formula in a line is a box to the browser, which breaks the line even between it and the full stop after it.
FORMULA = re.compile(r'(<span class="math notranslate nohighlight">\\\([^<]*\\\)</span>)([^\s<]+)')
CELL = re.compile(r"<td\b.*?</td>", re.DOTALL)
NAME = re.compile(r'(?<=<span class="pre">)[^<]+(?=</span></code>)')


def break_lines(app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any) -> None:
    """Keep punctuation with the formula before it; let names in the cells of a table break after `_`, `.` and `(`."""
    if "body" not in context:
        return
    body = FORMULA.sub(r'<span class="dgm-together">\1\2</span>', context["body"])

    def breakable(cell: re.Match[str]) -> str:
        return NAME.sub(lambda name: re.sub(r"([_.(])(?=\w)", r"\1<wbr>", name[0]), cell[0])

    context["body"] = CELL.sub(breakable, body)


def repair_roles(app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any) -> None:
    """Docutils calls a bibliography a list, and none of its entries an item: a screen reader announces it as empty."""
    if "body" in context:
        context["body"] = re.sub(r'<div role="list" (class="citation-list")', r"<div \1", context["body"])


# The search remembers its words in the browser, and fails in silence where a reader has forbidden that.
STORAGE = """<script>
try { window.localStorage.length; } catch (error) {
  const kept = new Map();
  const storage = {
    getItem: key => kept.has(key) ? kept.get(key) : null,
    setItem: (key, value) => { kept.set(key, String(value)); },
    removeItem: key => { kept.delete(key); },
  };
  for (const name of ["localStorage", "sessionStorage"])
    Object.defineProperty(window, name, {value: storage, configurable: true});
}
</script>"""


def work_without_storage(app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any) -> None:
    """Give the scripts of the page a storage that lasts as long as the page, where the browser refuses its own."""
    context["metatags"] = context.get("metatags", "") + "\n" + STORAGE


def setup(app: Sphinx) -> dict[str, bool]:
    """Do all of it when a page is about to be written."""
    app.connect("html-page-context", work_without_storage)
    app.connect("html-page-context", repair_roles)
    app.connect("html-page-context", break_lines)
    app.connect("doctree-resolved", fold_checks)
    app.connect("doctree-resolved", link_pictures)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
