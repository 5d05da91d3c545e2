"""Draw a label and pixels, joined both ways: `python figures/divergences_label.py` writes divergences_label.svg."""

from drawing import DATA, MODEL, arrow, circle, svg, text, write

PIXELS = 5


def graph(left: float, name: str, generative: bool) -> list[str]:
    """The label above, the pixels below, arrows down or up."""
    places = [left + 56 * i for i in range(PIXELS)]
    middle = places[PIXELS // 2]
    parts = []
    for x in places:
        length = ((x - middle) ** 2 + 100**2) ** 0.5
        dx, dy = 26 * (x - middle) / length, 26 * 100 / length
        ends = (middle + dx, 84 + dy, x - dx, 184 - dy)
        parts.append(arrow(*(ends if generative else (*ends[2:], *ends[:2]))))
    parts.append(circle(middle, 84, "y", MODEL))
    parts += [circle(x, 184, f"x_{i}", DATA, radius=22) for i, x in enumerate(places, 1)]
    return [*parts, text(middle, 34, name, size=20)]


def draw() -> str:
    """Both directions side by side."""
    parts = graph(44, "generative: p(y) p(x | y)", True)
    parts += graph(372, "discriminative: p(x) p(y | x)", False)
    return svg(640, 226, parts)


if __name__ == "__main__":
    write(__file__, draw())
