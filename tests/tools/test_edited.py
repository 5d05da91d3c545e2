"""Notebooks that people have worked in are kept, whatever is written, exported or cleaned."""

import json
import shutil

import pytest

from tools import clean, sync
from tools.edited import is_edited, put_aside
from tools.export import colab
from tools.repo import ROOT
from tools.verify import sources


@pytest.fixture
def copy(tmp_path):
    """A repository of one lecture."""
    (tmp_path / "notebooks").mkdir()
    for name in ("notebooks/rbm.py", "notebooks/rbm.ipynb", "_config.yml", "README.md"):
        shutil.copy(ROOT / name, tmp_path / name)
    toc = "root: book/index\nparts:\n  - caption: A\n    chapters:\n      - file: notebooks/rbm\n"
    (tmp_path / "_toc.yml").write_text(toc, encoding="utf-8")
    sync.write(tmp_path)
    return tmp_path


def work_in(path, text="x = 'my work'"):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    next(cell for cell in notebook["cells"] if cell["cell_type"] == "code")["source"] = [text]
    path.write_text(json.dumps(notebook), encoding="utf-8")


def test_running_a_notebook_does_not_edit_it(copy):
    path = copy / "notebooks" / "rbm.ipynb"
    notebook = json.loads(path.read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cell["execution_count"] = 1
            cell["outputs"] = [{"output_type": "stream", "name": "stdout", "text": ["1"]}]
    path.write_text(json.dumps(notebook), encoding="utf-8")
    assert not is_edited(path)
    work_in(path)
    assert is_edited(path)


def test_sync_puts_an_edited_notebook_aside_and_says_so(copy):
    path = copy / "notebooks" / "rbm.ipynb"
    written = path.read_text(encoding="utf-8")
    work_in(path)
    assert any(
        "rbm.ipynb was edited by hand: your version is now notebooks/rbm-yours" in line for line in sync.write(copy)
    )
    assert path.read_text(encoding="utf-8") == written
    assert "my work" in (copy / "notebooks" / "rbm-yours.ipynb").read_text(encoding="utf-8")
    work_in(path, "y = 'more of it'")
    sync.write(copy)
    assert "more of it" in (copy / "notebooks" / "rbm-yours-2.ipynb").read_text(encoding="utf-8")


def test_an_edit_of_the_script_puts_nothing_aside(copy):
    script = copy / "notebooks" / "rbm.py"
    script.write_text(script.read_text(encoding="utf-8") + "\n# %%\nx = 1\n", encoding="utf-8")
    assert sync.write(copy) == ["notebooks/rbm.ipynb written"]
    assert len(list((copy / "notebooks").iterdir())) == 2


def test_the_export_keeps_what_was_solved_in_it(tmp_path):
    first = colab.export(tmp_path)
    work_in(first[1])
    own = tmp_path / "notebooks" / "mine.ipynb"
    own.write_text("{}", encoding="utf-8")
    colab.export(tmp_path)
    assert "my work" in first[1].with_name(f"{first[1].stem}-yours.ipynb").read_text(encoding="utf-8")
    assert "my work" not in first[1].read_text(encoding="utf-8")
    assert own.exists()
    colab.export(tmp_path)
    assert len(list((tmp_path / "notebooks").glob("*yours*"))) == 1


def test_cleaning_keeps_it_too(tmp_path, capsys):
    built = tmp_path / "_build" / "colab" / "notebooks"
    built.mkdir(parents=True)
    shutil.copy(ROOT / "notebooks" / "rbm.ipynb", built)
    shutil.copy(ROOT / "notebooks" / "elbo.ipynb", built)
    work_in(built / "elbo.ipynb")
    (tmp_path / "_build" / "quick" / "html").mkdir(parents=True)
    clean.main(str(tmp_path))
    assert [path.name for path in (tmp_path / "_build").rglob("*") if path.is_file()] == ["elbo.ipynb"]
    assert "kept, since you have edited it: _build/colab/notebooks/elbo.ipynb" in capsys.readouterr().out
    (built / "elbo.ipynb").unlink()
    clean.main(str(tmp_path))
    assert not (tmp_path / "_build").exists()


def test_a_notebook_of_ones_own_beside_the_lectures_is_nobodys_business(monkeypatch):
    """It is not committed, so that no check of the sources speaks of it."""
    own = ROOT / "notebooks" / "my-own-notes.ipynb"
    own.write_text('{"cells": [{"cell_type": "code", "outputs": [1], "execution_count": 1}]}', encoding="utf-8")
    try:
        assert sources.pairs_out_of_step() == []
        assert sources.outputs_in_notebooks() == []
        assert own not in sync.out_of_step()
    finally:
        own.unlink()


def test_names_do_not_collide(tmp_path):
    for expected in ("a-yours.ipynb", "a-yours-2.ipynb", "a-yours-3.ipynb"):
        (tmp_path / "a.ipynb").write_text("{}", encoding="utf-8")
        assert put_aside(tmp_path / "a.ipynb") == str(tmp_path / expected)
