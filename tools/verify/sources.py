"""Checks of the sources: each function returns what is wrong, in words, and nothing where all is well."""

from __future__ import annotations

import ast
import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import jupytext
import yaml

from tools.code import dump, without_words
from tools.repo import ROOT, edited, lectures, tracked
from tools.sync import notebook_text, out_of_step

TAGS = {"parameters", "bootstrap", "imports", "check", "plot", "exercise", "solution", "method", "record"}
BOOK_TAGS = {"hide-input", "hide-output", "hide-cell", "remove-input", "remove-output", "remove-cell", "full-width"}
MAX_CELL_LINES = 40


def scripts(root: Path = ROOT) -> list[Path]:
    """The lectures as text."""
    return sorted((root / "notebooks").glob("*.py"))


def _cells(path: Path) -> list[tuple[str, str, dict[str, Any]]]:
    """Type, source and metadata of each cell, without ids and outputs."""
    return _cells_of_text(path.read_text(encoding="utf-8"), path.suffix)


@cache  # several checks read each lecture
def _cells_of_text(text: str, suffix: str) -> list[tuple[str, str, dict[str, Any]]]:
    ignored = {"trusted", "execution", "collapsed", "id"}
    notebook = jupytext.reads(text, fmt=suffix.removeprefix("."))
    return [
        (cell.cell_type, cell.source, {key: cell.metadata[key] for key in sorted(set(cell.metadata) - ignored)})
        for cell in notebook.cells
    ]


def _as_in_jupyter(path: Path) -> list[tuple[str, str, dict[str, Any]]]:
    """The cells of a `.py` as its notebook has them."""
    return _cells_of_text(notebook_text(path.read_text(encoding="utf-8")), ".ipynb")


def outputs_in_notebooks(root: Path = ROOT) -> list[str]:
    """Committed notebooks hold no outputs and no execution counts."""
    found = []
    for path in (script.with_suffix(".ipynb") for script in scripts(root)):
        if not path.is_file():
            continue
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        if any(cell.get("outputs") or cell.get("execution_count") for cell in cells):
            found.append(f"{path.name} holds outputs: run `make sync`")
    return found


def pairs_out_of_step(root: Path = ROOT) -> list[str]:
    """Each `.py` has an `.ipynb` with the same cells, and no `.ipynb` stands alone."""
    notebooks = {path.stem for path in (root / "notebooks").glob("*.ipynb")}
    alone, committed = notebooks - {path.stem for path in scripts(root)}, tracked(root)
    if committed is not None:  # a notebook of one's own beside the lectures is nobody else's business
        alone = {name for name in alone if f"notebooks/{name}.ipynb" in committed}
    found = [f"{name}.ipynb has no .py" for name in sorted(alone)]
    for path in scripts(root):
        if path.stem not in notebooks:
            found.append(f"{path.name} has no .ipynb: run `make sync`")
        elif _as_in_jupyter(path) != _cells(path.with_suffix(".ipynb")):
            found.append(f"{path.stem}: .py and .ipynb differ: run `make sync`")
    return found


def generated_files_out_of_step(root: Path = ROOT) -> list[str]:
    """The address of `_config.yml` stands in README, badges and bootstrap cells; the README lists all lectures."""
    return [f"{path.relative_to(root)} is out of step: run `make sync`" for path in out_of_step(root)]


def missing_from_toc(root: Path = ROOT) -> list[str]:
    """Every lecture stands in `_toc.yml`, and every entry exists."""
    there, listed = {path.stem for path in scripts(root)}, set(lectures(root))
    found = [f"{name} is missing from _toc.yml" for name in sorted(there - listed)]
    return found + [f"_toc.yml names {name}, which does not exist" for name in sorted(listed - there)]


def figures_without_words(root: Path = ROOT) -> list[str]:
    """Each cell tagged `plot` has a caption and alt text; a film takes the latter as an argument."""
    found = []
    for path in scripts(root):
        for _, source, metadata in _cells(path):
            if "plot" not in metadata.get("tags", []):
                continue
            first = source.strip().splitlines()[0]
            film = "plotting.film(" in source or "plotting.slider(" in source
            words = metadata.get("mystnb", {})
            if not film and not words.get("image", {}).get("alt", "").strip():
                found.append(f"{path.stem}: a figure without alt text, at `{first}`")
            if not words.get("figure", {}).get("caption", "").strip():
                found.append(f"{path.stem}: a figure without caption, at `{first}`")
    return found


def figures_with_an_echo(root: Path = ROOT) -> list[str]:
    """No figure cell ends in a bare expression: its value would be a second output, and the build would fail."""
    found = []
    for path in scripts(root):
        for kind, source, metadata in _cells(path):
            if kind != "code" or "figure" not in metadata.get("mystnb", {}):
                continue
            last = ast.parse(source).body[-1]
            call = ast.unparse(last.value) if isinstance(last, ast.Expr) else ""
            if call and not call.startswith(("plotting.film(", "plotting.slider(")):
                found.append(f"{path.stem}: a figure cell ends in an expression, write `_ = {call[:40]}`")
    return found


def long_cells(root: Path = ROOT) -> list[str]:
    """No code cell of a lecture has more than 40 lines: that is what a reader takes in at once."""
    return [
        f"{path.stem}: a cell of {len(lines)} lines, at most {MAX_CELL_LINES} expected: {lines[0]}"
        for path in scripts(root)
        for kind, source, _ in _cells(path)
        if kind == "code" and len(lines := source.splitlines()) > MAX_CELL_LINES
    ]


def unknown_tags(root: Path = ROOT) -> list[str]:
    """Cell tags are those of CONTRIBUTING.md."""
    return [
        f"{path.stem}: unknown cell tag {tag!r}"
        for path in scripts(root)
        for _, _, metadata in _cells(path)
        for tag in metadata.get("tags", [])
        if tag not in TAGS | BOOK_TAGS and not tag.startswith("twin:")
    ]


def bare(source: str, name: str) -> str | None:
    """The definition of `name` in `source` as a syntax tree without docstrings, comments and annotations."""
    for node in ast.parse(source).body:
        if getattr(node, "name", None) == name:
            return dump(without_words(node))
    return None


def drifted_twins(root: Path = ROOT) -> list[str]:
    """A cell tagged `twin:dgm.module.name` defines the same `name` as that module."""
    found = []
    for path in scripts(root):
        for _, source, metadata in _cells(path):
            for tag in metadata.get("tags", []):
                if not tag.startswith("twin:"):
                    continue
                module, _, name = tag.removeprefix("twin:").rpartition(".")
                file = root / (module.replace(".", "/") + ".py")
                ours, theirs = (
                    bare(source, name),
                    bare(file.read_text(encoding="utf-8"), name) if file.is_file() else None,
                )
                if ours is None or theirs is None:
                    found.append(
                        f"{path.stem}: {tag}, but {name} is not defined in {'the cell' if ours is None else file.name}"
                    )
                elif ours != theirs:
                    found.append(f"{path.stem}: {name} differs from its twin in {module}")
    return found


def large_files(root: Path, files: list[str], limit: int = 300_000) -> list[str]:
    """No committed file above 300 KB but the lock."""
    sizes = {name: (root / name).stat().st_size for name in files if (root / name).is_file()}
    return [f"{name}: {size:,} bytes" for name, size in sizes.items() if size > limit and name != "requirements.txt"]


def hosts_in_lock(root: Path = ROOT) -> list[str]:
    """The lock names packages and hashes, no host."""
    lines = (root / "requirements.txt").read_text(encoding="utf-8").splitlines()
    return [
        f"requirements.txt:{i}: {line}"
        for i, line in enumerate(lines, 1)
        if re.search(r"https?:|--(extra-)?index", line)
    ]


CHOSEN = r"\b[A-Z]{3,}\b"  # what the reader chooses: NAME, LECTURE
NAMED = re.compile(r"(?<![\w./-])(?:tools|tests|benchmarks|figures|book|dgm|notebooks|results)/[\w./-]*\w")


def missing_programs(root: Path = ROOT) -> list[str]:
    """Each `python -m tools...` and each path that the Makefile, the settings and the instructions name exists."""
    texts = [*(root / ".github" / "workflows").glob("*.yml"), root / ".ci" / "run"]
    texts += [
        root / name for name in ("Makefile", "_config.yml", ".pre-commit-config.yaml", "README.md", "CONTRIBUTING.md")
    ]
    found = []
    for path in filter(Path.is_file, texts):
        text = path.read_text(encoding="utf-8")
        modules = set(re.findall(r"(?:python[\d.]*|,python3\)|\$\(BIN\)/python) -m (tools[\w.]*)", text))
        for package, name in re.findall(r"from (tools[\w.]*) import (\w+)", text):
            inner = root / package.replace(".", "/") / f"{name}.py"
            modules.add(f"{package}.{name}" if inner.is_file() else package)
        if path.name == "_config.yml":
            modules |= set(yaml.safe_load(text).get("sphinx", {}).get("local_extensions", {}))
        for module in sorted(modules):
            if not re.search(CHOSEN, module) and not (root / (module.replace(".", "/") + ".py")).is_file():
                found.append(f"{path.name} names {module}, which does not exist")
        for named in sorted(set(NAMED.findall(text))):
            if not re.search(CHOSEN, named) and not (root / named).exists():
                found.append(f"{path.name} names {named}, which does not exist")
    return found


NUMBERS = dict(
    zip(["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"], range(1, 11), strict=True)
)
CLAIMED = re.compile(r"\bon (\w+) seeds?\b")


def claims_of_seeds(root: Path = ROOT) -> list[str]:
    """Where an edited lecture says "on five seeds", so many runs of it are recorded in `results/seeds`.

    A lecture is edited when `book/lectures.yml` says `edited: true` of it.
    """
    found = []
    for name in edited(root):
        path = root / "results" / "seeds" / f"{name}.json"
        seeds = json.loads(path.read_text(encoding="utf-8"))["seeds"] if path.is_file() else []
        texts = [source for kind, source, _ in _cells(root / "notebooks" / f"{name}.py") if kind == "markdown"]
        for word in (word for text in texts for word in CLAIMED.findall(text)):
            count = int(word) if word.isdecimal() else NUMBERS.get(word)
            if count is not None and count != len(seeds):
                found.append(f"{name}: a sentence says on {word} seeds, results/seeds has {len(seeds)}")
    return found


def accents_in_tex(root: Path = ROOT) -> list[str]:
    """Letters of names in the bibliography are written as letters: the search of the book does not know TeX."""
    lines = (root / "book" / "references.bib").read_text(encoding="utf-8").splitlines()
    return [
        f"references.bib:{i}: write {found[0]} as a letter"
        for i, line in enumerate(lines, 1)
        if (found := re.search(r"\{?\\[\"'`~^=.uvHckrdbt]?\s*\{?\w\}?\}|\{\\(o|O|l|L|ss|ae|AE|oe|aa|AA|i|j)\}", line))
    ]


def unpinned_actions(root: Path = ROOT) -> list[str]:
    """Every action of a workflow is pinned by commit, and every workflow starts with the least permissions."""
    found = []
    for path in sorted((root / ".github" / "workflows").glob("*.yml")):
        text = path.read_text(encoding="utf-8")
        for action in re.findall(r"uses:\s*(\S+)", text):
            if not action.startswith("./") and not re.search(r"@[0-9a-f]{40}$", action):
                found.append(f"{path.name}: {action} is not pinned by commit")
        if "permissions" not in yaml.safe_load(text):
            found.append(f"{path.name}: no top-level permissions")
    return found
