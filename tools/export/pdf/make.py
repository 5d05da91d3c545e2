"""Print the built book: `python -m tools.export.pdf.make` writes `_build/pdf/book.pdf` from the pages of `make book`.

Chromium prints each page as it shows it, so that equations, code and tables are those of the pages, and no TeX is
needed.  The parts are joined with one table of contents, one count of pages, bookmarks, and links that work inside.
"""

from __future__ import annotations

import io
import re
import sys
from dataclasses import dataclass
from html import escape
from pathlib import Path
from urllib.parse import urldefrag

import yaml
from playwright.sync_api import Browser
from pypdf import PdfReader, PdfWriter
from pypdf.generic import ArrayObject, Fit, NameObject

from dgm.runtime import profile_name

from tools.browser import browser, serve
from tools.export.labels import pages
from tools.repo import ROOT

PAPER = {"format": "A4", "print_background": True, "prefer_css_page_size": True}
INSIDE = "http://inside.invalid/"  # marks links to other parts until these are joined
STYLE = (Path(__file__).parent / "pdf.css").read_text(encoding="utf-8")
PREPARE = (Path(__file__).parent / "pdf.js").read_text(encoding="utf-8")


@dataclass
class Part:
    """One page of the book, printed.

    Attributes:
        page: its name, such as `notebooks/rbm`.
        title: its heading.
        content: the printed sheets.
        first: the number of its first sheet in the joined book, from 0.
    """

    page: str
    title: str
    content: PdfReader
    first: int = 0


def printed(program: Browser, address: str, page: str) -> Part:
    """One page of the book as sheets of paper: films on their last picture, solutions open, nothing to click."""
    tab = program.new_page(viewport={"width": 900, "height": 1200}, color_scheme="light")
    tab.goto(f"{address}{page}.html")
    tab.evaluate("async () => { await window.MathJax?.startup?.promise; }")
    tab.add_style_tag(content=STYLE)
    title = tab.evaluate(PREPARE, {"page": page, "inside": INSIDE, "address": address})
    content = PdfReader(io.BytesIO(tab.pdf(**PAPER)))
    tab.close()
    return Part(page, title, content)


def from_html(program: Browser, html: str) -> PdfReader:
    """Sheets made of a text of our own."""
    tab = program.new_page()
    tab.set_content(f"<style>{STYLE}</style>{html}")
    content = PdfReader(io.BytesIO(tab.pdf(**PAPER)))
    tab.close()
    return content


def contents(parts: list[Part], captions: dict[str, str], title: str, author: str, note: str) -> str:
    """Title and table of contents, as HTML."""
    rows = []
    for part in parts:
        if part.page in captions:
            rows.append(f"<h2>{escape(captions[part.page])}</h2>")
        link = f'<a href="{INSIDE}{part.page}">{escape(part.title)}</a>'
        rows.append(f"<p>{link}<span class='number'>{part.first + 1}</span></p>")
    return (
        f"<main class='contents'><h1>{escape(title)}</h1><p>{escape(author)}</p><p class='note'>{escape(note)}</p>"
        + "".join(rows)
        + "</main>"
    )


def numbers(count: int) -> str:
    """As many empty sheets as the book has, each with its number at the foot."""
    return "<style>@page { margin: 0; }</style>" + "".join(
        f"<div class='sheet'><span>{i + 1}</span></div>" for i in range(count)
    )


def captions_of_parts() -> dict[str, str]:
    """The caption of each part of the book, by the first page in it."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    return {part["chapters"][0]["file"]: part["caption"] for part in toc.get("parts", [])}


def join(parts: list[Part]) -> PdfWriter:
    """All parts one after the other, with bookmarks, and with links between them."""
    writer = PdfWriter()
    for part in parts:
        part.first = len(writer.pages)
        writer.append(part.content, import_outline=False)
        writer.add_outline_item(title=part.title, page_number=part.first, fit=Fit.fit())
    starts = {part.page: part.first for part in parts}
    names = writer.named_destinations
    for sheet in writer.pages:
        for annotation in sheet.get("/Annots") or []:
            link = annotation.get_object()
            action = link.get("/A", {})
            if not str(action.get("/URI", "")).startswith(INSIDE):
                continue
            page, anchor = urldefrag(str(action["/URI"]).removeprefix(INSIDE))
            known = names.get(f"{page}--{anchor}") or names.get(f"/{page}--{anchor}")
            place = [known.dest_array[0], *known.dest_array[1:]] if known else None
            if place is None and page in starts:
                place = [writer.pages[starts[page]].indirect_reference, NameObject("/Fit")]
            del link["/A"]
            if place:
                link[NameObject("/Dest")] = ArrayObject(place)
    return writer


def problems(writer: PdfWriter) -> list[str]:
    """Links that lead to a file or a server of this machine: paper has neither."""
    found = []
    for number, sheet in enumerate(writer.pages, 1):
        for annotation in sheet.get("/Annots") or []:
            address = str(annotation.get_object().get("/A", {}).get("/URI", ""))
            if re.match(r"file:|https?://(127\.|localhost|inside\.invalid)", address):
                found.append(f"sheet {number}: a link to {address}")
    return found


def build(folder: Path, profile: str) -> PdfWriter:
    """The whole book as one document."""
    settings = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    note = "" if profile == "quick" else f"Built in the profile {profile}."
    with serve(folder) as address, browser() as program:
        parts = []
        for page in pages():
            print(f"  {page}", flush=True)
            parts.append(printed(program, address, page))
        words = [settings["title"], settings["author"], note]
        front = Part("contents", "Contents", from_html(program, contents(parts, captions_of_parts(), *words)))
        count = len(front.content.pages)
        for part in parts:
            part.first, count = count, count + len(part.content.pages)
        front.content = from_html(program, contents(parts, captions_of_parts(), *words))  # now it knows the numbers
        writer = join([front, *parts])
        feet = from_html(program, numbers(len(writer.pages)))
    for sheet, foot in zip(writer.pages, feet.pages, strict=True):
        sheet.merge_page(foot)
        sheet.compress_content_streams()
    writer.add_metadata({"/Title": settings["title"], "/Author": settings["author"]})
    return writer


def main() -> int:
    """Print, join, check; return the exit status."""
    profile = profile_name()
    folder = ROOT / "_build" / profile / "html"
    if missing := [page for page in pages() if not (folder / f"{page}.html").is_file()]:
        raise SystemExit(f"the book is not built in the profile {profile}: no page {missing[0]}.  Run `make book`.")
    writer = build(folder, profile)
    if found := problems(writer):
        raise SystemExit("\n".join(found[:5]))
    target = ROOT / "_build" / "pdf" / "book.pdf"
    target.parent.mkdir(parents=True, exist_ok=True)
    writer.compress_identical_objects()
    with target.open("wb") as file:
        writer.write(file)
    print(f"{len(writer.pages)} sheets, {target.stat().st_size / 1e6:.0f} MB\n{target}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
