"""Sphinx extension: the first screen of a lecture: which track is read, how long it takes, and its best picture.

`{opening} fig-name` shows a picture or film of the lecture's own before the text: the one that its cell makes, in this
build, wherever below that stands.  The page embeds it once.
"""

from __future__ import annotations

import html
import os
import re
from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive
from sphinx.application import Sphinx

from tools.book.overview import duration, seconds_of
from tools.reading import place

TRACKS = (("read", "Read"), ("code", "Read and code"), ("all", "Everything open"))
# Before anything is painted: what was chosen on another page.  Where storage is forbidden the default stands.
CHOSEN = """<script>
try { document.documentElement.dataset.dgmTrack = localStorage.getItem("dgm-track") || "code"; } catch (error) { }
</script>"""
FILM = re.compile(r'class="dgm-film" id="([\w-]+)".*?<img alt="([^"]*)" src="([^"]+)"', re.DOTALL)


class OpeningSpot(nodes.General, nodes.Element):
    """Where the picture will stand."""


class Opening(Directive):
    """`{opening} fig-name`: the lecture's best picture, with a sentence or two under it."""

    required_arguments = 1
    has_content = True

    def run(self) -> list[nodes.Node]:
        """Leave a place; the picture is known when all is read."""
        spot = OpeningSpot(figure=self.arguments[0])
        self.state.nested_parse(self.content, self.content_offset, spot)
        return [spot]


def picture_of(figure: nodes.Element) -> nodes.Node:
    """What a figure shows, once more.

    Raises:
        ValueError: it holds neither a picture nor a film.
    """
    for image in figure.findall(nodes.image):
        return image.deepcopy()
    for raw in figure.findall(nodes.raw):
        if found := FILM.search(raw.astext()):
            name, alt, source = found.groups()
            still = f'<img alt="{alt}" src="{source}" style="width:100%;image-rendering:pixelated;display:block">'
            return nodes.raw("", f'<div class="dgm-again" data-film="{name}">{still}</div>', format="html")
    raise ValueError("expected a picture or a film")


def show_openings(app: Sphinx, document: nodes.document, docname: str) -> None:
    """Put the pictures in their places, each with its text and the way to where it is made."""
    numbers = app.env.toc_fignumbers.get(docname, {}).get("figure", {})
    for spot in list(document.findall(OpeningSpot)):
        name = spot["figure"]
        figure = next((node for node in document.findall(nodes.Element) if name in node.get("ids", [])), None)
        if figure is None or name not in numbers:
            raise ValueError(f"{docname}: {{opening}} expects the name of a figure of this page, got {name!r}")
        number = ".".join(map(str, numbers[name]))
        text = nodes.container("", *spot.children, classes=["dgm-opening-text"])
        way = nodes.reference("", f"Fig. {number}", refuri=f"#{name}", internal=True)
        text.children[-1].extend([nodes.Text(" (made below: "), way, nodes.Text(")")])
        spot.replace_self(nodes.container("", picture_of(figure), text, classes=["dgm-opening"]))


def buttons() -> str:
    """The switch between the tracks; scripts take away its `hidden`."""
    made = "".join(
        f'<button type="button" value="{value}" aria-pressed="{str(value == "code").lower()}">{words}</button>'
        for value, words in TRACKS
    )
    return f'<div class="dgm-tracks" role="group" aria-label="How much of the page is shown" hidden>{made}</div>'


def head_of(app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any) -> None:
    """Under the heading of a lecture: the switch, the time to read, and how long it ran when the page was built."""
    lecture = pagename.removeprefix("notebooks/")
    if lecture == pagename or "body" not in context:
        return
    context["metatags"] = context.get("metatags", "") + "\n" + CHOSEN
    words = f"About {place(lecture, 'minutes')} to read. "
    if report := seconds_of(lecture, os.environ.get("DGM_PROFILE", "quick")):
        where = f"{report['device']}, profile {report['profile']}"
        words += html.escape(f"Ran in {duration(report['seconds'])} when this page was built: {where}.")
    head = f'</h1>\n{buttons()}\n<p class="dgm-ran">{words}</p>'
    context["body"] = context["body"].replace("</h1>", head, 1)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive and the hooks."""
    app.add_node(OpeningSpot)
    app.add_directive("opening", Opening)
    app.connect("doctree-resolved", show_openings)
    app.connect("html-page-context", head_of)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
