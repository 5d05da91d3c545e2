"""Write all that is generated from another file: notebooks from their `.py`, the address, tables and times in README.

python -m tools.sync            write
python -m tools.sync --check    write nothing, exit with 1 and say what is out of step

A notebook that somebody has edited gets another name before its own is written.  Times and the address of the
repository are written only, never compared: a clone on another machine is not out of step.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import jupytext
import nbformat

from tools import claims
from tools.edited import KEY, digest_of_cells, is_edited, put_aside
from tools.environment import git_free
from tools.repo import COLAB, NOWHERE, ROOT, colab_address, lectures, page_address, repository, title

TABLE = re.compile(r"(<!-- lectures -->\n).*?(<!-- /lectures -->)", re.DOTALL)
TIMES = re.compile(r"(<!-- times -->\n).*?(<!-- /times -->)", re.DOTALL)
COLLAPSED = {"bootstrap", "imports", "parameters", "check"}  # cells whose source Jupyter shows as a line to be opened
REMOTE = re.compile(r"(?:https://(?:[^@/]+@)?|ssh://git@|git@)github\.com[/:]([\w.-]+/[\w.-]+?)(?:\.git)?/?$")


def give_ids(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Cell ids from their content, no outputs, and the hash that tells whether somebody edits it."""
    seen: set[str] = set()
    for cell in notebook.cells:
        content, copy = f"{cell.cell_type}\n{cell.source}", 0
        while (identity := hashlib.sha256(f"{content}\n{copy}".encode()).hexdigest()[:8]) in seen:
            copy += 1
        seen.add(identity)
        cell["id"] = identity
        if cell.cell_type == "code":
            cell["outputs"], cell["execution_count"] = [], None
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    notebook.metadata[KEY] = digest_of_cells(notebook)
    return notebook


def collapse(cell: nbformat.NotebookNode) -> None:
    """Let Jupyter show a line in place of a cell that is not the method; of checks the line names what they claim."""
    tags = set(cell.metadata.get("tags", []))
    if cell.cell_type == "code" and tags & COLLAPSED:
        cell.metadata["jupyter"] = {"source_hidden": True}
        if "check" in tags:
            cell.source = f"# {claims.title(cell.source)}\n{cell.source}"


@cache
def notebook_text(script: str) -> str:
    """The `.ipynb` of a lecture, a pure function of the text of its `.py`: no outputs, cell ids from their content."""
    notebook = jupytext.reads(script, fmt="py:percent")
    for cell in notebook.cells:
        collapse(cell)
    notebook = give_ids(notebook)
    notebook.metadata.get("jupytext", {}).get("text_representation", {}).pop("jupytext_version", None)
    return nbformat.writes(notebook) + "\n"


def with_address(text: str, root: Path) -> str:
    """`text` with the repository of `_config.yml` in Colab links, badges and bootstrap cells, these with the branch."""
    address, branch = repository(root)
    text = re.sub(r"(github\.com/)[\w.-]+/[\w.-]+?(\.git)?@[\w./-]+", rf"\g<1>{address}\g<2>@{branch}", text)
    text = re.sub(r"(git clone https://github\.com/)[\w.-]+/[\w.-]+", rf"\g<1>{address}", text)
    return re.sub(
        r"(colab\.research\.google\.com/github/)[\w.-]+/[\w.-]+/blob/[\w.-]+/", rf"\g<1>{address}/blob/{COLAB}/", text
    )


def lecture_table(root: Path) -> str:
    """The README's table of lectures, each with a button that opens it in Colab."""
    source = root / "results" / "times.json"
    times = json.loads(source.read_text(encoding="utf-8"))["lectures"] if source.is_file() else {}
    rows = ["| | lecture | to read | run it |", "|--:|:--|--:|:--|"]
    for i, lecture in enumerate(lectures(root), 1):
        badge = f"[![Open in Colab](figures/colab.svg)]({colab_address(lecture, root)})"
        minutes = times.get(lecture, {}).get("minutes")
        page = f"[{title(lecture, root)}]({page_address(f'notebooks/{lecture}', root)})"
        rows.append(f"| {i} | {page} | {f'{minutes} min' if minutes else ''} | {badge} |")
    return "\n".join(rows) + "\n"


def in_minutes(seconds: float) -> str:
    """`4 minutes`, as exact as one needs it."""
    minutes = seconds / 60
    rounded = max(1, round(minutes)) if minutes < 10 else 5 * round(minutes / 5)
    return f"{rounded} minute{'s' * (rounded != 1)}"


def times_sentence(times: dict[str, Any]) -> str:
    """What the README says of waiting, from `results/times.json`."""
    steps = times["targets"]
    return (
        f"Measured on {times['machine']}: `make setup` {in_minutes(steps['setup'])}, then `make book` "
        f"{in_minutes(steps['book'])}, and after an edit only what it affects; `make test` "
        f"{in_minutes(steps['test'])}.\n"
    )


def expected(root: Path = ROOT) -> dict[Path, str]:
    """Each generated file and what must stand in it."""
    texts = {}
    for script in sorted((root / "notebooks").glob("*.py")):
        texts[script] = with_address(script.read_text(encoding="utf-8"), root)
        texts[script.with_suffix(".ipynb")] = notebook_text(texts[script])
    readme = root / "README.md"
    table = lecture_table(root)
    text = with_address(readme.read_text(encoding="utf-8"), root)
    text = re.sub(
        r"https://[\w.-]+\.github\.io/(?:[\w.-]+/)?(book/\w+)\.html", lambda page: page_address(page[1], root), text
    )
    texts[readme] = TABLE.sub(lambda found: found[1] + table + found[2], text)
    return texts


def out_of_step(root: Path = ROOT) -> dict[Path, str]:
    """Each generated file that is not what it must be, with what must stand in it."""
    return {
        path: text
        for path, text in expected(root).items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    }


def take_address(root: Path = ROOT) -> str | None:
    """Write where the repository lives into `_config.yml`, if git knows a public host and the file knows nothing."""
    if repository(root)[0] != NOWHERE:
        return None
    command = ["git", "-C", str(root), "remote", "get-url", "origin"]
    try:
        asked = subprocess.run(command, env=git_free(), capture_output=True, text=True, check=False)
    except OSError:  # no git
        return None
    if not (found := REMOTE.match(asked.stdout.strip())):
        return None
    settings = root / "_config.yml"
    settings.write_text(settings.read_text(encoding="utf-8").replace(NOWHERE, found[1]), encoding="utf-8")
    return found[1]


def write_times(root: Path = ROOT) -> bool:
    """Write the measured times into README; whether they changed."""
    source, readme = root / "results" / "times.json", root / "README.md"
    if not source.is_file():
        return False
    sentence = times_sentence(json.loads(source.read_text(encoding="utf-8")))
    old = readme.read_text(encoding="utf-8")
    new = TIMES.sub(lambda found: found[1] + sentence + found[2], old)
    if new != old:
        readme.write_text(new, encoding="utf-8")
    return new != old


def write(root: Path = ROOT) -> list[str]:
    """Write everything; what was done, in words."""
    done = []
    if address := take_address(root):
        done.append(f"_config.yml: the repository is {address}")
    for path, text in out_of_step(root).items():
        if path.suffix == ".ipynb" and path.exists() and is_edited(path):
            aside = Path(put_aside(path)).relative_to(root)
            done.append(
                f"{path.relative_to(root)} was edited by hand: your version is now {aside}; edit the .py instead"
            )
        path.write_text(text, encoding="utf-8")
        done.append(f"{path.relative_to(root)} written")
    if write_times(root):
        done.append("README.md: times written")
    return done


def main() -> int:
    """Write or check; return the exit status."""
    if "--check" not in sys.argv:
        for line in write():
            print(line)
        return 0
    stale = out_of_step()
    for path in stale:
        print(f"{path.relative_to(ROOT)} is out of step: run `make sync`")
    return bool(stale)


if __name__ == "__main__":
    sys.exit(main())
