"""What the labels of the book stand for: the number of each equation, figure and exercise, as the pages show it.

Sphinx counts each kind through the whole book, in the order of `_toc.yml`.  `make test` compares these numbers with
those on the pages that it renders.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jupytext
import yaml
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from myst_parser.config.main import MdParserConfig
from myst_parser.parsers.mdit import create_md_parser
from nbformat.v4 import new_markdown_cell

from tools.repo import ROOT

OPTION = re.compile(r":([\w-]+):\s*(.*)")
SHOWN = {
    "equation": r'id="equation-([\w-]+)">\s*<span class="eqno">\((\d+)\)',
    "figure": r'<figure[^>]* id="([\w-]+)"(?:(?!</figure>).)*?<span class="caption-number">Fig\. (\d+)',
    "exercise": r'<div class="exercise[^>]* id="([\w-]+)">\s*<p class="admonition-title"><span class="caption-number">'
    r"Exercise (\d+)",
}


@dataclass(frozen=True)
class Target:
    """What a label names: the kind of thing, its number, the page it is on, and its title or caption."""

    kind: str
    number: int
    page: str
    title: str = ""

    @property
    def words(self) -> str:
        """As the book refers to it: `(12)`, `Fig. 12`, `Exercise 12`."""
        return {"equation": f"({self.number})", "figure": f"Fig. {self.number}"}.get(
            self.kind, f"Exercise {self.number}"
        )


@dataclass(frozen=True)
class Directive:
    """A fence such as `{figure} a.svg`: its name, argument, options and body."""

    name: str
    argument: str
    options: dict[str, str]
    body: str


@cache
def parser() -> MarkdownIt:
    """The Markdown parser of the book, with the extensions that `_config.yml` asks for."""
    extensions = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))["parse"]["myst_enable_extensions"]
    return create_md_parser(MdParserConfig(enable_extensions=set(extensions)), RendererHTML)


def directive(token: Token) -> Directive | None:
    """The directive that a fence holds; nothing for other tokens, and for code that is only shown."""
    found = re.match(r"\{([^}]+)\}\s*(.*)", token.info) if token.type in ("fence", "colon_fence") else None
    if not found:
        return None
    lines, options = token.content.splitlines(), {}
    while lines and (option := OPTION.fullmatch(lines[0])):
        options[option[1]] = option[2]
        lines.pop(0)
    return Directive(found[1], found[2].strip(), options, "\n".join(lines).strip("\n"))


def declared(text: str) -> Iterator[tuple[str, str | None, str]]:
    """Kind, label and title of everything with a number in a Markdown text, in order."""
    for token in parser().parse(text):
        if token.type == "math_block_label":
            yield "equation", token.info, ""
        if found := directive(token):
            if found.name in ("exercise", "exercise-start"):
                yield "exercise", found.options.get("label"), found.argument
            if found.name == "figure":
                yield "figure", found.options.get("name"), found.body
            yield from declared(found.body)


def figure_of(cell: Any) -> dict[str, str] | None:
    """Caption and name of the figure that a code cell draws, if it draws one."""
    figure = cell.metadata.get("mystnb", {}).get("figure", {})
    return figure if cell.cell_type == "code" and figure.get("caption") else None


@cache  # by content: a deck and an export need the labels of all lectures
def things(text: str, *, is_script: bool) -> tuple[tuple[str, str | None, str], ...]:
    """Kind, label and title of everything with a number in the text of a lecture, or of a page of prose."""
    cells = jupytext.reads(text, fmt="py:percent").cells if is_script else [new_markdown_cell(text)]
    found: list[tuple[str, str | None, str]] = []
    for cell in cells:
        if figure := figure_of(cell):
            found.append(("figure", figure.get("name"), figure["caption"]))
        elif cell.cell_type == "markdown":
            found += declared(cell.source)
    return tuple(found)


def pages(root: Path = ROOT) -> list[str]:
    """Every page of the book in the order of `_toc.yml`, the front page first."""

    def below(entry: Any) -> Iterator[str]:
        if isinstance(entry, list):
            for child in entry:
                yield from below(child)
        elif isinstance(entry, dict):
            if name := entry.get("file") or entry.get("root"):
                yield name
            for key in ("parts", "chapters", "sections"):
                yield from below(entry.get(key))

    return list(below(yaml.safe_load((root / "_toc.yml").read_text(encoding="utf-8"))))


def targets(root: Path = ROOT) -> dict[str, Target]:
    """Every label of the book with what it stands for.

    Raises:
        ValueError: a label that stands in two places.
    """
    found, counts = {}, Counter()
    for page in pages(root):
        script = (root / page).with_suffix(".py")
        path = script if script.is_file() else script.with_suffix(".md")
        for kind, label, title in things(path.read_text(encoding="utf-8"), is_script=path.suffix == ".py"):
            counts[kind] += 1
            if label in found:
                raise ValueError(f"the label {label} stands in {found[label].page} and in {page}")
            if label:
                found[label] = Target(kind, counts[kind], page, title)
    return found


def misnumbered(pages: Path, labels: dict[str, Target]) -> list[str]:
    """Labels that have another number on the built pages than here, in words; at most five of them."""
    shown = {
        label: f"{kind} {number}"
        for page in {target.page for target in labels.values()}
        for kind, pattern in SHOWN.items()
        for label, number in re.findall(pattern, (pages / f"{page}.html").read_text(encoding="utf-8"), re.DOTALL)
    }
    found = [
        f"{label}: {expected} expected, the page shows {shown.get(label, 'nothing')}"
        for label, target in labels.items()
        if shown.get(label) != (expected := f"{target.kind} {target.number}")
    ]
    return found[:5]
