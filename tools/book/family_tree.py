"""The family tree of the lectures, drawn as SVG from `book/lectures.yml`."""

from __future__ import annotations

import html
from typing import Any

import yaml

from tools.repo import ROOT, lectures

# Of the tree, in units of the drawing.
BOX, HEIGHT, GAP, TOP, COLUMN = 128, 30, 40, 124, 140
CENTRES = (COLUMN * 0.5, COLUMN * 1.5, COLUMN * 2.5)
WIDTH = 3 * COLUMN
LABEL = "Family tree: energies, latent variables and adversaries stand side by side, and lead to scores and diffusion"


def overview() -> dict[str, Any]:
    """`book/lectures.yml`.

    Raises:
        ValueError: it does not speak of just the lectures of `_toc.yml`.
    """
    content = yaml.safe_load((ROOT / "book" / "lectures.yml").read_text(encoding="utf-8"))
    if difference := set(content["lectures"]) ^ set(lectures()):
        raise ValueError(f"book/lectures.yml: expected the lectures of _toc.yml, differs in {sorted(difference)}")
    return content


def places(content: dict[str, Any]) -> dict[str, tuple[float, float]]:
    """Centre of the box of each lecture: three families stand side by side, the fourth below them."""
    families: list[list[str]] = [[], [], [], []]
    for name, entry in content["lectures"].items():
        families[entry["family"]].append(name)
    found = {name: (CENTRES[c], TOP + GAP * i) for c in (0, 1, 2) for i, name in enumerate(families[c])}
    low = TOP + GAP * max(len(names) for names in families[:3]) + 92
    below = ((0, 0), (1, 0), (1, 1), (2, 0))  # the derivation above the model that is made of it
    for name, (column, row) in zip(families[3], below, strict=True):
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


def family_svg(content: dict[str, Any], address: str) -> str:
    """The tree as SVG, narrow enough for a phone; `address` has braces where the name of the lecture goes."""
    at, half, middle = places(content), HEIGHT / 2, WIDTH / 2
    *above, last = content["families"]
    names = [name for name, entry in content["lectures"].items() if entry["family"] == len(above)]
    low = at[names[0]][1] - half - 46  # baseline of the last family's name
    parts = [_text(middle, 18, "data, from an unknown density p(x)", "root")]
    for c, family in enumerate(above):
        x, bottom = CENTRES[c], max(y for column, y in at.values() if column == CENTRES[c] and y < low) + half
        parts += [_arrow((middle, 28), (x, 56)), _text(x, 74, family["name"], "name")]
        parts += [_text(x, 92, family["formula"], "formula"), _arrow((x, bottom + 2), (x, low - 18))]
        parts.append(_text(x + 8, low - 34, family["leads"], "words"))
    parts += [_text(middle, low, last["name"], "name"), _text(middle, low + 18, last["formula"], "formula")]
    parts += [_arrow((at[name][0], low + 24), (at[name][0], at[name][1] - half)) for name in (*names[:2], names[3])]
    parts.append(_arrow((at[names[1]][0], at[names[1]][1] + half + 2), (at[names[2]][0], at[names[2]][1] - half)))
    for name, (x, y) in at.items():
        box = f'<rect x="{x - BOX / 2:g}" y="{y - half:g}" width="{BOX}" height="{HEIGHT}" rx="6"/>'
        words = _text(x, y + 4.5, content["lectures"][name]["short"], "short")
        parts.append(f'<a href="{address.format(name)}">{box}{words}</a>')
    height = max(y for _, y in at.values()) + half + 4
    head = f'<svg viewBox="0 0 {WIDTH} {height:g}" class="dgm-family" role="group" aria-label="{LABEL}">'
    return head + "".join(parts) + "</svg>"
