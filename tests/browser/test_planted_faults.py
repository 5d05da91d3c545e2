"""Each check of the pages sees the fault that it is there for, and passes over what is right."""

import base64
import io

import pytest
from PIL import Image

from tools.browser import PHONE, page_names
from tools.verify import faults

CODE = '<pre><code>x = "$$ \\frac" + "{eq}`a` ::: ```{note}"</code></pre>'


def png(grey, size=(60, 60)):
    buffer = io.BytesIO()
    Image.new("L", size, grey).save(buffer, format="PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ('<img src="missing.png" alt="A digit.">', "status 404"),
        ('<img src="http://192.0.2.1/a.png" alt="A digit.">', "asks another host"),
        ("<script>nothing.at.all()</script>", "error of a script"),
        ("<script>console.error('broken')</script>", "console: broken"),
    ],
)
def test_a_failure_is_noted(show, body, words):
    assert any(words in failure for failure in show(body).failures)


def test_a_good_page_has_no_failure(show):
    assert show(f'<p>Good.</p><img src="{png(9)}" alt="A grey square.">').failures == []


@pytest.mark.parametrize(
    "fault",
    [
        "$$ x $$",
        "the energy \\frac{1}{2}",
        "see $E(v)$ there",
        "\\(x\\)",
        "by {eq}",
        "in {cite:t}",
        "::: and on",
        "```{note}",
        "a **bold word",
        "a [link](there)",
        "see ???",
        '<img src="data:," alt="The mean $\\mu$.">',
    ],
)
def test_raw_source_is_seen(show, fault):
    assert faults.raw_source(show(f"<p>{fault}</p>").page)


def test_code_and_prose_are_no_raw_source(show):
    text = '<p>It costs 5 $ a day; the set {a, b}; 2 ** 3; "[0, 1] (closed)".</p>'
    assert faults.raw_source(show(text + CODE).page) == []


@pytest.mark.parametrize(
    "fault",
    [
        '<span class="math">\\(x\\)</span>',
        '<span class="math"><mjx-container><mjx-merror title="Missing brace"></mjx-merror></mjx-container></span>',
        '<span class="math"><mjx-container><mjx-mtext style="color: red">\\foo</mjx-mtext></mjx-container></span>',
        "<p><mjx-container>x</mjx-container></p>",
    ],
)
def test_an_equation_that_is_not_typeset(show, fault):
    good = '<span class="math"><mjx-container>x</mjx-container></span>'
    assert faults.equations(show(good).page) == []
    assert faults.equations(show(good + fault).page)


@pytest.mark.parametrize(
    "fault",
    [
        '<p style="width:800px">wide</p>',
        '<div style="overflow:hidden"><p style="width:800px">cut</p></div>',
        '<p style="position:relative;left:-60px">to the left</p>',
    ],
)
def test_what_does_not_fit_on_a_phone(show, fault):
    head = '<meta name="viewport" content="width=device-width, initial-scale=1">'
    good = '<div style="overflow-x:auto"><p style="width:800px">in a scroll box</p></div>'
    assert faults.sideways(show(good, head=head, width=PHONE).page) == []
    assert faults.sideways(show(good + fault, head=head, width=PHONE).page)


@pytest.mark.parametrize("display", ["true", ""])
def test_a_formula_that_is_cut(show, display):
    formula = (
        "<main><p style='width:200px'><mjx-container {}><mjx-math style='display:inline-block;width:{}px'>x</mjx-math>"
    )
    shown = f"display={display} style='display:block'" if display else "style='display:inline-block'"
    assert faults.cut_formulas(show(formula.format(shown, 150)).page) == []
    assert faults.cut_formulas(show(formula.format(shown, 250)).page)


def test_what_lies_over_the_next_column(show):
    row = (
        "<main><table style='table-layout:fixed;width:300px'><tr><td><code>{}</code></td><td>1</td></tr></table></main>"
    )
    assert faults.out_of_cells(show(row.format("short")).page) == []
    assert faults.out_of_cells(show(row.format("a_name_that_is_longer_than_its_cell")).page)


def test_a_picture_out_of_shape(show):
    drawing = "data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg' width='200' height='100'/>"
    for style, wrong in (("width:100px", False), ("width:100px;height:100px", True)):
        page = show(f'<main><img alt="A box." style="{style}" src="{drawing}"></main>').page
        assert bool(faults.distorted(page)) is wrong


@pytest.mark.parametrize("alt", ["", 'alt=""', 'alt="_images/3af1.png"', 'alt="digits.svg"'])
def test_a_picture_without_words(show, alt):
    assert faults.alternative_texts(show(f'<img src="_images/3af1.png" {alt}>').page)
    assert faults.alternative_texts(show('<img src="_images/3af1.png" alt="A three.">').page) == []


@pytest.mark.parametrize(
    ("fault", "rule"),
    [
        ('<p style="color:#999">pale</p>', "color-contrast"),
        ('<div class="highlight"><pre><span style="color:#bbb">pale</span></pre></div>', "color-contrast"),
        ('<img src="data:,">', "image-alt"),
        ("<button></button>", "button-name"),
        ("<select><option>none</option></select>", "select-name"),
    ],
)
def test_a_page_that_not_all_can_use(show, fault, rule):
    def found(body):
        page = show(body).page
        faults.thin(page)
        return faults.accessibility(page)

    assert found("<h1>Good</h1>") == []
    assert any(rule in problem for problem in found("<h1>Bad</h1>" + fault))


def test_a_fault_in_the_dark_alone(show):
    body = "<style>p { background: #fff } @media (prefers-color-scheme: dark) { p { color: #ccc } }</style>"
    for dark in (False, True):
        page = show(body + "<p>words</p>", dark=dark).page
        faults.thin(page)
        assert bool(faults.accessibility(page)) is dark


@pytest.mark.parametrize("where", ["img", "body"])
def test_a_picture_that_the_dark_falsifies(show, where):
    style = f"<style>@media (prefers-color-scheme: dark) {{ {where} {{ filter: brightness(.8) }} }}</style>"
    picture = f'<img src="{png(200)}" alt="A grey square.">'
    light = show(style + picture)
    assert faults.filters(light.page) == []
    before = faults.pixels(light.page.locator("img"))
    dark = show(style + picture, dark=True)
    assert faults.filters(dark.page)
    assert faults.difference(before, faults.pixels(dark.page.locator("img"))) > 1
    plain = show(picture, dark=True)
    assert faults.difference(before, faults.pixels(plain.page.locator("img"))) == 0


@pytest.mark.parametrize(
    ("link", "words"),
    [
        ('<a href="gone.html">x</a>', "no such file"),
        ('<a href="other.html#gone">x</a>', "no such anchor"),
        ('<a href="#gone">x</a>', "no such anchor"),
        ('<img src="gone.png" alt="x">', "no such file"),
    ],
)
def test_a_link_that_leads_nowhere(tmp_path, link, words):
    (tmp_path / "other.html").write_text('<p id="here">x</p>', encoding="utf-8")
    good = '<a href="other.html#here">x</a><a href="https://example.org/gone">x</a><a href="#top">x</a><p id="top"></p>'
    (tmp_path / "page.html").write_text(good, encoding="utf-8")
    assert faults.dead_links(tmp_path) == []
    (tmp_path / "page.html").write_text(good + link, encoding="utf-8")
    (problem,) = faults.dead_links(tmp_path)
    assert words in problem


def test_the_weight_counts_pictures_once_and_nothing_shared(tmp_path):
    for name, size in (("a.png", 1000), ("_static/b.png", 5000)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"0" * size)
    page = tmp_path / "page.html"
    page.write_text(
        '<img src="a.png"><img src="a.png"><img src="_static/b.png"><img src="data:,xyz">', encoding="utf-8"
    )
    assert faults.weight(page) == page.stat().st_size + 1000


def test_a_listing_that_is_cut(show):
    cell = "<main><div class='cell_input' style='width:200px'><pre style='overflow:auto'>{}</pre></div></main>"
    assert faults.cut_code(show(cell.format("x = 1")).page) == []
    assert faults.cut_code(show(cell.format("x = " + "1" * 80)).page)


@pytest.mark.parametrize(
    "fault",
    [
        "<details><p>no summary</p></details>",
        "<details><summary>Show code cell source</summary><p>x</p></details>",
        "<details><summary></summary><p>x</p></details>",
    ],
)
def test_a_fold_that_does_not_say_what_it_holds(show, fault):
    good = "<details><summary>Code of figure 14</summary><p>x</p></details>"
    assert faults.silent_folds(show(good).page) == []
    assert faults.silent_folds(show(good + fault).page)


@pytest.mark.parametrize("tag", ["check", "imports"])
def test_a_proof_that_stands_open(show, tag):
    code = f"<div class='cell tag_{tag}'>{{}}<div class='cell_input'><pre>checks.close()</pre></div>{{}}</div>"
    folded = code.format("<details><summary>claims</summary>", "</details>")
    assert faults.open_proofs(show(folded).page) == []
    assert faults.open_proofs(show(folded + code.format("", "")).page)
    assert faults.open_proofs(show(f"<div class='solution'>{code.format('', '')}</div>").page) == []


def test_letters_that_mislead(show):
    page = (
        "<main><article><h2 style='font-size:{}px'>A</h2><h3 style='font-size:20px'>B</h3>"
        "<p style='font-size:16px'>C</p>"
        "<figure><figcaption><span class='caption-text' style='font-size:{}px;font-weight:{}'>D</span></figcaption>"
        "</figure></article></main>"
    )
    assert faults.lettering(show(page.format(28, 14, 400)).page) == []
    for fault in ((22, 14, 400), (28, 16, 400), (28, 14, 300)):
        assert faults.lettering(show(page.format(*fault)).page)


def test_a_long_way_without_a_picture(show):
    box = "<div style='height:{}px'></div>"
    picture = "<figure><img alt='x' style='height:90px;display:block' src='data:,'></figure>"
    content = f"{box}{picture}{box}{picture}{box}<section id='exercises'>{box}</section>"
    page = f"<main><article style='display:block'>{content}</article></main>"
    found = faults.screens(show(page.format(90, 900, 1800, 9000)).page)
    assert round(found["first"], 1) == 0.1
    assert round(found["gap"], 1) == 2.0  # what follows the exercises does not count
    assert found["screens"] > 13


def test_pages_that_only_send_on_are_not_read(tmp_path):
    (tmp_path / "index.html").write_text(
        '<meta http-equiv="Refresh" content="0; url=book/index.html">', encoding="utf-8"
    )
    for name in ("book/index.html", "_static/a.html"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("<p>A page.</p>", encoding="utf-8")
    assert page_names(tmp_path) == ["book/index.html"]
