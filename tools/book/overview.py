"""Sphinx extension: what the book says about itself, made from its own files.

Directives: `{family}`, the tree of models as a picture whose boxes are links; `{lectures}`, what each is for and how
long it takes; `{times}`, where and how long each ran; `{symbols}`, which lecture uses a symbol.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.nodes import nested_parse_with_titles

from tools.book.family_tree import family_svg, overview
from tools.book.results import results_files
from tools.reading import place
from tools.repo import ROOT, lectures, title


def seconds_of(lecture: str, profile: str) -> dict[str, Any]:
    """The results file of a lecture; empty where it has not run."""
    (path,) = [path for path in results_files(profile) if path.stem == lecture]
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def duration(seconds: float | None) -> str:
    """A time in words, as exact as one needs it."""
    if seconds is None:
        return ""
    # A space that does not break: narrow columns keep the number and its unit together.
    return f"{seconds:.0f}\u00a0s" if seconds < 100 else f"{seconds / 60:.0f}\u00a0min"


def lectures_markdown(profile: str) -> list[str]:
    """A table of all lectures: what each is for, how long it takes to read and to run."""
    content, lines = overview(), ["| lecture | what for | to read | ran in |", "|:--|:--|:--|--:|"]
    for name in lectures():
        ran = duration(seconds_of(name, profile).get("seconds"))
        link = f"[{title(name)}](/notebooks/{name}.ipynb)"
        lines.append(f"| {link} | {content['lectures'][name]['for']} | {place(name, 'minutes')} | {ran} |")
    return lines


def times_markdown(profile: str) -> list[str]:
    """A table of what lectures ask for: of the reader, of this build's machine, of the recorded runs of `full`."""
    here = {name: seconds_of(name, profile) for name in lectures()}
    machines = ", ".join(sorted({report["device"] for report in here.values() if report})) or "nothing has run yet"
    lines = [
        f"This build: {machines}.",
        "",
        f"| lecture | to read | words | lines of code | {profile} | full | full on |",
    ]
    lines.append("|:--|--:|--:|--:|--:|--:|:--|")
    for name, report in here.items():
        full = seconds_of(name, "full")
        more = "more than " * full.get("resumed", False)  # the seconds are those after the interruption
        there = more + duration(full.get("seconds"))
        asked = [place(name, what) for what in ("minutes", "words", "code_lines")]
        cells = (*asked, duration(report.get("seconds")), there, full.get("device", "not recorded"))
        lines.append(f"| [{title(name)}](/notebooks/{name}.ipynb) | " + " | ".join(cells) + " |")
    total = sum(report.get("seconds", 0) for report in here.values())
    return [*lines, f"| all, one after the other | | | | {duration(total)} | | |"]


def symbols_markdown() -> list[str]:
    """A row for each symbol of the lectures' tables, with the lectures that use it."""
    rows: dict[str, list[str]] = {}
    for name in lectures():
        text = (ROOT / "notebooks" / f"{name}.py").read_text(encoding="utf-8")
        table = re.search(r"^\| symbol \|.*\n\|[-:| ]+\|\n((?:\|.*\n)+)", text, re.MULTILINE)
        if not table:
            raise ValueError(f"{name}: expected a table that begins with '| symbol |', found none")
        for line in table[1].splitlines():
            # A bar inside of a formula is no border of a cell.
            symbol, *_, meaning = (cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip().strip("|")))
            link = f"[{overview()['lectures'][name]['short']}](/notebooks/{name}.ipynb)"
            rows.setdefault(symbol, []).append(f"{link}: {meaning}")
    lines = ["| symbol | where, and what it means there |", "|:--|:--|"]
    return lines + [f"| {symbol} | {'<br>'.join(where)} |" for symbol, where in sorted(rows.items(), key=_letters)]


def _letters(row: tuple[str, Any]) -> tuple[str, str]:
    """Sort key of a symbol: its first letter, Greek ones by name, capitals beside small ones."""
    plain = re.sub(r"\\(?:hat|tilde|bar|mathcal|mathrm|text|log|nabla|langle|lVert|mathbb)\b", "", row[0])
    letters = "".join(re.findall(r"[A-Za-z]+", plain)) or "~"
    return letters.lower(), row[0]


class Family(Directive):
    """`{family}`: the tree of models."""

    def run(self) -> list[nodes.Node]:
        """A picture for HTML, whose links start at the page that shows it; nothing for other formats."""
        docname = self.state.document.settings.env.docname
        address = "../" * docname.count("/") + "notebooks/{}.html"
        return [nodes.raw("", family_svg(overview(), address), format="html")]


class _Table(Directive):
    """A table in Markdown that is written when the page is read; `lines` makes it from the profile."""

    lines: Callable[[str], list[str]]

    def run(self) -> list[nodes.Node]:
        """Parse it, and let the page be written anew after the lectures have run."""
        profile = os.environ.get("DGM_PROFILE", "quick")
        for path in results_files(profile):
            self.state.document.settings.env.note_dependency(str(path))
        container = nodes.container(classes=["dgm-overview"])
        nested_parse_with_titles(self.state, StringList(self.lines(profile), source="overview"), container)
        return [container]


class Lectures(_Table):
    """`{lectures}`: what each is for."""

    lines = staticmethod(lectures_markdown)


class Times(_Table):
    """`{times}`: how long each ran."""

    lines = staticmethod(times_markdown)


class Symbols(_Table):
    """`{symbols}`: which lecture uses which."""

    lines = staticmethod(lambda profile: symbols_markdown())


def setup(app: Sphinx) -> dict[str, bool]:
    """Register directives and hook."""
    for name, directive in (("family", Family), ("lectures", Lectures), ("times", Times), ("symbols", Symbols)):
        app.add_directive(name, directive)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
