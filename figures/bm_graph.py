"""Draw a general and a restricted Boltzmann machine: `python figures/bm_graph.py` writes bm_graph.svg."""

from itertools import combinations

from drawing import DATA, INK, MODEL, NOISE, circle, svg, text, write

VISIBLE, HIDDEN, TOP, BOTTOM = 3, 4, 80, 190
LINE = f'fill="none" stroke="{NOISE}" stroke-width="1.5"'


def row(count: int, centre: float) -> list[float]:
    """Horizontal positions of `count` circles."""
    return [centre + 64 * (i - (count - 1) / 2) for i in range(count)]


def line(a: tuple[float, float], b: tuple[float, float]) -> str:
    """A coupling; one inside a row bends outwards, past the circles between its ends."""
    (x1, y1), (x2, y2) = a, b
    bend = max(0, abs(x1 - x2) - 70) * (0.9 if y1 == BOTTOM else -0.9) if y1 == y2 else 0
    return f'<path d="M{x1:g} {y1:g} Q{(x1 + x2) / 2:g} {(y1 + y2) / 2 + bend:g} {x2:g} {y2:g}" {LINE}/>'


def machine(centre: float, name: str, *, restricted: bool) -> list[str]:
    """One graph: lines first, circles over them."""
    x, h = row(VISIBLE, centre), row(HIDDEN, centre)
    places = [(i, BOTTOM) for i in x] + [(j, TOP) for j in h]
    parts = [line(a, b) for a, b in combinations(places, 2) if not restricted or a[1] != b[1]]
    parts += [circle(j, TOP, f"h_{n}", MODEL) for n, j in enumerate(h, 1)]
    parts += [circle(i, BOTTOM, f"x_{n}", DATA) for n, i in enumerate(x, 1)]
    return [*parts, text(centre, 262, name, size=20, colour=INK)]


def draw() -> str:
    """Both machines, and what their letters are called."""
    parts = machine(215, "general: J", restricted=False) + machine(515, "restricted: W", restricted=True)
    rows = (("hidden", TOP), ("visible", BOTTOM))
    parts += [text(12, y + 6, label, size=20, anchor="start") for label, y in rows]
    return svg(640, 280, parts)


if __name__ == "__main__":
    write(__file__, draw())
