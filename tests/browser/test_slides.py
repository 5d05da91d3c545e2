"""The decks of two lectures in a real browser, from this machine alone: everything fits the screen."""

import nbformat
import pytest

from tools.browser import book_folder, serve
from tools.export.slides import make as slides
from tools.repo import ROOT

WIDTH, HEIGHT = 1280, 720
MEASURE = """() => [...document.querySelectorAll(".slides > section > section")].map(slide => {
  const box = slide.firstElementChild.getBoundingClientRect(), screen = slide.getBoundingClientRect();
  const inside = [...slide.firstElementChild.querySelectorAll("pre, img, table, mjx-container, p, li")];
  const right = Math.max(...inside.map(part => part.getBoundingClientRect().right), box.right);
  return {title: slide.innerText.slice(0, 40), zoom: Number(slide.dataset.zoom), bottom: box.bottom - screen.top,
          right: right - screen.left, errors: slide.querySelectorAll("mjx-merror").length,
          raw: /\\$\\$|\\\\begin\\{|\\{eq\\}|\\{cite/.test(slide.innerText)};
})"""
# The longest cells of code that we allow have 40 lines; with a heading above they need this, as 40 x 24 + 70 in 672.
SMALLEST_ZOOM = 0.65


@pytest.fixture(scope="module", params=["rbm", pytest.param("vae_pytorch", marks=pytest.mark.slow)])
def measured(request, program, tmp_path_factory):
    """What the browser says of each slide, and what went wrong on the way."""
    folder, build = tmp_path_factory.mktemp("slides"), book_folder().parent
    notebook = nbformat.read(ROOT / "notebooks" / f"{request.param}.ipynb", as_version=4)
    outputs = slides.from_book(notebook, build.name, build.parent) or slides.executed(notebook)
    path, count = slides.write(outputs, request.param, folder)
    wrong = []
    with serve(folder) as address:
        page = program.new_page(viewport={"width": WIDTH, "height": HEIGHT})

        def only_ours(route):
            ours = route.request.url.startswith((address, "data:", "blob:"))
            if not ours:
                wrong.append(f"asks another host: {route.request.url}")
            route.continue_() if ours else route.abort()

        page.route("**/*", only_ours)
        page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("response", lambda response: wrong.append(response.url) if response.status >= 400 else None)
        page.goto(f"{address}{path.name}")
        page.wait_for_selector("html[data-ready=yes]", state="attached", timeout=120_000)
        found = page.evaluate(MEASURE)
    return found, count, [what for what in wrong if not what.endswith("favicon.ico") and "404" not in what]


def test_it_works_without_a_network_and_without_an_error(measured):
    found, count, wrong = measured
    assert wrong == []
    assert len(found) == count


def test_every_slide_fits_the_screen(measured):
    too_large = [slide for slide in measured[0] if slide["bottom"] > HEIGHT or slide["right"] > WIDTH]
    assert too_large == []


def test_nothing_is_too_small_to_read(measured):
    assert [slide for slide in measured[0] if slide["zoom"] < SMALLEST_ZOOM] == []


def test_all_mathematics_is_typeset(measured):
    assert [slide for slide in measured[0] if slide["errors"] or slide["raw"]] == []
