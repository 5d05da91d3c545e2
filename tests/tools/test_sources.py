"""The repository holds what it promises, and each guard fails on the fault that it is there for."""

import json
import shutil

import pytest

from tools.repo import ROOT, tracked
from tools.sync import expected
from tools.verify import sources


def test_the_repository_is_in_order():
    files = tracked()
    if files is None:  # a downloaded archive
        files = [path.relative_to(ROOT).as_posix() for path in ROOT.glob("[!._]*/**/*") if path.is_file()]
    found = [
        *sources.outputs_in_notebooks(),
        *sources.pairs_out_of_step(),
        *sources.generated_files_out_of_step(),
        *sources.missing_from_toc(),
        *sources.figures_without_words(),
        *sources.figures_with_an_echo(),
        *sources.unknown_tags(),
        *sources.long_cells(),
        *sources.drifted_twins(),
        *sources.large_files(ROOT, files),
        *sources.hosts_in_lock(),
        *sources.unpinned_actions(),
        *sources.missing_programs(),
        *sources.accents_in_tex(),
        *sources.claims_of_seeds(),
    ]
    assert not found, "\n".join(found)


@pytest.fixture
def copy(tmp_path):
    """A copy of everything the checks read, to plant faults in."""
    for name in ("notebooks", "dgm", ".github"):
        shutil.copytree(
            ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints")
        )
    for name in ("_config.yml", "_toc.yml", "README.md", "requirements.txt"):
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "results").mkdir()
    shutil.copy(ROOT / "results" / "times.json", tmp_path / "results")  # README has the minutes to read
    return tmp_path


def replace(path, old, new):
    text = path.read_text(encoding="utf-8")
    assert old in text, f"{path.name}: the fault can't be planted, {old!r} is not there"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def test_outputs_in_a_notebook(copy):
    path = copy / "notebooks" / "rbm.ipynb"
    notebook = json.loads(path.read_text(encoding="utf-8"))
    cell = next(cell for cell in notebook["cells"] if cell["cell_type"] == "code")
    cell["outputs"] = [{"output_type": "stream", "name": "stdout", "text": ["1"]}]
    path.write_text(json.dumps(notebook), encoding="utf-8")
    assert sources.outputs_in_notebooks(copy)


@pytest.mark.parametrize(
    ("old", "new"), [("softplus", "softmax"), ('tags=["check"]', 'tags=["plot"]'), ("nats", "bits")]
)
def test_a_pair_out_of_step(copy, old, new):
    assert not sources.pairs_out_of_step(copy)
    replace(copy / "notebooks" / "rbm.py", old, new)
    assert sources.pairs_out_of_step(copy)


def test_half_a_pair(copy):
    (copy / "notebooks" / "rbm.ipynb").unlink()
    assert sources.pairs_out_of_step(copy)
    shutil.copy(ROOT / "notebooks" / "rbm.ipynb", copy / "notebooks" / "other.ipynb")
    assert any("other" in problem for problem in sources.pairs_out_of_step(copy))


def test_sync_writes_the_same_notebook_again(copy):
    texts = expected(copy)
    assert texts[copy / "notebooks" / "rbm.ipynb"] == (ROOT / "notebooks" / "rbm.ipynb").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("return self.b + h @ self.W.T", "return h @ self.W.T"),
        ("@torch.no_grad()\ndef phase_gradient", "def phase_gradient"),
        ("yield v\n", "yield h\n"),
    ],
)
def test_a_twin_that_drifted(copy, old, new):
    assert not sources.drifted_twins(copy)
    replace(copy / "dgm" / "models" / "rbm.py", old, new)
    assert sources.drifted_twins(copy)


def test_a_twin_may_differ_in_words_and_annotations(copy):
    replace(copy / "dgm" / "models" / "rbm.py", "E(v, h) in nats", "h")
    replace(copy / "dgm" / "models" / "rbm.py", "def sample_bernoulli(logits: Tensor,", "def sample_bernoulli(logits,")
    assert not sources.drifted_twins(copy)


def test_a_twin_that_is_gone(copy):
    replace(copy / "dgm" / "models" / "rbm.py", "def gibbs(", "def gibbs_sampler(")
    assert sources.drifted_twins(copy)


@pytest.mark.parametrize("key", ['"alt": "', '"caption": "'])
def test_a_figure_without_words(copy, key):
    assert not sources.figures_without_words(copy)
    path = copy / "notebooks" / "rbm.py"
    head, tail = path.read_text(encoding="utf-8").split(key, 1)
    path.write_text(head + key + tail[tail.index('"') :], encoding="utf-8")
    assert sources.figures_without_words(copy)


def test_a_figure_that_echoes_its_last_value(copy):
    assert not sources.figures_with_an_echo(copy)
    path = copy / "notebooks" / "rbm.py"
    text = path.read_text(encoding="utf-8")
    cut = text.index("# %%", text.index('mystnb={"figure"') + 10)
    path.write_text(text[:cut] + 'ax.set_xlabel("pixel")\n\n' + text[cut:], encoding="utf-8")
    assert sources.figures_with_an_echo(copy)


def test_a_film_without_caption(copy):
    replace(copy / "notebooks" / "vae_keras.py", '"caption": "The decoder along the circle', '"words": "The decoder')
    assert sources.figures_without_words(copy)


def test_a_lecture_missing_from_the_toc(copy):
    assert not sources.missing_from_toc(copy)
    replace(copy / "_toc.yml", "      - file: notebooks/rbm\n", "      - file: notebooks/nothing\n")
    found = sources.missing_from_toc(copy)
    assert any("rbm is missing" in problem for problem in found)
    assert any("nothing, which does not exist" in problem for problem in found)


def test_a_cell_that_is_too_long(copy):
    assert not sources.long_cells(copy)
    path = copy / "notebooks" / "rbm.py"
    lines = "".join(f"line_{i} = {i}\n" for i in range(sources.MAX_CELL_LINES))
    path.write_text(path.read_text(encoding="utf-8") + "\n# %%\n" + lines, encoding="utf-8")
    assert not sources.long_cells(copy)
    path.write_text(path.read_text(encoding="utf-8") + "one_more = 1\n", encoding="utf-8")
    assert sources.long_cells(copy)


def test_an_unknown_tag(copy):
    replace(copy / "notebooks" / "rbm.py", 'tags=["check"]', 'tags=["chekc"]')
    assert sources.unknown_tags(copy)


def test_the_address_has_one_source(copy):
    assert not sources.generated_files_out_of_step(copy)
    replace(copy / "_config.yml", "https://github.com/", "https://github.com/somebody-else/book-of-theirs #")
    found = " ".join(sources.generated_files_out_of_step(copy))
    assert "README.md" in found
    assert "rbm.py" in found
    for path, text in expected(copy).items():
        path.write_text(text, encoding="utf-8")
    assert not sources.generated_files_out_of_step(copy)
    assert "somebody-else/book-of-theirs" in (copy / "notebooks" / "rbm.ipynb").read_text(encoding="utf-8")
    readme = (copy / "README.md").read_text(encoding="utf-8")
    assert "https://somebody-else.github.io/book-of-theirs/book/index.html" in readme
    assert "git clone https://github.com/somebody-else/book-of-theirs" in readme


def test_a_large_file(tmp_path):
    (tmp_path / "big.bin").write_bytes(bytes(300_001))
    assert sources.large_files(tmp_path, ["big.bin"])


def test_a_host_in_the_lock(copy):
    replace(copy / "requirements.txt", "\n", "\n--extra-index-url https://example.org/simple\n")
    assert sources.hosts_in_lock(copy)


def test_an_action_that_is_not_pinned(copy):
    workflow = copy / ".github" / "workflows" / "extra.yml"
    workflow.parent.mkdir(parents=True, exist_ok=True)
    workflow.write_text("on: push\njobs: {a: {steps: [{uses: actions/checkout@v4}]}}\n", encoding="utf-8")
    found = " ".join(sources.unpinned_actions(copy))
    assert "not pinned" in found
    assert "permissions" in found


@pytest.mark.parametrize(
    ("name", "line", "right", "wrong"),
    [
        ("Makefile", "\tpython -m {}\n", "tools.sync", "tools.guards"),
        ("Makefile", "\t$(BIN)/python -m {}\n", "tools.book.build", "tools.book"),
        ("_config.yml", "sphinx: {{local_extensions: {{{}: .}}}}\n", "tools.book.fold", "tidy_pages"),
        ("CONTRIBUTING.md", "See `{}`.\n", "tools/sync.py", "tools/book.py"),
        (".github/workflows/extra.yml", "run: python -c 'from {} import ROOT'\n", "tools.repo", "tools.guards"),
    ],
)
def test_a_program_that_is_not_there(tmp_path, name, line, right, wrong):
    shutil.copytree(ROOT / "tools", tmp_path / "tools", ignore=shutil.ignore_patterns("__pycache__"))
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(line.format(right), encoding="utf-8")
    assert not sources.missing_programs(tmp_path)
    path.write_text(line.format(wrong), encoding="utf-8")
    assert sources.missing_programs(tmp_path)


@pytest.mark.parametrize(
    "name", [r"H{\"a}nggi", r"Carreira-Perpi{\~n}an", r"S{\o}nderby", r"{\'A}lvarez", r"{\v{S}}ima"]
)
def test_a_name_that_the_search_does_not_find(tmp_path, name):
    (tmp_path / "book").mkdir()
    bibliography = tmp_path / "book" / "references.bib"
    bibliography.write_text("@misc{a, author = {Hänggi, P.}, title = {A \\& B, RBM\\_small}}\n", encoding="utf-8")
    assert sources.accents_in_tex(tmp_path) == []
    bibliography.write_text(f"@misc{{a, author = {{{name}, P.}}}}\n", encoding="utf-8")
    assert len(sources.accents_in_tex(tmp_path)) == 1


@pytest.mark.parametrize(("edited", "words", "fine"), [
    (True, "Seen on five seeds.", True),
    (True, "Seen on 5 seeds.", True),
    (True, "Seen on four seeds.", False),
    (False, "Seen on four seeds.", True),
    (True, "It depends on the seeds, on our seeds.", True),
])  # fmt: skip
def test_a_claim_about_seeds(tmp_path, edited, words, fine):
    for name in ("book", "notebooks", "results/seeds"):
        (tmp_path / name).mkdir(parents=True)
    entry = f"lectures:\n  rbm: {{edited: {str(edited).lower()}}}\n"
    (tmp_path / "book" / "lectures.yml").write_text(entry, encoding="utf-8")
    (tmp_path / "results" / "seeds" / "rbm.json").write_text('{"seeds": [0, 1, 2, 3, 4]}', encoding="utf-8")
    text = f'# %% [markdown]\n"""\n{words}\n"""\n'
    (tmp_path / "notebooks" / "rbm.py").write_text(text, encoding="utf-8")
    assert (sources.claims_of_seeds(tmp_path) == []) is fine
