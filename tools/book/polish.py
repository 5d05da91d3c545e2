"""Sphinx extension: drawings take the page's colours, lines break where they should, faults of the theme are mended."""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx


def link_pictures(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Make Sphinx link each picture to its file, where it can be enlarged: it does so for pictures with a scale."""
    for picture in doctree.findall(nodes.image):
        sized = {"scale", "width", "height"} & set(picture.attributes)
        if not sized and not picture["uri"].endswith(".svg"):  # whose size Sphinx could not read
            picture["scale"] = 100


def inline_drawings(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Put the drawings of `figures/` into the page itself, where they take the colours of the theme, light or dark."""
    for picture in list(doctree.findall(nodes.image)):
        path = Path(app.srcdir) / picture["uri"]
        if path.parent.name != "figures" or path.suffix != ".svg" or "dgm-paper" not in (drawing := read(path)):
            continue
        label = html.escape(picture.get("alt", ""), quote=True)
        # Two drawings on a page must not share the tip of their arrows.
        drawing = re.sub(r'(id="|url\(#)tip', rf"\1{path.stem}-tip", drawing)
        drawing = drawing.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)
        width = picture.get("width", "100%")
        box = f'<div class="dgm-drawing" style="max-width:{width}">{drawing}</div>'
        picture.replace_self(nodes.raw("", box, format="html"))


def read(path: Path) -> str:
    """The text of a file; empty where there is none."""
    return path.read_text(encoding="utf-8") if path.is_file() else ""


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


PRINTED = re.compile(
    r'(<div class="output )([^"]*"><div class="highlight"><pre>(?:<span></span>)?)([^<]*)(</pre></div>\s*</div>)'
)
BOOKKEEPING = re.compile(
    r"recorded \w+ = .*|.*: [\d,]+ steps?(?:, [\d,]+ of them before)?, [\d,]+ s|\w+: \d+ numbers recorded.*"
)


def mark_bookkeeping(app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any) -> None:
    """Mark what the run says of itself, numbers recorded and seconds of a training: the track *Read* leaves it out."""

    def marked(output: re.Match[str]) -> str:
        lines = output[3].splitlines()
        own = [bool(BOOKKEEPING.fullmatch(line)) for line in lines]
        if all(own):
            return f"{output[1]}dgm-bookkeeping {output[2]}{output[3]}{output[4]}"
        pairs = zip(lines, own, strict=True)
        text = "".join(f'<span class="dgm-bookkeeping">{line}\n</span>' if its else f"{line}\n" for line, its in pairs)
        return output[1] + output[2] + text + output[4]

    if "body" in context:
        context["body"] = PRINTED.sub(marked, context["body"])


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
    app.connect("html-page-context", mark_bookkeeping)
    app.connect("doctree-resolved", inline_drawings)
    app.connect("doctree-resolved", link_pictures)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
