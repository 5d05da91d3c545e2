"""Draw four Bayesian networks of pixels: `python figures/divergences_networks.py` writes divergences_networks.svg."""

from drawing import DATA, MODEL, NOISE, PAPER, arrow, svg, text, write

STEP, RADIUS, LEFT, TOP = 46, 9, 30, 70
TREE = ((0, 1), (0, 3), (1, 2), (3, 4), (3, 6), (4, 5), (4, 7), (5, 8))
TEMPLATE = ((-1, 0), (0, -1), (-1, -1), (1, -1))  # offsets (right, down) of four parents


def at(panel: int, column: float, row: float) -> tuple[float, float]:
    """Where a pixel of a panel lies."""
    return LEFT + 160 * panel + STEP * column, TOP + STEP * row


def pixel(x: float, y: float, colour: str) -> str:
    """One circle that covers the lines behind it."""
    return f'<circle cx="{x:g}" cy="{y:g}" r="{RADIUS}" fill="{PAPER}" stroke="{colour}" stroke-width="3"/>'


def edge(start: tuple[float, float], end: tuple[float, float]) -> str:
    """An arrow from the rim of one circle to the rim of the other."""
    (x1, y1), (x2, y2) = start, end
    length = ((x2 - x1) ** 2 + (y2 - y1) ** 2) ** 0.5
    dx, dy = (x2 - x1) / length, (y2 - y1) / length
    near = RADIUS + 1
    return arrow(x1 + near * dx, y1 + near * dy, x2 - near * dx, y2 - near * dy, colour=MODEL)


def panel(index: int, edges: list[tuple[int, int]], name: str, count: str) -> list[str]:
    """Nine pixels, the arrows between them, a name above and the number of parameters below."""
    places = [at(index, i % 3, i // 3) for i in range(9)]
    parts = [edge(places[i], places[j]) for i, j in edges]
    parts += [pixel(x, y, DATA) for x, y in places]
    middle = places[1][0]
    return [*parts, text(middle, 38, name, size=19), text(middle, 200, count, size=19, style="font-style:italic")]


def neighbours_panel(index: int) -> list[str]:
    """One pixel of the lower row with the four parents of its template."""
    places = {(c, r): at(index, c, r) for r in range(3) for c in range(3)}
    child = (1, 2)
    parents = [(child[0] + right, child[1] + down) for right, down in TEMPLATE]
    parts = [edge(places[parent], places[child]) for parent in parents]
    parts += [pixel(x, y, DATA if key in parents or key == child else NOISE) for key, (x, y) in places.items()]
    middle = at(index, 1, 0)[0]
    return [
        *parts,
        text(middle, 38, "neighbours", size=19),
        text(middle, 200, "up to 16 n", size=19, style="font-style:italic"),
    ]


def draw() -> str:
    """The four panels side by side."""
    chain = [(i, i + 1) for i in range(8)]
    parts = panel(0, [], "independent", "n")
    parts += panel(1, [e for e in chain if e[1] % 3], "chain", "2n \u2212 1")
    # From the end of a row to the start of the next: a bent arrow between the rows.
    for row in (0, 1):
        (x1, y1), (x2, y2) = at(1, 2, row), at(1, 0, row + 1)
        parts.append(arrow(x1 - 8, y1 + 10, x2 + 9, y2 - 10, colour=MODEL))
    parts += panel(2, list(TREE), "tree", "2n \u2212 1")
    parts += neighbours_panel(3)
    return svg(632, 218, parts)


if __name__ == "__main__":
    write(__file__, draw())
