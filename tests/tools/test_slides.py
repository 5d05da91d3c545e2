"""What of a lecture becomes a slide.  That slides fit the screen, offline, tests `make browser`."""

import jupytext
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from tools.export.plain_markdown import left_over
from tools.export.slides import make as slides
from tools.export.slides.cells import blocks, deck, shown
from tools.repo import ROOT, lectures

CLAIM = "**A claim that is long enough to be one.**"


def made_of(*cells):
    """The slides of a lecture, as (slide type, source)."""
    notebook = deck(new_notebook(cells=[new_markdown_cell("# Title\n\n1. a promise"), *cells]), "rbm")
    return [(cell.metadata.slideshow.slide_type, cell.source) for cell in notebook.cells]


def code(source, *tags, printed=""):
    outputs = [new_output("stream", text=printed)] if printed else []
    return new_code_cell(source, metadata={"tags": list(tags)}, outputs=outputs)


def on_slides(*cells):
    return "\n".join(source for kind, source in made_of(*cells) if kind != "notes")


def test_blocks_keep_equations_and_fences_whole():
    text = "# A\n\nOne.\nTwo:\n$$\na\n\nb\n$$\n\n- x\n- y\n\n| t |\n|--|\n\n> note\n\n```text\n\nc\n```"
    assert [kind for kind, _ in blocks(text)] == ["heading", "prose", "equation", "list", "table", "note", "fence"]
    assert blocks(text)[2][1] == "$$\na\n\nb\n$$"


def test_claims_equations_and_their_lead_are_shown_and_all_prose_is_said():
    text = f"## A section\n\n{CLAIM}\nA long story.\nIt follows that\n\n$$\nx = 1\n$$\n\nThe end of it."
    cells = made_of(new_markdown_cell(text))
    visible = "\n".join(source for kind, source in cells if kind != "notes")
    assert ("slide", "## A section") in cells
    assert CLAIM in visible
    assert "It follows that" in visible
    assert "x = 1" in visible
    assert "story" not in visible
    said = "\n".join(source for kind, source in cells if kind == "notes")
    for words in ("A long story.", "The end of it.", CLAIM):
        assert words in said


def test_prose_alone_shows_its_first_sentences():
    assert shown([("prose", "First.\nSecond."), ("prose", "Third.")]) == [("list", "- First.\n- Third.")]


def test_a_subsection_goes_down():
    assert ("subslide", "### Below") in made_of(new_markdown_cell("## A\n\nText.\n\n### Below\n\nText."))


@pytest.mark.parametrize("tag", ["bootstrap", "imports", "parameters", "solution"])
def test_hidden_code_is_left_out(tag):
    assert "secret" not in on_slides(code("secret = 1", tag))


def test_code_is_shown_and_a_check_is_one_line():
    printed = "first: exact 1, computed 1: ok\nsecond, of *two*: as claimed: ok\n"
    text = on_slides(code("x = 1"), code("checks.close()", "check", printed=printed))
    assert "x = 1" in text
    assert "checks.close" not in text
    assert "✓ first · second, of &#42;two&#42;" in text


def test_of_a_plot_the_picture_is_shown_with_its_words():
    picture = new_output("display_data", data={"image/png": "AAAA"})
    meta = {"figure": {"caption": "A **bold** caption", "name": "fig-rbm-filters"}, "image": {"alt": 'Two "grids"'}}
    cell = new_code_cell("plot()", metadata={"tags": ["plot", "hide-input"], "mystnb": meta}, outputs=[picture])
    text = on_slides(cell)
    assert 'src="data:image/png;base64,AAAA" alt="Two &quot;grids&quot;"' in text
    assert "<strong>bold</strong> caption" in text
    assert "<strong>Fig. " in text
    assert "plot()" not in text


def test_exercises_are_shown_whole_and_solutions_not_at_all():
    start = "````{solution-start} ex-rbm-bars\n:class: dropdown\n````"
    exercise = "```{exercise-start} Bars\n:label: ex-rbm-bars\n```\nFirst.\nSecond.\n```{exercise-end}\n```"
    text = on_slides(
        new_markdown_cell(f"{exercise}"),
        code("def stub():\n    return None", "exercise"),
        new_markdown_cell(start),
        code("def answer(): ...", "solution"),
        new_markdown_cell("It is seven.\n````{solution-end}\n````"),
        code("after = 1"),
    )
    assert "Second." in text
    assert "stub" in text
    assert "answer" not in text
    assert "seven" not in text
    assert "Solution" not in text
    assert "after = 1" in text


def test_what_has_no_room_goes_down():
    cells = made_of(new_markdown_cell("## A\n\nText."), *[code("\n".join("x" * 15)) for _ in range(3)])
    assert [kind for kind, source in cells if source.endswith("# A")] == ["slide", "subslide", "subslide"]


@pytest.mark.parametrize("lecture", lectures())
def test_no_myst_is_left_in_any_deck(lecture):
    notebook = jupytext.read(ROOT / "notebooks" / f"{lecture}.py", fmt="py:percent")
    cells = deck(notebook, lecture).cells
    ours = ("a link inside the repository",)  # drawings lie beside the deck
    found = [what for cell in cells for what in left_over(cell.source) if not what.startswith(ours)]
    assert found == []
    assert sum(cell.metadata.slideshow.slide_type in ("slide", "subslide") for cell in cells) > 20


@pytest.mark.parametrize("names", [[], ["nosuch"], ["rbm", "elbo"]])
def test_an_unknown_lecture_is_told_the_list(names):
    with pytest.raises(SystemExit, match=r"expected LECTURE=, one of divergences, .*score_sde"):
        slides.main(names)


def test_the_page_names_no_other_host():
    page = slides.html(deck(jupytext.read(ROOT / "notebooks" / "rbm.py", fmt="py:percent"), "rbm"))
    fetched = [part.split('"')[0] for mark in ('src="', 'rel="stylesheet" href="') for part in page.split(mark)[1:]]
    assert fetched
    assert not [address for address in fetched if address.startswith(("http", "//"))]
    assert "import mermaid" not in page
