"""Citations in plain words, "Ho et al. (2020)", and a list of references, from `book/references.bib`."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

from pybtex.database import Entry, parse_file
from pybtex.plugin import find_plugin
from pybtex.richtext import Text

from tools.repo import ROOT


def names(entry: Entry) -> str:
    """The authors as a citation names them: `Ho`, `Fischer and Igel`, `Ho et al.`."""
    people = entry.persons.get("author") or entry.persons["editor"]
    last = [str(Text.from_latex(" ".join(person.prelast_names + person.last_names))) for person in people]
    return {1: last[0], 2: " and ".join(last)}.get(len(last), f"{last[0]} et al.")


class Citations:
    """The citations of one lecture, which remembers what was cited.

    Args:
        keys: all that this lecture cites; two works of the same people and year become 2020a and 2020b.
    """

    def __init__(self, keys: list[str], bibliography: Path = ROOT / "book" / "references.bib"):
        entries = parse_file(bibliography).entries
        if unknown := [key for key in keys if key not in entries]:
            raise ValueError(f"{bibliography.name} has no entry {', '.join(unknown)}")
        self.entries = {key: entries[key] for key in sorted(set(keys), key=lambda key: self._order(entries[key]))}
        alike = defaultdict(list)
        for key, entry in self.entries.items():
            alike[names(entry), entry.fields["year"]].append(key)
        self.years = {
            key: year + ("abcdefgh"[i] if len(group) > 1 else "")
            for (_, year), group in alike.items()
            for i, key in enumerate(group)
        }

    @staticmethod
    def _order(entry: Entry) -> tuple[str, str, str]:
        return names(entry).casefold(), entry.fields["year"], entry.fields["title"]

    def textual(self, keys: list[str]) -> str:
        """`Ho et al. (2020), Song (2021)`, as part of a sentence."""
        return ", ".join(f"{names(self.entries[key])} ({self.years[key]})" for key in keys)

    def parenthetical(self, keys: list[str]) -> str:
        """`(Ho et al., 2020; Song, 2021)`."""
        return "(" + "; ".join(f"{names(self.entries[key])}, {self.years[key]}" for key in keys) + ")"

    def references(self) -> str:
        """The list of all works that were cited, in Markdown."""
        style, backend = find_plugin("pybtex.style.formatting", "unsrt")(), find_plugin("pybtex.backends", "markdown")()
        lines = []
        for key, formatted in zip(self.entries, style.format_entries(self.entries.values()), strict=True):
            short = f"{names(self.entries[key])} ({self.years[key]})"
            words = " ".join(formatted.text.render(backend).split())
            lines.append(f"- **{short}**: " + re.sub(r"\\([.()-])", r"\1", words))  # these need no backslash
        return "\n".join(lines)
