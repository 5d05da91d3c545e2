"""What a reader does with the book: searches, copies, unfolds, plays."""

import pytest

from tools.browser import page_names, serve

FILMS = ".dgm-film"


def test_search_finds_a_lecture(reader):
    page = reader.open("book/index.html", fresh=True)
    page.keyboard.press("Control+k")
    page.keyboard.type("contrastive divergence")
    page.keyboard.press("Enter")
    reader.spoil()
    page.wait_for_selector("ul.search li a[href*='rbm.html']")
    assert reader.failures == []


FORBIDDEN = """for (const name of ["localStorage", "sessionStorage"])
  Object.defineProperty(window, name, {
    configurable: true,
    get() { throw new DOMException("The operation is insecure.", "SecurityError"); },
  });"""


@pytest.mark.parametrize("author", ["Hyvärinen", "Carreira-Perpiñán"])
def test_search_finds_names_where_the_reader_forbids_storage(program, folder, author):
    with serve(folder) as address:
        context = program.new_context()
        context.add_init_script(FORBIDDEN)
        page, errors = context.new_page(), []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(f"{address}search.html?q={author}")
        page.wait_for_selector("ul.search li a[href*='bibliography.html']")
        assert errors == []
        context.close()


COPY = """async cell => {
  const nothing = 'nothing was copied';
  await navigator.clipboard.writeText(nothing);
  cell.querySelector('button.copybtn').click();
  for (let i = 0; i < 50 && await navigator.clipboard.readText() === nothing; i++)  // it may take a moment
    await new Promise(done => setTimeout(done, 20));
  return [await navigator.clipboard.readText(), cell.querySelector('pre').textContent];
}"""


def test_copy_buttons_copy_the_code_of_their_cell(reader, lecture):
    cells = reader.open(lecture, fresh=True).query_selector_all(".cell_input .highlight")
    assert cells
    for cell in cells:  # one call each: a browser lets a page copy only shortly after it was touched
        copied, code = cell.evaluate(COPY)
        assert copied.strip() == code.strip()


def test_solutions_unfold(reader, lecture):
    page = reader.open(lecture, fresh=True)
    solutions = page.locator(".solution").all()
    assert solutions
    for solution in solutions:
        content = solution.locator(".cell").first
        assert not content.is_visible()
        solution.locator("button.toggle-button").click()
        content.wait_for(state="visible")


def test_folded_cells_unfold(reader, lecture):
    page = reader.open(lecture)
    page.locator(".solution.toggle-hidden button.toggle-button").evaluate_all("all => all.forEach(e => e.click())")
    for fold in page.locator("main details").all():
        content = fold.locator(":scope > :not(summary)").first
        assert not content.is_visible()
        fold.locator(":scope > summary").click()
        assert content.is_visible()


@pytest.fixture
def films(reader, lecture):
    return reader.open(lecture, fresh=True).locator(FILMS).all()


def frame(film):
    return film.locator("img").get_attribute("src")


def wait_for(film, condition):
    """Until `condition` of the button, the slider and the picture's address holds in the page."""
    film.page.wait_for_function(
        f"""film => {{
          const [button, bar, picture] = ['button', 'input', 'img'].map(name => film.querySelector(name));
          return {condition};
        }}""",
        arg=film.element_handle(),
    )


PLAY_AND_PAUSE = """film => new Promise(done => {  // a short film would be over before another program could pause it
  const button = film.querySelector('button'), picture = film.querySelector('img');
  const watch = () => { watcher.disconnect(); button.click(); done(picture.src); };
  const watcher = new MutationObserver(watch);
  watcher.observe(picture, {attributes: true, attributeFilter: ['src']});
  button.click();
  setTimeout(watch, 5000);
})"""


def test_films_play_pause_and_end(films):
    for film in films:
        bar, button = film.locator("input"), film.locator("button")
        bar.press("Home")
        first, at_rest = frame(film), button.inner_text()
        assert film.evaluate(PLAY_AND_PAUSE) != first
        assert button.inner_text() == at_rest
        bar.press("End")
        last = frame(film)
        bar.press("ArrowLeft")
        assert frame(film) != last
        button.click()
        wait_for(film, f"bar.value === bar.max && button.innerText === {at_rest!r}")
        assert frame(film) == last


def test_sliders_move_their_picture(films):
    for film in films:
        bar, text = film.locator("input"), film.locator("output")
        bar.press("Home")
        first, label = frame(film), text.inner_text()
        bar.press("End")
        assert frame(film) != first
        assert text.inner_text() != label


def test_there_is_a_film(reader, folder):
    """So that the tests of films can't pass because all films are gone."""
    assert any("dgm-film" in (folder / name).read_text(encoding="utf-8") for name in page_names(folder))
