"""Write all that is generated from another file: notebooks from their `.py`, the address, the README's table.

python -m tools.sync            write
python -m tools.sync --check    write nothing, exit with 1 and say what is out of step
"""

from __future__ import annotations

import hashlib
import re
import sys
from pathlib import Path

import jupytext
import nbformat

from tools.repo import COLAB, ROOT, colab_address, lectures, page_address, repository, title

TABLE = re.compile(r"(<!-- lectures -->\n).*?(<!-- /lectures -->)", re.DOTALL)


def give_ids(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Cell ids from their content, and no outputs: the same text gives the same file."""
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
    return notebook


def notebook_text(script: str) -> str:
    """The `.ipynb` of a lecture, a pure function of the text of its `.py`: no outputs, cell ids from their content."""
    notebook = give_ids(jupytext.reads(script, fmt="py:percent"))
    notebook.metadata.get("jupytext", {}).get("text_representation", {}).pop("jupytext_version", None)
    return nbformat.writes(notebook) + "\n"


def with_address(text: str, root: Path) -> str:
    """`text` with the repository of `_config.yml` in Colab links, badges and bootstrap cells, these with the branch."""
    address, branch = repository(root)
    text = re.sub(r"(github\.com/)[\w.-]+/[\w.-]+?(\.git)?@[\w./-]+", rf"\g<1>{address}\g<2>@{branch}", text)
    return re.sub(
        r"(colab\.research\.google\.com/github/)[\w.-]+/[\w.-]+/blob/[\w.-]+/", rf"\g<1>{address}/blob/{COLAB}/", text
    )


def lecture_table(root: Path) -> str:
    """The README's table of lectures, each with a button that opens it in Colab."""
    rows = ["| | lecture | run it |", "|--:|:--|:--|"]
    for i, lecture in enumerate(lectures(root), 1):
        badge = f"[![Open in Colab](figures/colab.svg)]({colab_address(lecture, root)})"
        rows.append(f"| {i} | [{title(lecture, root)}]({page_address(f'notebooks/{lecture}', root)}) | {badge} |")
    return "\n".join(rows) + "\n"


def expected(root: Path = ROOT) -> dict[Path, str]:
    """Each generated file and what must stand in it."""
    texts = {}
    for script in sorted((root / "notebooks").glob("*.py")):
        texts[script] = with_address(script.read_text(), root)
        texts[script.with_suffix(".ipynb")] = notebook_text(texts[script])
    readme = root / "README.md"
    table = lecture_table(root)
    texts[readme] = TABLE.sub(lambda found: found[1] + table + found[2], with_address(readme.read_text(), root))
    return texts


def out_of_step(root: Path = ROOT) -> dict[Path, str]:
    """Each generated file that is not what it must be, with what must stand in it."""
    return {path: text for path, text in expected(root).items() if not path.exists() or path.read_text() != text}


def main() -> int:
    """Write or check; return the exit status."""
    check = "--check" in sys.argv
    stale = out_of_step()
    for path, text in stale.items():
        if not check:
            path.write_text(text)
        print(f"{path.relative_to(ROOT)} {'is out of step: run `make sync`' if check else 'written'}")
    return bool(stale) if check else 0


if __name__ == "__main__":
    sys.exit(main())
