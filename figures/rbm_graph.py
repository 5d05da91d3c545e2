"""Draw the graph of a restricted Boltzmann machine: `python figures/rbm_graph.py` writes rbm_graph.svg."""

from drawing import DATA, MODEL, NOISE, circle, svg, text, write

VISIBLE, HIDDEN = 6, 4


def row(count: int) -> list[float]:
    """Horizontal positions of `count` circles, centred."""
    return [330 + 78 * (i - (count - 1) / 2) for i in range(count)]


def draw() -> str:
    """The whole picture: lines first, circles over them."""
    v, h = row(VISIBLE), row(HIDDEN)
    parts = [f'<line x1="{a:g}" y1="165" x2="{b:g}" y2="55" stroke="{NOISE}"/>' for a in v for b in h]
    parts += [circle(x, 55, f"h_{j}", MODEL) for j, x in enumerate(h, 1)]
    parts += [circle(x, 165, f"v_{i}", DATA) for i, x in enumerate(v, 1)]
    parts += [text(22, y, label, size=19, anchor="start") for y, label in ((61, "hidden"), (171, "visible"))]
    parts.append(text(548, 117, "W", size=21, style="font-style:italic"))
    return svg(660, 220, parts)


if __name__ == "__main__":
    write(__file__, draw())
