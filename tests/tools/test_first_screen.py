"""The first screen: the switch, the times, and a picture that the page makes below and embeds once."""

import json
from types import SimpleNamespace

import pytest
from docutils import nodes

from tools.book import first_screen

FILM = '<div class="dgm-film" id="film-1" style="x">\n<img alt="Two digits." src="data:image/png;base64,AA" style="y">'


@pytest.fixture
def build(tmp_path, monkeypatch):
    """A build in which one lecture has run."""
    monkeypatch.setenv("DGM_BUILD", str(tmp_path))
    monkeypatch.delenv("DGM_PROFILE", raising=False)
    report = {"lecture": "rbm", "profile": "quick", "seconds": 61.7, "device": "a <CPU>", "metrics": []}
    (tmp_path / "quick" / "results").mkdir(parents=True)
    (tmp_path / "quick" / "results" / "rbm.json").write_text(json.dumps(report), encoding="utf-8")
    return tmp_path


def test_under_the_heading_stand_the_switch_and_the_times(build):
    context = {"body": "<h1>RBM</h1><p>text</p>"}
    first_screen.head_of(None, "notebooks/rbm", "page.html", context, None)
    assert "Ran in 62\u00a0s when this page was built: a &lt;CPU&gt;, profile quick." in context["body"]
    assert 'data-lecture="rbm" data-what="minutes"' in context["body"]
    assert context["body"].count("<button") == 3
    assert 'value="code" aria-pressed="true"' in context["body"]
    context = {"body": "<h1>x</h1>"}
    first_screen.head_of(None, "notebooks/langevin", "page.html", context, None)  # has not run
    assert "Ran in" not in context["body"]
    context = {"body": "<h1>x</h1>"}
    first_screen.head_of(None, "book/index", "page.html", context, None)  # no lecture
    assert context == {"body": "<h1>x</h1>"}


def document(*shown):
    spot = first_screen.OpeningSpot("", nodes.paragraph("", "Chains."), figure="fig-a")
    figure = nodes.figure("", *shown, ids=["fig-a"])
    made = nodes.document(None, None)
    made += nodes.section("", spot, figure, ids=["s"])
    return made


APP = SimpleNamespace(env=SimpleNamespace(toc_fignumbers={"notebooks/a": {"figure": {"fig-a": (7,)}}}))


def test_a_picture_is_shown_again_with_the_way_to_its_place():
    page = document(nodes.image(uri="a.png", alt="A digit."))
    first_screen.show_openings(APP, page, "notebooks/a")
    first, below = page.findall(nodes.image)
    assert (first["uri"], first["alt"]) == (below["uri"], below["alt"])
    assert "Chains. (made below: Fig. 7)" in page.astext()
    (way,) = page.findall(nodes.reference)
    assert way["refuri"] == "#fig-a"


def test_of_a_film_the_still_is_shown_and_the_frames_are_not_copied():
    page = document(nodes.raw("", FILM, format="html"))
    first_screen.show_openings(APP, page, "notebooks/a")
    first = next(iter(page.findall(nodes.raw))).astext()
    assert 'class="dgm-again" data-film="film-1"' in first
    assert '<img alt="Two digits." src="data:image/png;base64,AA"' in first
    assert "script" not in first


def test_a_name_that_is_no_figure_of_the_page_is_an_error():
    page = document(nodes.image(uri="a.png"))
    with pytest.raises(ValueError, match=r"notebooks/b: .opening. expects the name of a figure of this page"):
        first_screen.show_openings(SimpleNamespace(env=SimpleNamespace(toc_fignumbers={})), page, "notebooks/b")
    with pytest.raises(ValueError, match="expected a picture or a film"):
        first_screen.show_openings(APP, document(nodes.paragraph("", "x")), "notebooks/a")
