"""Fixtures of the tests that read the built book in a real browser: one browser a session, one tab a book.

They need a built book, so that a plain `pytest` passes over this folder (`norecursedirs`); `make browser` runs them.
"""

import pytest

from tools.browser import Reader, book_folder, browser, page_names, serve

ALWAYS = ("book/index.html", "notebooks/rbm.html")  # one of each kind
BOOK = pytest.StashKey()


def pytest_configure(config):
    """One clear error where there is no book, in place of one a test."""
    try:
        config.stash[BOOK] = book_folder()
    except SystemExit as error:
        raise pytest.UsageError(str(error)) from None


def marks_of(name):
    """With several workers one of them has all tests of a page; most pages are left to `make test-all`."""
    marks = [pytest.mark.xdist_group(name)]
    return marks if name in ALWAYS else [*marks, pytest.mark.slow]


def pytest_generate_tests(metafunc):
    """One test for each page, `name`, or `lecture`; with several workers one of them has all tests of a page."""
    names = page_names(metafunc.config.stash[BOOK])
    pages = {"name": names, "lecture": [name for name in names if name.startswith("notebooks/")]}
    for argument in pages.keys() & set(metafunc.fixturenames):
        groups = [pytest.param(name, marks=marks_of(name), id=name) for name in pages[argument]]
        assert groups, "expected a book with pages and lectures, got none"
        metafunc.parametrize(argument, groups, scope="module")


@pytest.fixture(scope="session")
def folder(request):
    return request.config.stash[BOOK]


@pytest.fixture(scope="session")
def program():
    with browser() as running:
        yield running


@pytest.fixture(scope="session")
def reader(program, folder):
    """The tab in which the book is read."""
    with serve(folder) as address:
        tab = Reader(program, address)
        yield tab
        tab.close()


@pytest.fixture
def show(program, tmp_path):
    """A function that shows `body` as a page of its own and returns the tab; files may lie beside it."""
    with serve(tmp_path) as address:
        tab = Reader(program, address)

        def show(body, *, head="", **how):
            page = f'<!doctype html><html lang="en"><head><title>A page</title><link rel="icon" href="data:,">{head}'
            (tmp_path / "page.html").write_text(
                f"{page}</head><body><main>{body}</main></body></html>", encoding="utf-8"
            )
            tab.open("page.html", fresh=True, **how)
            return tab

        yield show
        tab.close()
