"""Small tables of a lecture as tables; `dgm.plotting` offers them."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any


class Table:
    """Rows of words and numbers: a table in the page, in Jupyter and in Colab, columns of text in a script."""

    def __init__(self, rows: Sequence[Sequence[str]], columns: Sequence[str]) -> None:
        self.rows, self.columns = [list(row) for row in rows], list(columns)

    def __repr__(self) -> str:
        lines = [self.columns, *self.rows]
        widths = [max(len(line[i]) for line in lines) for i in range(len(self.columns))]
        padded = [
            [line[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))]
            for line in lines
        ]
        return "\n".join("  ".join(line).rstrip() for line in padded)

    def _repr_markdown_(self) -> str:
        cells = [[cell.replace("|", "\\|") for cell in line] for line in [self.columns, *self.rows]]
        rule = [":--", *["--:"] * (len(self.columns) - 1)]
        return "\n".join("| " + " | ".join(line) + " |" for line in [cells[0], rule, *cells[1:]])

    def _repr_html_(self) -> str:
        def row(cells: list[str], tag: str) -> str:
            return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"

        body = "".join(row(cells, "td") for cells in self.rows)
        return f'<table class="dgm-table"><thead>{row(self.columns, "th")}</thead><tbody>{body}</tbody></table>'


def table(rows: Mapping[str, Any] | Sequence[Sequence[Any]], *, columns: Sequence[str], digits: int = 3) -> Table:
    """A table with a name at the start of each row.

    Args:
        rows: sequences that start with a name, or a mapping from names to what follows, one value or several.
        columns: the heading of each column, that of the names included.
        digits: significant digits of numbers; strings stand as they are.

    Raises:
        ValueError: no rows, or a row that has another length than the headings.
    """
    if isinstance(rows, Mapping):
        several = {name: value if isinstance(value, list | tuple) else [value] for name, value in rows.items()}
        rows = [[name, *values] for name, values in several.items()]
    if not rows:
        raise ValueError("rows: expected at least one, got none")
    for row in rows:
        if len(row) != len(columns):
            raise ValueError(f"rows: expected {len(columns)} cells, as many as columns, got {len(row)}: {list(row)}")
    return Table([[_text(cell, digits) for cell in row] for row in rows], columns)


def _text(cell: Any, digits: int) -> str:
    if isinstance(cell, str):
        return cell
    if isinstance(cell, bool | int):
        return f"{cell:,}"
    return f"{float(cell):.{digits}g}"
