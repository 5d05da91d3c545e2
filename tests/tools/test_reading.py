"""What a page asks of its reader is counted rightly, and a lecture that is through keeps its budget."""

import pytest

from tools import reading

PAGE = """<html><body><nav><p>not this</p></nav><article class="bd-article"><section><h1>Title words</h1>
<p class="dgm-ran">Ran in a minute.</p>
<p>Five words and <span class="math">\\(x\\)</span> a formula.</p>
<ul><li>two words</li><li><p>three more words</p></li></ul>
<div class="math">\\[a \\\\ b\\]</div>
<figure><img src="a.png"><figcaption><p>a caption of words</p></figcaption></figure>
<table><tr><td><p>cells</p></td></tr></table>
<div class="cell"><div class="cell_input"><pre>x = 1

y = 2
</pre></div></div>
<div class="cell tag_check"><details class="dgm-fold dgm-check"><summary>claims</summary>
<div class="cell_input"><pre>check()</pre></div></details></div>
<div class="exercise"><p>words of an exercise</p></div>
<section><h2>Further</h2><p>not counted</p><div class="cell"><div class="cell_input"><pre>z</pre></div></div></section>
</section></article></body></html>"""


def test_what_is_counted():
    found = reading.measure(PAGE)
    assert found == reading.Measure(
        words=5 + 2 + 3, code_lines=2, code_cells=1, check_lines=0, equation_lines=2, pictures=1
    )


def test_an_open_check_is_counted():
    page = PAGE.replace("<details", "<div").replace("</details>", "</div>")
    assert reading.measure(page).check_lines == 1
    assert reading.over_budget("rbm", reading.measure(page)) == ["rbm: 1 check_lines, at most 0 expected"]


def test_minutes():
    found = reading.Measure(words=2_000, code_lines=300, code_cells=20, check_lines=0, equation_lines=20, pictures=10)
    assert found.minutes == 30  # 10 + 10 + 5 + 3.3, in steps of five
    assert reading.duration(45) == "45\u00a0min"
    assert reading.duration(60) == "1\u00a0h"
    assert reading.duration(75) == "1\u00a0h 15\u00a0min"


@pytest.mark.parametrize(("name", "over"), [("rbm", True), ("diffusion_derivation", False)])
def test_one_lecture_may_have_more_words(name, over):
    found = reading.Measure(words=4_000, code_lines=1, code_cells=1, check_lines=0, equation_lines=0, pictures=0)
    assert bool(reading.over_budget(name, found)) is over


def test_counts_are_written_where_a_page_has_a_place(tmp_path):
    (tmp_path / "notebooks").mkdir()
    lecture, index = tmp_path / "notebooks" / "rbm.html", tmp_path / "index.html"
    lecture.write_text(PAGE, encoding="utf-8")
    index.write_text(reading.place("rbm", "minutes") + reading.place("rbm", "words"), encoding="utf-8")
    found = reading.measures(tmp_path, ["rbm", "elbo"])
    assert list(found) == ["rbm"]
    reading.fill_in(tmp_path, found)
    once = index.read_text(encoding="utf-8")
    assert ">5\u00a0min<" in once
    assert ">10<" in once
    reading.fill_in(tmp_path, found)
    assert index.read_text(encoding="utf-8") == once
    assert lecture.read_text(encoding="utf-8") == PAGE
