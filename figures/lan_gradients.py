"""Draw the two gradients of an energy model: `python figures/lan_gradients.py` writes lan_gradients.svg."""

from drawing import DATA, INK, MODEL, MUTED, NOISE, arrow, svg, text, write


def energy(u: float) -> float:
    """A double well, as height on the drawing, for u from -1 to 1."""
    return 66 + 84 * (1 - (1.9 * u * u - 0.75) ** 2 / 1.33)


def curve(centre: float, colour: str, *, dashed: bool = False, lower: tuple[float, ...] = ()) -> str:
    """The energy around `centre`; pulled down near the places in `lower`, pushed up between them."""
    points = []
    for i in range(81):
        u = -1 + i / 40
        y = energy(u) + sum(22 * 2.718 ** (-((u - v) ** 2) / 0.03) for v in lower)
        y -= 26 * 2.718 ** (-((u + 0.62) ** 2) / 0.03) if lower else 0
        points.append(f"{centre + 140 * u:.1f} {y:.1f}")
    dash = ' stroke-dasharray="5 5"' if dashed else ""
    return f'<path d="M{" L".join(points)}" fill="none" stroke="{colour}" stroke-width="2.5"{dash}/>'


def dot(centre: float, u: float, colour: str) -> str:
    """A point on the curve."""
    return f'<circle cx="{centre + 140 * u:.1f}" cy="{energy(u) - 8:.1f}" r="8" fill="{colour}"/>'


def draw() -> str:
    """Left a sample slides on a fixed curve; right the curve moves, down at data and up at samples."""
    left, right = 170, 510
    parts = [text(left, 34, "gradient in x: moves a sample", size=17), curve(left, INK)]
    parts += [dot(left, 0.22, MODEL), arrow(left + 44, energy(0.3) - 26, left + 92, energy(0.62) - 18, colour=INK)]
    parts.append(text(left, 204, "the curve stands still", size=15, colour=MUTED))
    parts.append(text(right, 34, "gradient in θ: moves the curve", size=17))
    parts += [curve(right, NOISE, dashed=True), curve(right, INK, lower=(0.62,))]
    parts += [dot(right, 0.62, DATA), dot(right, -0.62, MODEL)]
    parts += [
        arrow(right + 116, energy(0.62) - 44, right + 116, energy(0.62) + 6, colour=DATA),
        arrow(right - 122, energy(-0.62) + 2, right - 122, energy(-0.62) - 48, colour=MODEL),
        text(right + 88, 204, "down at data", size=15, colour=DATA),
        text(right - 88, 204, "up at samples", size=15, colour=MODEL),
    ]
    return svg(680, 222, parts)


if __name__ == "__main__":
    write(__file__, draw())
