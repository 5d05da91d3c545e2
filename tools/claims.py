"""What checks claim, in a line: read from what they printed, or from their source, before they ran."""

from __future__ import annotations

import ast

LONGEST = 150  # characters of the line that stands for a cell of checks
MARK = "✓"


def in_short(claims: list[str]) -> str:
    """The claims of a cell in one line: as many as fit, and how many more there are."""
    different = list(dict.fromkeys(claims))
    shown = different[:1]
    for what in different[1:]:
        if len(" · ".join([*shown, what])) > LONGEST:
            break
        shown.append(what)
    more = len(different) - len(shown)
    return " · ".join(shown) + (f" · and {more} more" if more else "")


def of_source(source: str) -> list[str]:
    """The first arguments of the checks in a cell, in order, with dots where a value is known only later."""
    calls = [
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("checks.") and node.args
    ]
    found = []
    for call in sorted(calls, key=lambda node: (node.lineno, node.col_offset)):
        what = call.args[0]
        parts = what.values if isinstance(what, ast.JoinedStr) else [what]
        text = "".join(part.value if isinstance(part, ast.Constant) else "..." for part in parts)
        found.append(" ".join(text.split()))
    return found


def title(source: str) -> str:
    """The line that stands for a cell of checks where it has not run: in Jupyter, and as a form in Colab."""
    claims = of_source(source)
    return f"{MARK} {in_short(claims)}" if claims else "The check"
