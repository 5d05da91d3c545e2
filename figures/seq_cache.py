"""Draw what sampling computes with and without a cache: `python figures/seq_cache.py` writes seq_cache.svg."""

from drawing import MODEL, MUTED, NOISE, svg, text, write

SIDE = 24


def row(top: float, label: str, *, cached: bool) -> list[str]:
    """Four steps, with 1 to 4 places; under each step the number of places that are computed."""
    parts = [text(20, top + 18, label, size=17, anchor="start")]
    x = 170
    for step in range(1, 5):
        for place in range(1, step + 1):
            new = place == step or not cached
            colour = MODEL if new else NOISE
            style = f'fill="{colour}" fill-opacity="{0.85 if new else 0.25}" stroke="{colour}" stroke-width="2"'
            parts.append(f'<rect x="{x}" y="{top}" width="{SIDE}" height="{SIDE}" rx="3" {style}/>')
            x += SIDE + 6
        middle = x - step * (SIDE + 6) / 2 - 3
        parts.append(text(middle, top + 48, str(1 if cached else step), size=17, colour=MODEL))
        x += 32
    parts.append(text(x + 6, top + 18, "n" if cached else "n(n + 1)/2", size=17, anchor="start", colour=MUTED))
    return parts


def draw() -> str:
    """Without above, with below."""
    parts = row(40, "without a cache", cached=False) + row(125, "with a cache", cached=True)
    parts.append(text(170, 24, "places computed at each step", size=15, anchor="start", colour=MUTED))
    return svg(700, 190, parts)


if __name__ == "__main__":
    write(__file__, draw())
