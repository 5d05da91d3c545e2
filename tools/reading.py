"""What a page asks of its reader, measured on the built page: words, open code, minutes.

Counted is what stands open in the track *read and code* with every fold shut.  Words are those of paragraphs and lists
without formulas, captions, tables, exercises, folds and *Further*; code is non-blank lines, those of exercises too.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from pathlib import Path

from bs4 import BeautifulSoup, Tag

WORDS_A_MINUTE, SECONDS_AN_EQUATION_LINE, SECONDS_A_CODE_LINE, SECONDS_A_PICTURE = 200, 15, 2, 20
# What a lecture may have, and what one that derives more than others may (words only).
BUDGET = {"words": 3_200, "code_lines": 350, "code_cells": 28, "check_lines": 0}
MORE_WORDS = {"diffusion_derivation": 4_200}
FOLDED = "details, .toggle-hidden, .dropdown"
NO_PROSE = "figure, table, pre, .math, mjx-container, .exercise, .solution, .dgm-ran, .dgm-opening, .headerlink"
PLACE = re.compile(r'(<span class="dgm-measured" data-lecture="([\w-]+)" data-what="(\w+)">)[^<]*(</span>)')


@dataclass(frozen=True)
class Measure:
    """Counts of one page; `equation_lines` are the lines of displayed formulas."""

    words: int
    code_lines: int
    code_cells: int
    check_lines: int
    equation_lines: int
    pictures: int

    @property
    def minutes(self) -> int:
        """To read it, in steps of five."""
        seconds = 60 * self.words / WORDS_A_MINUTE + SECONDS_A_CODE_LINE * self.code_lines
        seconds += SECONDS_AN_EQUATION_LINE * self.equation_lines + SECONDS_A_PICTURE * self.pictures
        return max(5, 5 * round(seconds / 300))


def code_lines(cell: Tag) -> int:
    """Non-blank lines of code of a cell."""
    return sum(bool(line.strip()) for pre in cell.select(".cell_input pre") for line in pre.get_text().splitlines())


def measure(page: str) -> Measure:
    """The counts of a page from its HTML."""
    article = BeautifulSoup(page, "html.parser").select_one("article.bd-article")
    for part in article.select(FOLDED):
        part.decompose()
    further = next((title for title in article.select("h2") if title.get_text().startswith("Further")), None)
    if further:
        further.parent.decompose()
    code = [cell for cell in article.select("div.cell") if code_lines(cell)]
    checks = [cell for cell in code if "tag_check" in cell["class"]]
    equations = [part.get_text() for part in article.select("div.math")]
    pictures = len(article.select("figure, .dgm-opening"))
    lines, lines_of_checks = sum(map(code_lines, code)), sum(map(code_lines, checks))
    for part in article.select(NO_PROSE):
        part.decompose()
    prose = [text for text in article.find_all(string=True) if text.find_parent(["p", "li"])]
    words = len(" ".join(prose).split())
    return Measure(
        words=words,
        code_lines=lines,
        code_cells=len(code),
        check_lines=lines_of_checks,
        equation_lines=sum(1 + text.count(r"\\") for text in equations),
        pictures=pictures,
    )


def measures(folder: Path, names: list[str]) -> dict[str, Measure]:
    """The counts of each lecture of a built book."""
    return {
        name: measure((folder / "notebooks" / f"{name}.html").read_text(encoding="utf-8"))
        for name in names
        if (folder / "notebooks" / f"{name}.html").is_file()
    }


def over_budget(name: str, found: Measure) -> list[str]:
    """What a lecture has too much of, in words."""
    budget = BUDGET | ({"words": MORE_WORDS[name]} if name in MORE_WORDS else {})
    have = asdict(found)
    return [
        f"{name}: {have[what]} {what}, at most {most} expected" for what, most in budget.items() if have[what] > most
    ]


def place(lecture: str, what: str) -> str:
    """Where on a page a count will stand; `fill_in` writes it when all pages are there."""
    return f'<span class="dgm-measured" data-lecture="{lecture}" data-what="{what}"></span>'


def duration(minutes: int) -> str:
    """`45 min`, `1 h 10 min`."""
    hours, rest = divmod(minutes, 60)
    return f"{minutes}\u00a0min" if not hours else f"{hours}\u00a0h" + (f" {rest}\u00a0min" if rest else "")


def fill_in(folder: Path, found: dict[str, Measure]) -> None:
    """Write the counts into every page that has a place for them; a second time changes nothing."""

    def written(match: re.Match[str]) -> str:
        measured = found.get(match[2])
        if not measured:
            return match[0]
        text = duration(measured.minutes) if match[3] == "minutes" else f"{getattr(measured, match[3]):,}"
        return match[1] + text + match[4]

    for path in folder.rglob("*.html"):
        if "_static" in path.relative_to(folder).parts:
            continue
        old = path.read_text(encoding="utf-8")
        if (new := PLACE.sub(written, old)) != old:
            path.write_text(new, encoding="utf-8")
