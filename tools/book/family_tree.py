"""The family tree of the lectures, drawn as SVG from `book/lectures.yml`."""

from __future__ import annotations

import html
from typing import Any

import yaml

from tools.repo import ROOT, lectures

# Of the tree, in units of the drawing.
BOX, HEIGHT, GAP, COLUMN = 128, 30, 40, 140
CENTRES = (COLUMN * 0.5, COLUMN * 1.5, COLUMN * 2.5)
WIDTH, MIDDLE = 3 * COLUMN, 1.5 * COLUMN
FIRST, LAST = 0, 4  # the families that stand alone, above and below the three columns
LABEL = (
    "Family tree: densities in closed form come first; energies, latent variables and adversaries stand side by side, "
    "and lead to scores and diffusion"
)


def overview() -> dict[str, Any]:
    """`book/lectures.yml`.

    Raises:
        ValueError: it does not speak of just the lectures of `_toc.yml`.
    """
    content = yaml.safe_load((ROOT / "book" / "lectures.yml").read_text(encoding="utf-8"))
    if difference := set(content["lectures"]) ^ set(lectures()):
        raise ValueError(f"book/lectures.yml: expected the lectures of _toc.yml, differs in {sorted(difference)}")
    return content


def _members(content: dict[str, Any], family: int) -> list[str]:
    return [name for name, entry in content["lectures"].items() if entry["family"] == family]


def places(content: dict[str, Any]) -> dict[str, tuple[float, float]]:
    """Centre of the box of each lecture: a family in rows of three, three side by side, and one below them."""
    found, low = {}, 124.0
    first = _members(content, FIRST)
    for start in range(0, len(first), 3):
        row = first[start : start + 3]
        for i, name in enumerate(row):
            found[name] = (MIDDLE + COLUMN * (i - (len(row) - 1) / 2), low)
        low += GAP
    low += 78 if first else 0
    columns = [_members(content, family) for family in range(FIRST + 1, LAST)]
    for centre, names in zip(CENTRES, columns, strict=True):
        found.update({name: (centre, low + GAP * i) for i, name in enumerate(names)})
    low += GAP * max(len(names) for names in columns) + 92
    below = ((0, 0), (1, 0), (1, 1), (2, 0))  # the derivation above the model that is made of it
    for name, (column, row) in zip(_members(content, LAST), below, strict=True):
        found[name] = (CENTRES[column], low + (GAP + 10) * row)
    return found


def _text(x: float, y: float, words: str, kind: str) -> str:
    return f'<text x="{x:g}" y="{y:g}" class="{kind}">{html.escape(words)}</text>'


def _arrow(start: tuple[float, float], end: tuple[float, float]) -> str:
    (x1, y1), (x2, y2) = start, end
    middle = (y1 + y2) / 2
    return (
        f'<path class="line" d="M{x1:g},{y1:g} C{x1:g},{middle:g} {x2:g},{middle:g} {x2:g},{y2 - 5:g}"/>'
        f'<path class="tip" d="M{x2 - 4:g},{y2 - 7:g} h8 L{x2:g},{y2:g} z"/>'
    )


def _first(content: dict[str, Any], at: dict[str, tuple[float, float]]) -> tuple[list[str], float]:
    """Name of the first family under the root, and the height from which the arrows to the columns start."""
    first = _members(content, FIRST)
    if not first:
        return [], 28
    family = content["families"][FIRST]
    parts = [_arrow((MIDDLE, 28), (MIDDLE, 56)), _text(MIDDLE, 74, family["name"], "name")]
    parts.append(_text(MIDDLE, 92, family["formula"], "formula"))
    return parts, max(at[name][1] for name in first) + HEIGHT / 2 + 2


def family_svg(content: dict[str, Any], address: str) -> str:
    """The tree as SVG, narrow enough for a phone; `address` has braces where the name of the lecture goes."""
    at, half = places(content), HEIGHT / 2
    last, names = content["families"][LAST], _members(content, LAST)
    low = at[names[0]][1] - half - 46  # baseline of the last family's name
    first, start = _first(content, at)
    parts = [_text(MIDDLE, 18, "data, from an unknown density p(x)", "root"), *first]
    for centre, index in zip(CENTRES, range(FIRST + 1, LAST), strict=True):
        family, column = content["families"][index], _members(content, index)
        bottom = at[column[-1]][1] + half
        parts += [_arrow((MIDDLE, start), (centre, start + 28)), _text(centre, start + 46, family["name"], "name")]
        parts.append(_text(centre, start + 64, family["formula"], "formula"))
        parts += [
            _arrow((centre, bottom + 2), (centre, low - 18)),
            _text(centre + 6, low - 34, family["leads"], "words"),
        ]
    parts += [_text(MIDDLE, low, last["name"], "name"), _text(MIDDLE, low + 18, last["formula"], "formula")]
    parts += [_arrow((at[name][0], low + 24), (at[name][0], at[name][1] - half)) for name in (*names[:2], names[3])]
    parts.append(_arrow((at[names[1]][0], at[names[1]][1] + half + 2), (at[names[2]][0], at[names[2]][1] - half)))
    for name, (x, y) in at.items():
        box = f'<rect x="{x - BOX / 2:g}" y="{y - half:g}" width="{BOX}" height="{HEIGHT}" rx="6"/>'
        words = _text(x, y + 4.5, content["lectures"][name]["short"], "short")
        parts.append(f'<a href="{address.format(name)}">{box}{words}</a>')
    height = max(y for _, y in at.values()) + half + 4
    head = f'<svg viewBox="0 0 {WIDTH} {height:g}" class="dgm-family" role="group" aria-label="{LABEL}">'
    return head + "".join(parts) + "</svg>"
