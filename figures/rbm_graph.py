"""Draw the graph of a restricted Boltzmann machine: `python figures/rbm_graph.py` writes rbm_graph.svg."""

from pathlib import Path

VISIBLE, HIDDEN, RADIUS = 6, 4, 22
BLUE, ORANGE, LINE, TEXT = "#0072B2", "#D55E00", "#8a8f98", "#1f2328"


def row(count: int) -> list[float]:
    """Horizontal positions of `count` circles, centred."""
    return [330 + 78 * (i - (count - 1) / 2) for i in range(count)]


def circle(x: float, y: float, name: str, colour: str) -> str:
    """One unit with its symbol."""
    symbol, index = name
    return (
        f'<circle cx="{x:g}" cy="{y}" r="{RADIUS}" fill="white" stroke="{colour}" stroke-width="3"/>'
        f'<text x="{x:g}" y="{y + 6}" text-anchor="middle" font-style="italic">{symbol}'
        f'<tspan font-size="13" dy="4" font-style="normal">{index}</tspan></text>'
    )


def draw() -> str:
    """The whole picture: lines first, circles over them."""
    v, h = row(VISIBLE), row(HIDDEN)
    parts = ['<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 660 220" font-family="sans-serif" font-size="20">']
    parts.append(f'<rect width="660" height="220" rx="8" fill="white"/><g fill="{TEXT}">')
    parts += [f'<line x1="{a:g}" y1="165" x2="{b:g}" y2="55" stroke="{LINE}"/>' for a in v for b in h]
    parts += [circle(x, 55, f"h{j}", ORANGE) for j, x in enumerate(h, 1)]
    parts += [circle(x, 165, f"v{i}", BLUE) for i, x in enumerate(v, 1)]
    for y, label in ((60, "hidden"), (170, "visible")):
        parts.append(f'<text x="22" y="{y}" font-size="19">{label}</text>')
    parts.append('<text x="540" y="115" font-size="21" font-style="italic">W</text></g></svg>\n')
    return "\n".join(parts)


if __name__ == "__main__":
    Path(__file__).with_name("rbm_graph.svg").write_text(draw(), encoding="utf-8")
