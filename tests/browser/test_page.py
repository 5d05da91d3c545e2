"""The page of a lecture: tracks, folds, first screen, lettering, and the budgets of lectures that are through."""

import pytest

from tools.repo import edited
from tools.verify.faults import cut_code, lettering, open_proofs, screens, silent_folds

CODE_WIDTH = 1280
SCREENS = {"code": 28, "read": 18, "first": 1, "gap": 3}  # of 900 pixels
TRACK = "document.documentElement.dataset.dgmTrack"


def test_what_proves_is_folded_and_says_what_it_holds(reader, lecture):
    page = reader.open(lecture)
    assert open_proofs(page) == []
    assert silent_folds(page) == []


def test_code_fits_its_box(reader, lecture):
    page = reader.open(lecture, width=CODE_WIDTH, fresh=True)
    page.evaluate("document.querySelectorAll('main details').forEach(e => e.open = true)")
    assert cut_code(page) == []
    reader.spoil()


def test_headings_and_captions(reader, lecture):
    assert lettering(reader.open(lecture)) == []


def choose(page, name):
    page.get_by_role("button", name=name, exact=True).click()


def test_the_tracks_show_more_or_less_and_are_remembered(reader, folder):
    page = reader.open("notebooks/rbm.html", fresh=True)
    assert page.evaluate(TRACK) == "code"
    code, check = page.locator("main .cell_input").locator("visible=true"), page.locator("details.dgm-check")
    by_default = code.count()
    assert check.first.is_visible()
    choose(page, "Read")
    assert 0 < code.count() < by_default  # the listings that are the method
    assert not check.first.is_visible()
    page = reader.open("notebooks/elbo.html", fresh=True)
    assert page.evaluate(TRACK) == "read"
    choose(page, "Everything open")
    assert page.locator("details.dgm-fold:not([open])").count() == 0
    choose(page, "Read and code")
    assert page.locator("details.dgm-fold[open]").count() == 0
    pressed = page.locator(".dgm-tracks [aria-pressed=true]").all_inner_texts()
    assert pressed == ["Read and code"]
    page.evaluate("localStorage.clear()")
    reader.spoil()


def test_a_fold_opens_by_keyboard(reader):
    page = reader.open("notebooks/rbm.html", fresh=True)
    fold = page.locator("details.dgm-check").first
    fold.locator("summary").focus()
    page.keyboard.press("Enter")
    assert fold.locator(".cell_input").is_visible()
    reader.spoil()


def test_a_link_into_a_fold_opens_it(reader):
    page = reader.open("notebooks/rbm.html#why-centring-helps", fresh=True)
    assert page.locator("#why-centring-helps details.dgm-further").get_attribute("open") is not None
    assert page.locator("#fig-rbm-centring").is_visible()
    reader.spoil()


def test_without_scripts_the_page_is_whole(program, folder):
    context = program.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((folder / "notebooks" / "rbm.html").as_uri())
    assert not page.locator(".dgm-tracks").is_visible()
    assert page.locator(".dgm-opening img").is_visible()
    fold = page.locator("details.dgm-check").first
    fold.locator("summary").click()
    assert fold.locator(".cell_input").is_visible()
    context.close()


def test_on_paper_a_check_is_one_line(reader):
    page = reader.open("notebooks/rbm.html", fresh=True)
    page.emulate_media(media="print")
    fold = page.locator("details.dgm-check").first
    line = fold.locator("summary").bounding_box()["height"]
    assert fold.bounding_box()["height"] <= line + 16
    page.emulate_media(media="screen")
    reader.spoil()


def test_the_film_of_the_first_screen_plays_and_stands_in_the_page_once(reader, folder):
    page = reader.open("notebooks/rbm.html", fresh=True)
    top, below = page.locator(".dgm-opening .dgm-film img"), page.locator("#fig-rbm-film .dgm-film img")
    for end in ("Home", "End"):
        page.locator(".dgm-opening .dgm-film input").press(end)
        below.locator("xpath=..").locator("input").press(end)
        assert top.get_attribute("src") == below.get_attribute("src")
    frames = (folder / "notebooks" / "rbm.html").read_text(encoding="utf-8").count("data:image/png;base64,")
    assert frames <= 2 + page.locator("#fig-rbm-film .dgm-film input").evaluate("bar => Number(bar.max) + 1")
    reader.spoil()


def test_a_search_shows_the_text_of_a_page(reader):
    page = reader.open("search.html?q=smolensky", fresh=True)
    reader.spoil()
    page.wait_for_selector("ul.search li a[href*='rbm.html'] ~ p.context, ul.search li p.context")
    for words in page.locator("ul.search p.context").all_inner_texts():
        assert not any(noise in words for noise in ("Show code", "Read and code", "Everything open", "✓"))


@pytest.mark.parametrize("through", edited())
def test_a_lecture_that_is_through_is_short(reader, through):
    found = {}
    for track in ("read", "code"):
        page = reader.open(f"notebooks/{through}.html", width=CODE_WIDTH, fresh=True)
        page.evaluate(f"{TRACK} = {track!r}")
        found[track] = screens(page)["screens"]
    found |= screens(page)
    assert {what: round(found[what], 1) for what, most in SCREENS.items() if found[what] > most} == {}
    reader.spoil()
