"""Checks of the built pages: what a reader would stumble over, and what must never be published.

python -m tools.book.pages FOLDER              the pages are whole
python -m tools.book.pages FOLDER --publish    and fit to be published: a quick build on MNIST
"""

from __future__ import annotations

import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urlparse

from tools.repo import ROOT, lectures

# What a browser fetches by itself; `a` and `form` ask only when a reader does.
FETCHED = {
    "script": "src",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "video": "src",
    "audio": "src",
    "embed": "src",
}
PICTURES = {"img", "svg", "canvas", "video", "object"}
FETCHED_LINKS = {"stylesheet", "preload", "prefetch", "modulepreload", "icon", "shortcut", "preconnect", "dns-prefetch"}
IN_STYLE = re.compile(r"""(?:url\(|@import)\s*["']?((?:https?:)?//[^"')\s]+)""")
IN_SCRIPT = re.compile(r"""(?:fetch|import|importScripts|Worker)\(\s*["'`]((?:https?:)?//[^"'`]+)""")


class Page(HTMLParser):
    """What a page shows and fetches."""

    def __init__(self) -> None:
        super().__init__()
        self.images: list[dict[str, str | None]] = []
        self.fetched: list[str] = []
        self.meta: dict[str, str | None] = {}
        self.figures: set[str | None] = set()
        self.figures_without_caption = self.figures_without_picture = 0
        self.redirects = False
        self._inside: str = ""
        self._in_figure = self._has_caption = self._has_picture = False

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        """Collect images, figures, labels and everything that is fetched."""
        values = dict(attributes)
        self._inside = tag
        if tag == "img":
            self.images.append(values)
        if tag in PICTURES and self._in_figure:
            self._has_picture = True
        self.redirects |= tag == "meta" and (values.get("http-equiv") or "").lower() == "refresh"
        if tag == "meta" and values.get("name"):
            self.meta[values["name"]] = values.get("content")
        if tag == "figure":
            self._in_figure, self._has_caption, self._has_picture = True, False, False
            self.figures.add(values.get("id"))
        if tag == "figcaption":
            self._has_caption = True
        if tag in FETCHED and values.get(FETCHED[tag]):
            self.fetched.append(values[FETCHED[tag]])
        if tag == "link" and FETCHED_LINKS & set((values.get("rel") or "").split()):
            self.fetched.append(values.get("href") or "")
        if values.get("style"):
            self.fetched += IN_STYLE.findall(values["style"])

    def handle_endtag(self, tag: str) -> None:
        """A figure ends: it must have had a caption."""
        self._inside = ""
        if tag == "figure" and self._in_figure:
            self.figures_without_caption += not self._has_caption
            self.figures_without_picture += not self._has_picture
            self._in_figure = False

    def handle_data(self, data: str) -> None:
        """Addresses inside style sheets and scripts."""
        if self._inside == "style":
            self.fetched += IN_STYLE.findall(data)
        if self._inside == "script":
            self.fetched += IN_SCRIPT.findall(data)


def read(path: Path) -> Page:
    """Parse one page."""
    page = Page()
    page.feed(path.read_text(encoding="utf-8"))
    return page


def foreign(addresses: list[str]) -> list[str]:
    """Those that name a host."""
    return [address for address in addresses if urlparse(address).netloc]


def problems_of_page(path: Path, profile: str) -> list[str]:
    """What is wrong with one page, in words."""
    page, found = read(path), []
    found += [f"asks another host: {address}" for address in foreign(page.fetched)]
    for image in page.images:
        alt, source = (image.get("alt") or "").strip(), image.get("src") or ""
        # Without a text of its own an image gets its address, a hash, as alternative text.
        if not alt or alt == source or re.search(r"_images/|\.(png|svg|jpe?g)$", alt):
            found.append(f"an image without alternative text: {source[:80]}")
    if page.figures_without_caption:
        found.append(f"{page.figures_without_caption} figure(s) without a caption")
    if page.figures_without_picture:
        found.append(f"{page.figures_without_picture} figure(s) without a picture")
    if page.meta.get("dgm-profile") != profile and not page.redirects:
        found.append(f"built in the profile {page.meta.get('dgm-profile')}, expected {profile}")
    return [f"{path.name}: {problem}" for problem in found]


def captioned(notebook: Path) -> set[str]:
    """Names of the figures that the cells of a lecture draw."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"] if notebook.is_file() else []
    figures = [cell["metadata"].get("mystnb", {}).get("figure", {}) for cell in cells]
    return {figure["name"] for figure in figures if figure.get("name")}


def problems(folder: Path, names: list[str], profile: str, root: Path = ROOT) -> list[str]:
    """What is wrong with a built book: of every page, of style sheets, and of lectures that are missing."""
    found = []
    for name in names:
        if not (folder / "notebooks" / f"{name}.html").is_file():
            found.append(f"the lecture {name} has no page")
            continue
        there = read(folder / "notebooks" / f"{name}.html").figures
        for missing in sorted(captioned(root / "notebooks" / f"{name}.ipynb") - there):
            found.append(f"{name}.html: the figure {missing} is missing: did its cell draw nothing?")
    skipped = {"genindex.html", "search.html"}
    for path in sorted(folder.rglob("*.html")):
        if path.name not in skipped and "_static" not in path.relative_to(folder).parts:
            found += problems_of_page(path, profile)
    for path in sorted((folder / "_static").rglob("*.css")):
        found += [
            f"{path.name}: asks another host: {address}"
            for address in IN_STYLE.findall(path.read_text(encoding="utf-8"))
        ]
    return found


def problems_for_publishing(folder: Path, names: list[str], root: Path = ROOT) -> list[str]:
    """As `problems`, and: only a quick build on MNIST with the seed 0 may be shown to readers.

    Nor a page with a warning that nobody has read, or a sentence with a number of an older version of the code.
    """
    found = problems(folder, names, "quick", root)
    for path in sorted(folder.rglob("*.html")):
        text = path.read_text(encoding="utf-8")
        if 'class="output stderr' in text:
            found.append(f"{path.name}: a cell printed to its standard error, such as a warning")
        if "dgm-stale" in text:
            found.append(f"{path.name}: a sentence has a number of an older version of the code, see `make stale`")
    for name in names:
        path = folder / "notebooks" / f"{name}.html"
        if not path.is_file():
            continue
        meta = read(path).meta
        if (dataset := meta.get("dgm-dataset")) != "MNIST":
            found.append(f"{path.name}: built on {dataset}, expected MNIST")
        if (seed := meta.get("dgm-seed")) != "0":
            found.append(f"{path.name}: built with the seed {seed}, expected 0")
    return found


if __name__ == "__main__":
    target = Path(sys.argv[1])
    found = (
        problems_for_publishing(target, lectures())
        if "--publish" in sys.argv
        else problems(target, lectures(), "quick")
    )
    print("\n".join(found) or f"{target}: nothing wrong")
    sys.exit(bool(found))
