"""The bibliography: each entry complete, with a link, cited somewhere, and there once."""

import re

import pytest
from pybtex.database import BibliographyData, parse_file, parse_string

from tools.repo import ROOT

VENUES = ("journal", "booktitle", "publisher", "institution", "howpublished", "eprint")
LINKS = {"doi": r"10\.\d{4,}/\S+", "eprint": r"\d{4}\.\d{4,5}", "url": r"https?://\S+"}


def faults(bibliography: BibliographyData, cited: set[str]) -> list[str]:
    """What is wrong with the entries, in words."""
    found, titles = [], {}
    for key, entry in bibliography.entries.items():
        fields = entry.fields
        if not (entry.persons.get("author") and fields.get("title") and re.fullmatch(r"\d{4}", fields.get("year", ""))):
            found.append(f"{key}: expected authors, a title and a year")
        if not any(name in fields for name in VENUES):
            found.append(f"{key}: expected a venue, one of {', '.join(VENUES)}")
        if not any(re.fullmatch(pattern, fields.get(name, "")) for name, pattern in LINKS.items()):
            found.append(f"{key}: expected a link, as doi, eprint or url")
        if key not in cited:
            found.append(f"{key}: cited nowhere")
        title = re.sub(r"\W", "", fields.get("title", "")).casefold()
        if title in titles:
            found.append(f"{key}: the same title as {titles[title]}")
        titles[title] = key
    return found + [f"{key}: cited, and not in the bibliography" for key in sorted(cited - set(bibliography.entries))]


def cited_keys() -> set[str]:
    """All keys in the lectures and the pages."""
    sources = [*(ROOT / "notebooks").glob("*.py"), *(ROOT / "book").glob("*.md")]
    roles = (re.findall(r"\{cite(?::\w+)?\}`([^`]+)`", path.read_text(encoding="utf-8")) for path in sources)
    return {key.strip() for found in roles for keys in found for key in keys.split(",")}


def test_references_are_complete_linked_and_cited():
    assert not faults(parse_file(ROOT / "book" / "references.bib"), cited_keys())


GOOD = "@misc{a, author = {Ho, J.}, title = {On noise}, year = {2020}, eprint = {2006.11239}}"


@pytest.mark.parametrize(
    ("text", "cited", "fault"),
    [
        (GOOD, set(), "a: cited nowhere"),
        (GOOD, {"a", "b"}, "b: cited, and not in"),
        (GOOD.replace("author = {Ho, J.}, ", ""), {"a"}, "a: expected authors"),
        (GOOD.replace("{2020}", "{in press}"), {"a"}, "a: expected authors"),
        (GOOD.replace("eprint = {2006.11239}", "journal = {Nature}"), {"a"}, "a: expected a link"),
        (GOOD.replace("eprint = {2006.11239}", "url = {https://a.org/b}"), {"a"}, "a: expected a venue"),
        (GOOD + GOOD.replace("{a,", "{b,").replace("On noise", "{On} Noise"), {"a", "b"}, "b: the same title as a"),
    ],
)
def test_a_faulty_reference_is_named(text, cited, fault):
    assert [found for found in faults(parse_string(text, "bibtex"), cited) if found.startswith(fault)]
    assert not faults(parse_string(GOOD, "bibtex"), {"a"})
