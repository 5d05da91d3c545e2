"""Every page of the built book, in a real browser, light and dark, wide and on a phone."""

from tools.browser import PHONE
from tools.verify.faults import (
    MAX_PAGE_BYTES,
    accessibility,
    alternative_texts,
    cut_formulas,
    dead_links,
    difference,
    distorted,
    equations,
    filters,
    out_of_cells,
    pixels,
    raw_source,
    sideways,
    thin,
    weight,
)

ALLOWED_DIFFERENCE = 0.5  # of 255, on average: what rounding to whole grey values makes, at the edges of a drawing


def test_a_page_loads_without_a_failure(reader, name):
    reader.open(name, fresh=True)
    assert reader.failures == []


def test_no_source_is_shown_as_it_was_typed(reader, name):
    assert raw_source(reader.open(name)) == []


def test_equations_are_typeset(reader, name):
    page = reader.open(name)
    assert equations(page) == []
    assert out_of_cells(page) == []


def test_pictures_have_words(reader, name):
    assert alternative_texts(reader.open(name)) == []


def test_nothing_scrolls_sideways_on_a_phone(reader, name):
    page = reader.open(name, width=PHONE)
    page.evaluate("document.querySelectorAll('main details').forEach(e => e.open = true)")
    assert sideways(page) == []
    assert cut_formulas(page) == []
    assert out_of_cells(page) == []
    assert distorted(page) == []


def test_digits_stay_true_in_the_dark(reader, name):
    """The first pictures look the same light and dark, and no picture is filtered."""
    light = [pixels(picture) for picture in pictures(reader.open(name))]
    page = reader.open(name, dark=True)
    assert filters(page) == []
    dark = [pixels(picture) for picture in pictures(page)]
    assert max((difference(*pair) for pair in zip(light, dark, strict=True)), default=0) < ALLOWED_DIFFERENCE


def pictures(page):
    return [picture for picture in page.locator("main article img").all()[:3] if picture.is_visible()]


def test_accessibility(reader, name):
    thin(reader.open(name))
    reader.spoil()
    found = {}
    for mode in ("light", "dark"):
        reader.page.emulate_media(color_scheme=mode)
        reader.settle()
        found[mode] = accessibility(reader.page)
    assert found == {"light": [], "dark": []}


def test_weight(folder, name):
    assert weight(folder / name) <= MAX_PAGE_BYTES


def test_links_lead_somewhere(folder):
    assert dead_links(folder) == []
