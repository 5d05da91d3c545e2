"""What the book says about itself: family tree, tables of lectures, times and symbols."""

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tools.book import family_tree, overview
from tools.repo import lectures


def test_every_lecture_is_a_link_in_the_tree():
    tree = ElementTree.fromstring(family_tree.family_svg(family_tree.overview(), "notebooks/{}.html"))
    links = [link.get("href") for link in tree.iter("a")]
    assert sorted(links) == sorted(f"notebooks/{name}.html" for name in lectures())


def test_boxes_do_not_overlap():
    at = list(family_tree.places(family_tree.overview()).values())
    assert len(set(at)) == len(at)
    for i, (x, y) in enumerate(at):
        assert all(abs(x - u) > family_tree.BOX or abs(y - v) > family_tree.HEIGHT for u, v in at[:i])
        assert family_tree.BOX / 2 <= x <= family_tree.WIDTH - family_tree.BOX / 2


def test_a_lecture_missing_from_the_overview_is_named(monkeypatch):
    monkeypatch.setattr(family_tree, "lectures", lambda: [*lectures(), "absent"])
    with pytest.raises(ValueError, match=r"differs in \['absent'\]"):
        family_tree.overview()


@pytest.fixture
def build(tmp_path, monkeypatch):
    """A build in which one lecture has run."""
    monkeypatch.setenv("DGM_BUILD", str(tmp_path))
    report = {"lecture": "rbm", "profile": "quick", "seconds": 61.7, "device": "a <CPU>", "metrics": []}
    (tmp_path / "quick" / "results").mkdir(parents=True)
    (tmp_path / "quick" / "results" / "rbm.json").write_text(json.dumps(report), encoding="utf-8")
    return tmp_path


def test_the_table_of_lectures_has_their_times(build):
    rows = {line.split("](")[1].split(")")[0]: line for line in overview.lectures_markdown("quick")[2:]}
    assert list(rows) == [f"/notebooks/{name}.ipynb" for name in lectures()]
    assert rows["/notebooks/rbm.ipynb"].endswith("| 62\u00a0s |")
    assert rows["/notebooks/langevin.ipynb"].endswith("|  |")  # has not run
    assert all(f'data-lecture="{Path(name).stem}" data-what="minutes"' in row for name, row in rows.items())


def test_the_table_of_times(build):
    lines = overview.times_markdown("quick")
    assert any(line.startswith("| [Restricted") and "| 62\u00a0s |" in line for line in lines)
    assert lines[0] == "This build: a <CPU>."
    assert lines[-1].startswith("| all, one after the other | | | | 62\u00a0s |")


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, ""), (0.2, "0\u00a0s"), (99.4, "99\u00a0s"), (3140, "52\u00a0min")]
)
def test_durations(seconds, text):
    assert overview.duration(seconds) == text


def test_the_index_has_every_symbol_once():
    lines = overview.symbols_markdown()[2:]
    symbols = [line.split(" | ")[0] for line in lines]
    assert len(set(symbols)) == len(symbols)
    assert sum(line.count("](/notebooks/") for line in lines) >= 10 * len(lectures()) / 2
    for name in lectures():
        assert any(f"](/notebooks/{name}.ipynb)" in line for line in lines), name


def test_greek_letters_stand_at_their_name_and_decorations_do_not_count():
    rows = [(symbol, []) for symbol in (r"$z$", r"$\hat x_0$", r"$\epsilon$", r"$D$", r"$\theta$")]
    assert [symbol for symbol, _ in sorted(rows, key=overview._letters)] == [
        r"$D$", r"$\epsilon$", r"$\theta$", r"$\hat x_0$", r"$z$"
    ]  # fmt: skip
