"""How the printed pages of the book are joined.  That Chromium prints them as it shows them is seen, not tested."""

import pytest
from pypdf import PdfReader, PdfWriter
from pypdf.generic import ArrayObject, DictionaryObject, NameObject, NumberObject, TextStringObject

from tools.export.pdf import make as pdf


def link(action):
    rectangle = ArrayObject(map(NumberObject, (0, 0, 10, 10)))
    names = {NameObject("/Type"): NameObject("/Annot"), NameObject("/Subtype"): NameObject("/Link")}
    return DictionaryObject({**names, NameObject("/Rect"): rectangle, NameObject("/A"): action})


def address(text):
    uri = {NameObject("/S"): NameObject("/URI"), NameObject("/URI"): TextStringObject(text)}
    return DictionaryObject(uri)


def part(page, tmp_path, *, sheets=2, links=(), places=()):
    """A printed page: empty sheets, links on the first one, named places on the last one."""
    writer = PdfWriter()
    for _ in range(sheets):
        writer.add_blank_page(100, 100)
    writer.pages[0][NameObject("/Annots")] = ArrayObject(link(address(text)) for text in links)
    for name in places:
        writer.add_named_destination(name, sheets - 1)
    path = tmp_path / f"{page.replace('/', '-')}.pdf"
    writer.write(path)
    return pdf.Part(page, page.title(), PdfReader(path))


def joined(tmp_path, *parts):
    writer = pdf.join(list(parts))
    writer.write(tmp_path / "book.pdf")
    return PdfReader(tmp_path / "book.pdf")


def targets(book):
    """The sheet that each link leads to, or its address."""
    found = []
    for sheet in book.pages:
        for annotation in sheet.get("/Annots") or []:
            got = annotation.get_object()
            if "/Dest" in got:
                found.append(book.get_page_number(got["/Dest"][0].get_object()))
            else:
                found.append(str(got.get("/A", {}).get("/URI", "nowhere")))
    return found


def test_links_lead_to_the_sheet_of_another_part(tmp_path):
    links = [
        pdf.INSIDE + "b",
        pdf.INSIDE + "b#eq-x",
        pdf.INSIDE + "b#unknown",
        "https://example.org/",
        pdf.INSIDE + "gone",
    ]
    first = part("a", tmp_path, links=links)
    second = part("b", tmp_path, places=["b--eq-x"])
    assert targets(joined(tmp_path, first, second)) == [2, 3, 2, "https://example.org/", "nowhere"]


def test_each_part_has_a_bookmark(tmp_path):
    book = joined(tmp_path, part("a", tmp_path, sheets=3), part("b", tmp_path))
    assert [(mark.title, book.get_destination_page_number(mark)) for mark in book.outline] == [("A", 0), ("B", 3)]


def test_a_link_to_this_machine_is_found(tmp_path):
    writer = pdf.join([part("a", tmp_path, links=["http://127.0.0.1:8000/x.html"])])
    assert pdf.problems(writer) == ["sheet 1: a link to http://127.0.0.1:8000/x.html"]


def test_the_table_of_contents_has_numbers_and_captions():
    parts = [pdf.Part("a", "A & B", None, first=2), pdf.Part("b", "C", None, first=11)]
    html = pdf.contents(parts, {"b": "Later"}, "Title", "Author", "")
    assert "A &amp; B</a><span class='number'>3</span>" in html
    assert html.index("<h2>Later</h2>") > html.index("A &amp; B")
    assert "<span class='number'>12</span>" in html


def test_the_first_page_of_each_part_has_its_caption():
    assert pdf.captions_of_parts()["notebooks/boltzmann_machines"] == "Energy"


def test_without_a_book_there_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(pdf, "ROOT", tmp_path)
    monkeypatch.setenv("DGM_PROFILE", "smoke")
    with pytest.raises(SystemExit, match=r"the book is not built in the profile smoke: no page book/index\.  Run"):
        pdf.main()
