"""The checks of built pages fail on the faults that they are there for; `tools.verify.smoke` runs them on real ones."""

import json
from pathlib import Path

import pytest

from tools.book.pages import foreign, problems, problems_for_publishing

HEAD = (
    '<html><head><meta name="dgm-profile" content="{}"><meta name="dgm-dataset" content="{}">'
    '<meta name="dgm-seed" content="{}">{}</head><body>'
)
NOWHERE = Path("/nowhere")  # no notebook says which figures a page must have
FIGURE = '<figure><img src="_images/1.png" alt="Digits in a grid."><figcaption>Digits.</figcaption></figure>'


@pytest.fixture
def book(tmp_path):
    """Write a tiny book and return a function that replaces its lecture page."""
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "_static").mkdir()
    (tmp_path / "_static" / "book.css").write_text("img { background: url('paper.png') }", encoding="utf-8")

    def write(body=FIGURE, head="", profile="quick", dataset="MNIST", seed=0):
        for name in ("index", "notebooks/rbm"):
            (tmp_path / f"{name}.html").write_text(
                HEAD.format(profile, dataset, seed, head) + body + "</body></html>", encoding="utf-8"
            )
        return tmp_path

    return write


def test_a_good_book_passes(book):
    links = '<a href="https://doi.org/10.1/x">a link is followed only by a reader</a>'
    assert problems_for_publishing(book(FIGURE + links), ["rbm"], NOWHERE) == []


@pytest.mark.parametrize(
    "body",
    [
        '<img src="_images/1.png">',
        '<img src="_images/1.png" alt="">',
        '<img src="_images/9a7b.png" alt="../_images/9a7b.png">',
    ],
)
def test_an_image_without_alternative_text(book, body):
    assert any("alternative text" in problem for problem in problems(book(body), ["rbm"], "quick", NOWHERE))


def test_a_warning_in_an_output(book):
    body = '<div class="output stderr highlight-myst-ansi notranslate"><pre>UserWarning: tight</pre></div>'
    assert problems(book(body), ["rbm"], "quick", NOWHERE) == []  # it ends no build at its last step
    assert any("standard error" in problem for problem in problems_for_publishing(book(body), ["rbm"], NOWHERE))


def test_a_figure_without_caption(book):
    body = '<figure><img src="_images/1.png" alt="Digits."></figure>'
    assert any("caption" in problem for problem in problems(book(body), ["rbm"], "quick", NOWHERE))


@pytest.mark.parametrize(
    "fault",
    [
        '<script src="https://cdn.example.org/mathjax.js"></script>',
        '<script src="//cdn.example.org/mathjax.js"></script>',
        '<link rel="stylesheet" href="https://fonts.example.org/a.css">',
        '<link rel="preconnect" href="https://fonts.example.org">',
        '<img src="https://example.org/a.png" alt="A picture.">',
        "<style>@import 'https://fonts.example.org/a.css';</style>",
        "<style>body { background: url(https://example.org/a.png) }</style>",
        '<div style="background: url(https://example.org/a.png)"></div>',
        '<script>fetch("https://example.org/count")</script>',
        '<iframe src="https://example.org"></iframe>',
    ],
)
def test_a_second_host(book, fault):
    assert any("another host" in problem for problem in problems(book(FIGURE + fault), ["rbm"], "quick", NOWHERE))


def test_a_style_sheet_that_asks_another_host(book):
    folder = book()
    (folder / "_static" / "book.css").write_text("@import url(https://fonts.example.org/a.css);", encoding="utf-8")
    assert any("another host" in problem for problem in problems(folder, ["rbm"], "quick", NOWHERE))


def test_addresses_without_a_host_are_fine():
    assert foreign(["_static/a.js", "../b.css", "data:image/png;base64,AA==", "#top"]) == []


def test_a_smoke_build_is_not_published(book):
    assert any(
        "profile smoke" in problem for problem in problems_for_publishing(book(profile="smoke"), ["rbm"], NOWHERE)
    )


def test_a_build_on_the_embedded_digits_is_not_published(book):
    assert any("digits" in problem for problem in problems_for_publishing(book(dataset="digits"), ["rbm"], NOWHERE))


def test_a_page_that_does_not_say_how_it_was_built(book):
    folder = book()
    (folder / "notebooks" / "rbm.html").write_text("<html></html>", encoding="utf-8")
    assert problems_for_publishing(folder, ["rbm"], NOWHERE)


def test_a_lecture_without_a_page(book):
    assert any("no page" in problem for problem in problems(book(), ["rbm", "vae"], "quick", NOWHERE))


def test_another_seed_is_not_published(book):
    assert any("seed 3" in problem for problem in problems_for_publishing(book(seed=3), ["rbm"], NOWHERE))


def test_a_sentence_with_an_old_number_is_not_published(book):
    body = '<p>It is <span class="dgm-recorded dgm-stale">1.5*</span>.</p>'
    assert problems(book(body), ["rbm"], "quick", NOWHERE) == []
    assert any("older version" in problem for problem in problems_for_publishing(book(body), ["rbm"], NOWHERE))


def test_a_figure_without_a_picture(book):
    body = "<figure><figcaption>Digits.</figcaption></figure>"
    assert any("without a picture" in problem for problem in problems(book(body), ["rbm"], "quick", NOWHERE))


def test_a_figure_that_no_cell_drew(book, tmp_path):
    """As where the backend draws nothing: the page has neither picture nor caption."""
    (tmp_path / "source" / "notebooks").mkdir(parents=True)
    cell = {"metadata": {"mystnb": {"figure": {"caption": "C", "name": "fig-digits"}}}}
    notebook = tmp_path / "source" / "notebooks" / "rbm.ipynb"
    notebook.write_text(json.dumps({"cells": [cell, {"metadata": {}}]}), encoding="utf-8")
    assert any(
        "fig-digits is missing" in problem for problem in problems(book(), ["rbm"], "quick", tmp_path / "source")
    )
    there = FIGURE.replace("<figure>", '<figure id="fig-digits">')
    assert problems(book(there), ["rbm"], "quick", tmp_path / "source") == []
