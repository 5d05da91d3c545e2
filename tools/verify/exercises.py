"""The exercises of an executed notebook: what the checks said to the stubs, to the solutions and to wrong answers."""

from __future__ import annotations

import ast
import re

from nbformat import NotebookNode
from nbformat.v4 import new_code_cell

SPOIL = '''
def _spoilt(value, sign):
    """The same answer with every number changed; None where there is no number to change."""
    if isinstance(value, (list, tuple)):
        parts = [_spoilt(part, sign) for part in value]
        return None if any(part is None for part in parts) else type(value)(parts)
    if isinstance(value, dict):
        return {key: part for key, old in value.items() if (part := _spoilt(old, sign)) is not None} or None
    if isinstance(value, bool):
        return not value
    if isinstance(value, (int, float)):
        return sign * (value + 1 if isinstance(value, int) else 1.5 * value + 0.25)
    kind = str(value.dtype) if hasattr(value, "dtype") and hasattr(value, "shape") else ""
    if "bool" in kind:
        return ~value
    return sign * (value + 1) if "int" in kind else sign * (1.5 * value + 0.25) if "float" in kind else None


def _try_wrong(check, answer, sign):
    """Print what the check says to a wrong answer."""
    def wrong(*arguments, **named):
        value = _spoilt(answer(*arguments, **named), sign)
        if value is None:
            raise NotImplementedError
        return value
    try:
        check(wrong)
    except NotImplementedError:
        print("no numbers")
    except Exception as error:
        print(f"refused: {type(error).__name__}: {error}")
'''


def exercises(notebook: NotebookNode) -> list[tuple[int, str, str]]:
    """Of each exercise: the place of its stub, the name to be defined, and the check."""
    found = []
    for i, cell in enumerate(notebook.cells):
        if "exercise" not in cell.metadata.get("tags", []):
            continue
        last = ast.parse(notebook.cells[i + 1].source).body[-1]
        call = last.value if isinstance(last, ast.Expr) else None
        if not (isinstance(call, ast.Call) and len(call.args) == 1 and isinstance(call.args[0], ast.Name)):
            raise ValueError(f"after an exercise: expected a cell that ends in check(answer), got {ast.unparse(last)}")
        found.append((i, call.args[0].id, ast.unparse(call.func)))
    return found


def probes(notebook: NotebookNode) -> list[NotebookNode]:
    """Cells to run after the notebook: they give each check the solution with its numbers changed, in two ways.

    Two, because there may be more than one right answer: a schedule that is a little longer is a schedule.
    """
    calls = [f"for sign in (1, -1):\n    _try_wrong({check}, {name}, sign)" for _, name, check in exercises(notebook)]
    return [new_code_cell(source) for source in (SPOIL, *calls)]


def printed(cell: NotebookNode) -> str:
    """The text that a cell wrote."""
    return "".join(output.get("text", "") for output in cell.outputs)


def says(verdict: str, text: str) -> bool:
    """Whether one line of the output begins so."""
    return re.search(rf"^{verdict}", text, re.MULTILINE) is not None


def verdicts(notebook: NotebookNode, num_cells: int) -> list[str]:
    """What the checks should have said and did not; the probes begin after `num_cells` cells."""
    found = []
    for k, (i, name, check) in enumerate(exercises(notebook)):
        solved = next(cell for cell in notebook.cells[i:] if "solution" in cell.metadata.get("tags", []))
        spoilt = printed(notebook.cells[num_cells + 1 + k])
        if not says("not yet$", printed(notebook.cells[i + 1])):
            found.append(f"{name}: {check} did not answer the stub with `not yet`")
        if not says("right$", printed(solved)):
            found.append(f"{name}: {check} did not answer the solution with `right`")
        told = says("(refused: (CheckFailed|ValueError|RuntimeError)|no numbers$)", spoilt)
        if not told:
            found.append(f"{name}: {check} did not say what is wrong with a wrong answer: {spoilt[-300:]}")
    return found
