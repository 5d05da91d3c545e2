"""The clean notebooks: each translation, what may not be left, the numbers, the addresses, the bootstrap cell."""

import re

import jupytext
import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

from tools import repo, sync
from tools.book.results import open_clean_notebook
from tools.export import colab
from tools.export.citations import Citations
from tools.export.labels import Target, misnumbered, targets
from tools.export.plain_markdown import Translator, equation, left_over
from tools.repo import ROOT, colab_address, lectures, page_address, repository, tag
from tools.verify.exercises import verdicts
from tools.verify.try_colab import Workshop

LABELS = {
    "eq-here": Target("equation", 12, "notebooks/rbm"),
    "eq-there": Target("equation", 45, "notebooks/langevin"),
    "fig-here": Target("figure", 7, "notebooks/rbm", "A caption."),
    "ex-here": Target("exercise", 3, "notebooks/rbm", "Bars"),
}


@pytest.fixture
def translator():
    keys = ["hinton2002", "fischer2014", "ackley1985"]
    return Translator("rbm", LABELS, Citations(keys))


@pytest.mark.parametrize(
    ("myst", "plain"),
    [
        ("by {eq}`eq-here`, so", "by (12), so"),
        ("by {eq}`eq-there`", f"by [(45)]({colab_address('langevin')})"),
        ("({numref}`fig-here`)", "(Fig. 7)"),
        ("see {ref}`ex-here`.", "see Exercise 3."),
        ("{cite:t}`hinton2002` and {cite:t}`ackley1985`", "Hinton (2002) and Ackley et al. (1985)"),
        ("said {cite:p}`hinton2002,fischer2014`.", "said (Hinton, 2002; Fischer and Igel, 2014)."),
        ("[the page](../book/results.md)", f"[the page]({page_address('book/results')})"),
        ("[next](langevin.ipynb)", f"[next]({colab_address('langevin')})"),
        ("[doc](https://example.org/a.html)", "[doc](https://example.org/a.html)"),
        ("```{margin}\n**Watch for** {eq}`eq-here`.\nIt is.\n```", "> **Watch for** (12).\n> It is."),
        (":::{note}\nText.\n:::", "> **Note**\n>\n> Text."),
        ("$$\nx = 1\n$$ (eq-here)\n\nNext", "$$\nx = 1\n\\tag{12}\n$$\n\nNext"),
        ("$$\nx = 1\n$$", "$$\nx = 1\n$$"),
        (
            "```{exercise-start} Bars\n:label: ex-here\n```\nDo it.\n```{exercise-end}\n```",
            "### Exercise 3: Bars\nDo it.",
        ),
        ("```python\n{eq}`eq-here`\n```", "```python\n{eq}`eq-here`\n```"),
        ("| a | b |\n|---|---|\n| {eq}`eq-here` | 1 |", "| a | b |\n|---|---|\n| (12) | 1 |"),
    ],
)
def test_a_translation(translator, myst, plain):
    assert translator.cell(myst).rstrip() == plain


@pytest.mark.parametrize(
    ("tags", "source", "title"),
    [
        (["check"], 'checks.true("first", x)\nchecks.close(f"k = {k}", a, b)', "✓ first · k = ..."),
        (["check"], "check_it(answer)", "The check"),
        (["imports"], "import math", "Set-up"),
        (["parameters"], "P = {}", "Set-up"),
        (["record", "hide-input"], "# The number\nrun.record()", "Code: The number"),
        (["plot"], "draw()", "Code"),
    ],
)
def test_what_is_no_method_is_a_form_with_a_title(translator, tags, source, title):
    (cell,) = colab.code(new_code_cell(source, metadata={"tags": tags}), translator)
    assert cell.source == f"# @title {title}\n{source}"
    assert cell.metadata["cellView"] == "form"
    assert cell.metadata["jupyter"] == {"source_hidden": True}


def test_the_first_screen_says_where_its_picture_is_made(translator):
    text = translator.cell("```{opening} fig-here\nChains from noise.\n```")
    assert text.strip() == "Chains from noise. (Made below: Fig. 7.)"
    with pytest.raises(ValueError, match="expected the label of figure"):
        translator.cell("```{opening} fig-nowhere\nChains.\n```")


def test_a_figure_has_an_absolute_address_a_number_and_its_words(translator):
    text = translator.cell(
        "```{figure} ../figures/rbm_graph.svg\n:name: fig-here\n:alt: Two rows.\n:width: 560px\n\nThe graph.\n```"
    )
    assert f'src="https://raw.githubusercontent.com/{repository()[0]}/colab/figures/rbm_graph.svg' in text
    assert 'alt="Two rows." width="560"' in text
    assert "**Fig. 7.** The graph." in text
    assert translator.pictures == ["figures/rbm_graph.svg"]


def test_a_solution_is_folded_over_cells(translator):
    start = "````{solution-start} ex-here\n:class: dropdown\n````\n"
    end = "Because.\n````{solution-end}\n````\n"
    assert translator.cell(start) == "#### Solution of Exercise 3"
    (cell,) = colab.code(new_code_cell("x = 1", metadata={"tags": ["solution"]}), translator)
    assert cell.source == "# @title Solution of Exercise 3\nx = 1"
    assert cell.metadata["cellView"] == "form"
    assert cell.metadata["jupyter"] == {"source_hidden": True}
    assert translator.cell(end).startswith(
        "<details>\n<summary>Solution of Exercise 3, in words</summary>\n\nBecause.\n"
    )
    assert translator.cell("After it.") == "After it."
    (cell,) = colab.code(new_code_cell("x = 1"), translator)
    assert "cellView" not in cell.metadata


def test_a_picture_keeps_its_caption_and_its_alternative_text(translator):
    figure = {"figure": {"caption": "A *grid*.", "name": "fig-here"}, "image": {"alt": "Ones < sevens."}}
    _, under = colab.code(new_code_cell("draw()", metadata={"mystnb": figure}), translator)
    assert under.source.startswith("**Fig. 7.** A *grid*.\n\n<details>")
    assert "Ones &lt; sevens." in under.source
    del figure["image"]  # a film has its text inside
    _, under = colab.code(new_code_cell("film()", metadata={"mystnb": figure}), translator)
    assert under.source == "**Fig. 7.** A *grid*."


@pytest.mark.parametrize(
    "myst",
    [
        "{unknown}`x`",
        "```{unknown}\nx\n```",
        "{eq}`eq-nowhere`",
        "{eq}`fig-here`",
        "{cite:t}`nobody1900`",
        "[a](../book/nothing.md)",
        "[a](nothing.ipynb)",
        "$$\nx\n$$ (eq-nowhere)",
        "````{solution-end}\n````",
        "- item\n\n  ```{margin}\n  x\n  ```",
        "```{figure} ../figures/nothing.svg\n:name: fig-here\n:alt: x\n\nx\n```",
    ],
)
def test_what_has_no_translation_is_an_error(translator, myst):
    with pytest.raises((ValueError, KeyError)):
        translator.cell(myst)


@pytest.mark.parametrize(
    "text",
    [
        "a {eq}`x` b",
        "{cite:t}`x`",
        "```{margin}\nx\n```",
        ":::{note}\nx\n:::",
        "$$\nx\n$$ (eq-x)",
        "(a-target)=\n",
        "% a comment",
        "+++",
        "{{ name }}",
        "[a](rbm.ipynb)",
        "![a](../figures/a.svg)",
    ],
)
def test_what_is_left_is_found(text):
    assert left_over(text)


@pytest.mark.parametrize(
    "text",
    [r"$\mathcal{N}$ is `{x: 1}`, 20 % of [it](https://a.org/b.html)", "$$\nx\n$$\n\n(so)", "```python\n{}\n```"],
)
def test_plain_markdown_is_not_left_over(text):
    assert not left_over(text)


def test_a_number_stands_outside_of_every_environment():
    text = equation("\n\\begin{aligned}\na &= b \\\\\n&= c\n\\end{aligned}\n", 5)
    assert text.index(r"\end{aligned}") < text.index(r"\tag{5}")
    assert equation("a \\\\ b", 5) == "$$\n\\begin{split}\na \\\\ b\n\\end{split}\n\\tag{5}\n$$"
    with pytest.raises(ValueError, match="aligned"):
        equation("\\begin{align}\na\n\\end{align}", 5)


def test_works_of_the_same_people_and_year_get_letters(tmp_path):
    path = tmp_path / "a.bib"
    entry = "@misc{{{0}, author = {{Ho, A. and Xu, B. and Li, C.}}, title = {{Work {0}}}, year = {{2020}}}}\n"
    path.write_text(entry.format("one") + entry.format("two"), encoding="utf-8")
    citations = Citations(["two", "one", "two"], path)
    assert citations.textual(["two", "one"]) == "Ho et al. (2020b), Ho et al. (2020a)"
    first, second = citations.references().splitlines()
    assert re.match(r"- \*\*Ho et al. \(2020a\).*Work one", first)
    assert re.match(r"- \*\*Ho et al. \(2020b\).*Work two", second)


def test_labels_are_counted_through_the_book(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "_toc.yml").write_text(
        "root: a/index\nparts:\n  - chapters:\n    - file: a/two\n      sections:\n      - file: a/three\n",
        encoding="utf-8",
    )
    (tmp_path / "a" / "index.md").write_text(
        "# A\n\n$$\nx\n$$ (eq-1)\n\n```{figure} b.svg\n:alt: b\n\nNo name.\n```\n", encoding="utf-8"
    )
    (tmp_path / "a" / "two.py").write_text(
        '# %% [markdown]\nr"""\n# T\n\n```{margin}\n$$\ny\n$$ (eq-2)\n```\n\n$$\nz\n$$\n"""\n\n'
        '# %% mystnb={"figure": {"caption": "C", "name": "fig-2"}}\nx = 1\n',
        encoding="utf-8",
    )
    (tmp_path / "a" / "three.md").write_text(
        "```{exercise-start} E\n:label: ex-1\n```\n\n$$\nz\n$$ (eq-3)\n", encoding="utf-8"
    )
    found = {label: (target.words, target.page) for label, target in targets(tmp_path).items()}
    assert found == {
        "eq-1": ("(1)", "a/index"),
        "eq-2": ("(2)", "a/two"),
        "fig-2": ("Fig. 2", "a/two"),
        "ex-1": ("Exercise 1", "a/three"),
        "eq-3": ("(3)", "a/three"),
    }
    (tmp_path / "a" / "three.md").write_text("$$\nz\n$$ (eq-2)\n", encoding="utf-8")
    with pytest.raises(ValueError, match="eq-2"):
        targets(tmp_path)


def test_a_number_that_the_page_does_not_show_is_found(tmp_path):
    page = tmp_path / "notebooks" / "rbm.html"
    page.parent.mkdir()
    text = (
        '<div class="math" id="equation-eq-here">\n<span class="eqno">(12)<a>#</a></span></div>'
        '<figure class="align-default" id="fig-here"><img><figcaption><span class="caption-number">Fig. 7 </span>'
        '</figcaption></figure><div class="exercise admonition" id="ex-here">\n\n<p class="admonition-title">'
        '<span class="caption-number">Exercise 3 </span></p></div>'
    )
    labels = {label: target for label, target in LABELS.items() if label != "eq-there"}
    page.write_text(text, encoding="utf-8")
    assert not misnumbered(tmp_path, labels)
    for old, new in [("(12)", "(13)"), ("Fig. 7", "Fig. 8"), ("Exercise 3", "Exercise 4"), ("eq-here", "eq-gone")]:
        page.write_text(text.replace(old, new), encoding="utf-8")
        assert len(misnumbered(tmp_path, labels)) == 1


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    return [nbformat.read(path, 4) for path in colab.export(tmp_path_factory.mktemp("colab"))]


def test_every_lecture_is_exported_with_all_its_code(exported):
    assert len(exported) == len(lectures())
    for lecture, notebook in zip(lectures(), exported, strict=True):
        source = jupytext.read(ROOT / "notebooks" / f"{lecture}.py")
        ours = [re.sub(r"\A# @title .*\n", "", cell.source) for cell in notebook.cells if cell.cell_type == "code"]
        theirs = [cell.source.replace(f"@{repository()[1]}", f"@{tag()}") for cell in source.cells]
        assert ours == [text for text, cell in zip(theirs, source.cells, strict=True) if cell.cell_type == "code"]


def test_every_equation_and_figure_of_a_lecture_has_its_number(exported):
    labels = targets()
    for lecture, notebook in zip(lectures(), exported, strict=True):
        text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
        for pattern, kind in [(r"\\tag\{(\d+)\}", "equation"), (r"^\*\*Fig\. (\d+)\.\*\*", "figure")]:
            numbers = [
                target.number
                for target in labels.values()
                if (target.page, target.kind) == (f"notebooks/{lecture}", kind)
            ]
            assert [int(number) for number in re.findall(pattern, text, re.MULTILINE)] == numbers


def test_every_lecture_says_where_it_comes_from_and_what_it_cites(exported):
    for lecture, notebook in zip(lectures(), exported, strict=True):
        first, last = notebook.cells[0].source, notebook.cells[-1].source
        assert colab_address(lecture) in first
        assert page_address(f"notebooks/{lecture}") in first
        assert last.startswith("## References\n")
        folded = [
            cell.metadata.get("cellView") for cell in notebook.cells if "solution" in cell.metadata.get("tags", [])
        ]
        assert set(folded) == {"form"}


def test_the_bootstrap_cell_installs_the_tag_of_the_version():
    assert f'version = "{tag()[1:]}"\n' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    address, branch = repository()
    assert colab.at_tag(f"git+https://github.com/{address}@{branch}") == f"git+https://github.com/{address}@{tag()}"
    with pytest.raises(ValueError, match="once"):
        colab.at_tag("git+https://github.com/SOMEBODY/ELSE@main")


def test_another_tag_is_refused(monkeypatch):
    monkeypatch.setattr("sys.argv", ["colab.py", "--tag", "v999"])
    with pytest.raises(SystemExit, match="v999"):
        colab.main()


@pytest.mark.parametrize(
    ("url", "page"),
    [
        ("https://github.com/Some-One/book", "https://some-one.github.io/book/notebooks/rbm.html"),
        ("https://github.com/one/one.github.io", "https://one.github.io/notebooks/rbm.html"),
    ],
)
def test_addresses_have_one_source(tmp_path, url, page):
    (tmp_path / "_config.yml").write_text(f"repository:\n  url: {url}\n  branch: main\n", encoding="utf-8")
    assert page_address("notebooks/rbm", tmp_path) == page
    name = url.removeprefix("https://github.com/")
    assert colab_address("rbm", tmp_path) == (
        f"https://colab.research.google.com/github/{name}/blob/{repo.COLAB}/notebooks/rbm.ipynb"
    )


def test_the_buttons_of_the_readme_and_of_the_book_open_the_clean_notebooks():
    readme = sync.expected()[ROOT / "README.md"]
    buttons = {"buttons": [{"text": "Colab", "url": "of the theme"}]}
    for lecture in lectures():
        assert colab_address(lecture) in readme
        open_clean_notebook(None, f"notebooks/{lecture}", "", {"header_buttons": [{}, buttons]}, None)
        assert buttons["buttons"][0]["url"] == colab_address(lecture)
    open_clean_notebook(None, "book/index", "", {}, None)  # no lecture, no button
    with pytest.raises(Exception, match="one Colab button"):
        open_clean_notebook(None, "notebooks/rbm", "", {"header_buttons": [{}]}, None)


def test_the_workflow_publishes_on_the_branch_that_the_buttons_open():
    text = (ROOT / ".github" / "workflows" / "publish.yml").read_text(encoding="utf-8")
    assert f"--initial-branch {repo.COLAB}\n" in text
    assert f'.git" {repo.COLAB}\n' in text


def exercise(stub="not yet", solved="right", spoilt="refused: CheckFailed: 2 is not 1: WRONG"):
    """A notebook with one exercise, as it looks after it ran, and the number of its cells without probes."""

    def cell(source, tags, text):
        return new_code_cell(source, metadata={"tags": tags}, outputs=[new_output("stream", text=text + "\n")])

    cells = [
        cell("def answer():\n    return None", ["exercise"], ""),
        cell("def check(a): ...\n\n\ncheck(answer)", ["check"], stub),
        cell("check(answer)", ["solution"], solved),
        new_code_cell("..."),
        cell("...", [], spoilt),
    ]
    return new_notebook(cells=cells), 3


def test_the_verdicts_of_an_exercise():
    assert not verdicts(*exercise())
    assert verdicts(*exercise(stub="right"))
    assert verdicts(*exercise(solved="one value: ok"))
    assert verdicts(*exercise(spoilt="right"))
    assert verdicts(*exercise(spoilt="refused: NameError: x"))


LECTURE = """bootstrap
{bootstrap}
---imports
import dgm
from dgm import checks
---exercise
def answer():
    return None
---check
def check_answer(answer):
    if answer() is None:
        return print("not yet")
    checks.close("the answer", answer(), 42)
    return print("right")


check_answer(answer)
---solution
def answer():
    return 42


check_answer(answer)"""


def small_lecture(tmp_path, old="", new=""):
    """A clean notebook with nothing but the bootstrap cell and an exercise, and `new` in place of `old`."""
    script = jupytext.read(ROOT / "notebooks" / "rbm.py")
    bootstrap = next(cell.source for cell in script.cells if "bootstrap" in cell.metadata.get("tags", []))
    text = LECTURE.format(bootstrap=colab.at_tag(bootstrap))
    assert old in text
    parts = [part.split("\n", 1) for part in text.replace(old, new).split("\n---")]
    notebook = new_notebook(cells=[new_code_cell(source, metadata={"tags": [tag]}) for tag, source in parts])
    nbformat.write(notebook, tmp_path / "small.ipynb")
    return tmp_path / "small.ipynb"


@pytest.fixture(scope="module")
def workshop(tmp_path_factory):
    return Workshop(tmp_path_factory.mktemp("workshop"))


def test_a_small_lecture_ends_well_in_a_fresh_environment(tmp_path, workshop):
    assert workshop.try_lecture(small_lecture(tmp_path))[0] == []


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('"-q"', '"-q", "--upgrade", "--upgrade-strategy", "eager"', "to install dgm"),
        ("google.colab", "google.elsewhere", "No module named 'dgm'"),
        (f"@{tag()}", "@v0", "returned non-zero exit status"),
        ("return 42", "return 43", "the answer: exact 42, computed 43"),
        ("return None", "return 42", "`not yet`"),
    ],
    ids=["upgrades", "installs nothing", "another tag", "a wrong solution", "a stub that is solved"],
)
def test_a_fault_in_a_small_lecture_is_found(tmp_path, workshop, old, new, problem):
    found, _ = workshop.try_lecture(small_lecture(tmp_path, old, new))
    assert any(problem in what for what in found), found
