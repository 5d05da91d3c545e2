"""Notebooks that people may have edited, though a program writes them: they must not lose their work in silence.

A notebook that is written here carries a hash of its cells.  Where the two differ, somebody has changed the cells;
running them changes none.
"""

import hashlib
import json
import os

KEY = "dgm_cells"


def digest_of_cells(notebook):
    """Hash of kind and source of all cells, of a notebook as JSON."""
    cells = [[cell["cell_type"], "".join(cell["source"])] for cell in notebook["cells"]]
    return hashlib.sha256(json.dumps(cells).encode()).hexdigest()[:16]


def is_edited(path):
    """Whether the notebook at `path` is somebody's own, or was written by a program and has been changed since."""
    try:
        with open(path, encoding="utf-8") as file:
            notebook = json.load(file)
        return notebook["metadata"].get(KEY) != digest_of_cells(notebook)
    except (ValueError, KeyError, TypeError, AttributeError):  # no notebook: not ours
        return True


def put_aside(path):
    """Give an edited notebook another name, so that its own can be written; return the new path."""
    stem, ending = os.path.splitext(str(path))
    count, aside = 1, f"{stem}-yours{ending}"
    while os.path.exists(aside):
        count += 1
        aside = f"{stem}-yours-{count}{ending}"
    os.rename(path, aside)
    return aside
