"""Draw Gibbs sampling of one unit and of layers: `python figures/bm_gibbs.py` writes bm_gibbs.svg."""

from drawing import DATA, MODEL, MUTED, NOISE, arrow, circle, svg, text, write

UP, DOWN = 60, 155


def heat_bath() -> list[str]:
    """One unit: its neighbours, its local field, its coin."""
    neighbours = [(32, 45), (32, 108), (32, 171)]
    lines = [f'<line x1="{x}" y1="{y}" x2="150" y2="108" stroke="{NOISE}" stroke-width="1.5"/>' for x, y in neighbours]
    parts = lines + [circle(x, y, f"s_{n}", NOISE) for n, (x, y) in zip("jkl", neighbours, strict=True)]
    parts += [circle(150, 108, "s_i", MODEL), text(150, 62, "local field", size=18, colour=MUTED)]
    parts += [text(150, 166, "coin with p(on)", size=18, colour=MUTED), text(120, 224, "heat bath: one unit", size=20)]
    return parts


def blocks() -> list[str]:
    """Layers in turn."""
    x, heights = [300, 382, 464, 546, 628], (DOWN, UP, DOWN, UP, DOWN)
    parts = []
    for i in range(4):
        slope = 20 if heights[i + 1] > heights[i] else -20
        parts.append(arrow(x[i] + 18, heights[i] + slope, x[i + 1] - 18, heights[i + 1] - slope))
    for n, (place, height) in enumerate(zip(x, heights, strict=True)):
        parts.append(circle(place, height, "xh"[n % 2], DATA if n == 0 else MODEL, radius=25))
    parts += [text(300, 106, "p(h | x)", size=18, colour=MUTED), text(462, 106, "p(x | h)", size=18, colour=MUTED)]
    parts += [text(382, 161, "one sweep", size=18, colour=MUTED)]
    return [*parts, text(464, 224, "block: a layer at once", size=20)]


def draw() -> str:
    """The two side by side."""
    return svg(664, 242, heat_bath() + blocks())


if __name__ == "__main__":
    write(__file__, draw())
