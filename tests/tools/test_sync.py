"""What `make sync` writes and never compares: the address of the repository, and times."""

import json
import shutil
import subprocess

import pytest

from tools import sync
from tools.environment import git_free
from tools.repo import ROOT, repository
from tools.runs import times


@pytest.fixture
def copy(tmp_path):
    """A repository without lectures that does not know its address."""
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "results").mkdir()
    (tmp_path / "_toc.yml").write_text("root: book/index\nparts: []\n", encoding="utf-8")
    settings = "repository:\n  url: https://github.com/OWNER/REPO\n  branch: main\n"
    (tmp_path / "_config.yml").write_text(settings, encoding="utf-8")
    shutil.copy(ROOT / "README.md", tmp_path)
    sync.write(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("remote", "address"),
    [
        ("https://github.com/a-b/c.d.git", "a-b/c.d"),
        ("https://github.com/a/b", "a/b"),
        ("https://token@github.com/a/b.git", "a/b"),
        ("git@github.com:a/b.git", "a/b"),
        ("ssh://git@github.com/a/b", "a/b"),
        ("/home/me/book", "OWNER/REPO"),
        ("https://git.example.org/a/b.git", "OWNER/REPO"),
        (None, "OWNER/REPO"),
    ],
)
def test_the_address_is_that_of_the_remote(copy, remote, address):
    subprocess.run(["git", "init", "-q", str(copy)], check=True, env=git_free())
    if remote:
        command = ["git", "-C", str(copy), "remote", "add", "origin", remote]
        subprocess.run(command, check=True, env=git_free())
    assert sync.out_of_step(copy) == {}  # a clone with another remote passes its tests
    sync.write(copy)
    assert repository(copy)[0] == address
    assert sync.out_of_step(copy) == {}


def test_an_address_that_is_set_stays(copy):
    settings = copy / "_config.yml"
    settings.write_text(settings.read_text(encoding="utf-8").replace("OWNER/REPO", "x/y"), encoding="utf-8")
    subprocess.run(["git", "init", "-q", str(copy)], check=True, env=git_free())
    command = ["git", "-C", str(copy), "remote", "add", "origin", "git@github.com:a/b.git"]
    subprocess.run(command, check=True, env=git_free())
    assert sync.take_address(copy) is None
    assert repository(copy)[0] == "x/y"


def test_times_are_written_and_not_compared(copy):
    assert times.main(["--setup", "61", "--book", "1100", "--test", "700", "--machine", "two cores"], copy) == 0
    assert sync.out_of_step(copy) == {}
    assert sync.write(copy) == ["README.md: times written"]
    text = (copy / "README.md").read_text(encoding="utf-8")
    assert "Measured on two cores: `make setup` 1 minute," in text
    assert "`make book` 20 minutes," in text
    assert "`make test` 10 minutes." in text
    assert times.main(["--test", "290"], copy) == 0  # the others stay
    assert json.loads((copy / "results" / "times.json").read_text(encoding="utf-8"))["targets"]["book"] == 1100
    sync.write(copy)
    assert "`make test` 5 minutes." in (copy / "README.md").read_text(encoding="utf-8")


def test_a_missing_time_is_named(copy):
    with pytest.raises(SystemExit, match="missing: test"):
        times.main(["--setup", "61", "--book", "1100"], copy)


def test_jupyter_shows_a_line_in_place_of_a_proof():
    script = (
        '# %% tags=["check"]\nchecks.true("a claim", x)\n\n# %% tags=["imports"]\nimport math\n\n'
        '# %% tags=["exercise"]\ndef f():\n    return None\n'
    )
    check, imports, exercise = json.loads(sync.notebook_text(script))["cells"]
    assert "".join(check["source"]) == '# ✓ a claim\nchecks.true("a claim", x)'
    assert check["metadata"]["jupyter"] == imports["metadata"]["jupyter"] == {"source_hidden": True}
    assert "jupyter" not in exercise["metadata"]
