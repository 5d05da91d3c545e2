"""The idea is in sight and the rest one touch away: nothing that a reader must see is folded, lost or moved."""

import re
from types import SimpleNamespace

import pytest
from docutils import nodes
from myst_nb.sphinx_ import HideCodeCellNode

from tools.book import fold

OK = ["a < b: 1, at most 2 expected: ok", "E = mc^2: exact 0, computed 0, tolerance 0: ok"]


def printed(lines):
    text = "\n".join(lines) + "\n"
    return nodes.literal_block(text, text, classes=["output", "stream"], language="none")


def cell(*tags, source="x = 1", shown=()):
    """A code cell as MyST-NB makes it."""
    code = nodes.container(
        "", nodes.literal_block(source, source), nb_element="cell_code_source", classes=["cell_input"]
    )
    parts = [code]
    if shown:
        parts.append(nodes.container("", *shown, nb_element="cell_code_output", classes=["cell_output"]))
    return nodes.container("", *parts, nb_element="cell_code", classes=["cell", *(f"tag_{tag}" for tag in tags)])


def page(*children):
    document = nodes.document(None, None)
    document += nodes.section("", nodes.title("", "A lecture"), *children, ids=["a"])
    return document


def text_of(node):
    """What is folded, and what is in sight, of a part of a page."""
    folded, open_, depth = [], [], 0
    for part in node.findall():
        if isinstance(part, nodes.raw):
            depth += part.astext().count("<details") - part.astext().count("</details")
            open_ += re.findall(r"<summary>(.*?)</summary>", part.astext())
        elif isinstance(part, nodes.Text) and not isinstance(part.parent, nodes.raw):
            (folded if depth else open_).append(part.astext())
    assert depth == 0
    return folded, open_


def test_a_cell_of_checks_is_one_line_that_names_its_claims():
    checks = cell("check", source="checks.close()", shown=[printed(OK)])
    fold.fold_checks(page(checks))
    folded, in_sight = text_of(checks)
    assert folded == ["checks.close()", "\n".join(OK)]
    assert in_sight == ['<span class="dgm-mark">✓</span> <span class="dgm-claims">a &lt; b · E = mc^2</span>']


def test_the_line_that_jupyter_shows_is_not_shown_twice():
    checks = cell("check", source="# ✓ a < b\nchecks.close()", shown=[printed(OK)])
    fold.fold_checks(page(checks))
    assert text_of(checks)[0][0] == "checks.close()"


@pytest.mark.parametrize("line", ["not yet", "recorded x = 1 nats", "a < b: 3, at most 2 expected: WRONG", "ok"])
def test_what_is_no_passed_check_stays_in_sight(line):
    checks = cell("check", shown=[printed([OK[0], line, OK[1]])])
    fold.fold_checks(page(checks))
    assert line in text_of(checks)[1]
    assert ("dgm-not-yet" in checks["classes"]) is (line == "not yet")


def test_pictures_and_tables_of_a_check_stay_in_sight():
    picture = nodes.image(uri="a.png", alt="A digit.")
    checks = cell("check", shown=[printed(OK), picture])
    fold.fold_checks(page(checks))
    assert checks.children[-1].children == [picture]


def test_a_check_without_output_says_that_it_is_one():
    checks = cell("check", source="def check_x(): pass")
    fold.fold_checks(page(checks))
    assert text_of(checks) == (["def check_x(): pass"], ["The check, as code"])


def test_code_that_is_no_check_is_left_alone():
    plain = cell("twin:dgm.x", shown=[printed(OK)])
    fold.fold_checks(page(plain))
    assert text_of(plain)[0] == []


def test_the_set_up_is_one_block_and_its_warning_is_in_sight():
    lines = ["rbm | profile quick | cpu", "no MNIST here: the digits are a substitute"]
    start = cell(source='run = dgm.start("rbm")', shown=[printed(lines)])
    document = page(cell("imports", source="import dgm"), cell("parameters", source="P = {}"), start, cell(source="x"))
    fold.fold_setup(document)
    folded, in_sight = text_of(document)
    assert folded == ["import dgm", "P = {}", 'run = dgm.start("rbm")', lines[0]]
    assert in_sight == ["A lecture", "Set-up", lines[1], "x"]


def test_a_page_without_a_run_has_no_set_up():
    document = page(cell(source="x = 1"))
    fold.fold_setup(document)
    assert text_of(document) == ([], ["A lecture", "x = 1"])


@pytest.mark.parametrize("hidden", [True, False])
def test_the_code_of_a_picture_says_which(hidden):
    plot = cell("plot", source="draw()", shown=[nodes.figure("", nodes.image(uri="a.png"), ids=["fig-a"])])
    if hidden:
        code = plot.children[0]
        hide = HideCodeCellNode(prompt_show="Show code cell source", prompt_hide="Hide code cell source")
        plot.replace(code, hide)
        hide += code
    app = SimpleNamespace(env=SimpleNamespace(toc_fignumbers={"notebooks/a": {"figure": {"fig-a": (14,)}}}))
    fold.name_plots(app, page(plot), "notebooks/a")
    (found,) = plot.findall(HideCodeCellNode)
    assert found["prompt_show"] == found["prompt_hide"] == "Code of figure 14"
    assert found.astext() == "draw()"


def test_the_code_of_a_driver_says_what_it_does():
    driver = cell("hide-input", source="# Training both machines\nfit()")
    code = driver.children[0]
    hide = HideCodeCellNode(prompt_show="", prompt_hide="")
    driver.replace(code, hide)
    hide += code
    app = SimpleNamespace(env=SimpleNamespace(toc_fignumbers={}))
    fold.name_plots(app, page(driver), "notebooks/a")
    assert hide["prompt_show"] == "Code: Training both machines"


def test_each_unit_of_further_is_behind_its_title():
    units = [
        nodes.section("", nodes.title("", name), nodes.paragraph("", f"{name} words"), ids=[name]) for name in "AB"
    ]
    further = nodes.section("", nodes.title("", "Further"), nodes.paragraph("", "more"), *units, ids=["further"])
    other = nodes.section("", nodes.title("", "C"), nodes.section("", nodes.title("", "D"), ids=["d"]), ids=["c"])
    document = page(further, other)
    fold.fold_further(document)
    folded, in_sight = text_of(document)
    assert [text for text in folded if "words" in text] == ["A words", "B words"]
    assert "more" in in_sight
    assert "D" in in_sight
    assert [section["ids"] for section in further.findall(nodes.section)] == [["further"], ["A"], ["B"]]  # links hold
