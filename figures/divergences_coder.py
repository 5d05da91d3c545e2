"""Draw arithmetic coding of three pixels: `python figures/divergences_coder.py` writes divergences_coder.svg."""

from drawing import DATA, INK, MODEL, MUTED, NOISE, PAPER, svg, text, write

LEFT, WIDTH, HEIGHT, GAP, TOP = 120, 460, 34, 84, 46
CUTS, PIXELS = (0.7, 0.45, 0.3), (0, 1, 1)  # p(pixel = 0) at each step, and the pixels


def bar(row: int, cut: float, pixel: int, low: float, high: float) -> list[str]:
    """One interval, cut into the parts of 0 and 1; the chosen part is filled."""
    y = TOP + GAP * row
    middle = LEFT + WIDTH * cut
    parts = []
    for value, start, end in ((0, LEFT, middle), (1, middle, LEFT + WIDTH)):
        fill = MODEL if value == pixel else PAPER
        opacity = 0.35 if value == pixel else 1
        parts.append(
            f'<rect x="{start:g}" y="{y}" width="{end - start:g}" height="{HEIGHT}" fill="{fill}" '
            f'fill-opacity="{opacity}" stroke="{INK}" stroke-width="1.5"/>'
        )
        parts.append(text((start + end) / 2, y + 23, str(value), size=19))
    parts.append(text(LEFT - 12, y + 23, f"x_{row + 1} = {pixel}", size=19, anchor="end", colour=DATA))
    parts.append(text(LEFT, y - 7, f"{low:.3g}", size=16, colour=MUTED))
    parts.append(text(LEFT + WIDTH, y - 7, f"{high:.3g}", size=16, colour=MUTED))
    return parts


def draw() -> str:
    """Three bars, each the chosen part of the one above, stretched; the last part with its middle."""
    low, high, parts = 0.0, 1.0, []
    for row, (cut, pixel) in enumerate(zip(CUTS, PIXELS, strict=True)):
        parts += bar(row, cut, pixel, low, high)
        border = low + (high - low) * cut
        start, end = (0.0, cut) if pixel == 0 else (cut, 1.0)
        low, high = (low, border) if pixel == 0 else (border, high)
        y = TOP + GAP * row + HEIGHT
        for fraction, x in ((start, LEFT), (end, LEFT + WIDTH)):
            parts.append(
                f'<line x1="{LEFT + WIDTH * fraction:g}" y1="{y}" x2="{x}" y2="{y + GAP - HEIGHT}" '
                f'stroke="{NOISE}" stroke-dasharray="4 4"/>'
            )
    y = TOP + GAP * len(PIXELS)
    parts.append(
        f'<rect x="{LEFT}" y="{y}" width="{WIDTH}" height="{HEIGHT}" fill="{MODEL}" fill-opacity="0.35" '
        f'stroke="{INK}" stroke-width="1.5"/>'
    )
    middle, width = (low + high) / 2, high - low
    length = next(k for k in range(64) if 2**-k <= width) + 1
    code = f"{int(middle * 2**length):0{length}b}"
    binary = f"{middle:.4f} = 0.{code}… in binary"
    parts.append(
        f'<line x1="{LEFT + WIDTH / 2}" y1="{y - 5}" x2="{LEFT + WIDTH / 2}" y2="{y + HEIGHT + 5}" '
        f'stroke="{INK}" stroke-width="3"/>'
    )
    parts.append(text(LEFT, y - 7, f"{low:.4g}", size=16, colour=MUTED))
    parts.append(text(LEFT + WIDTH, y - 7, f"{high:.3g}", size=16, colour=MUTED))
    parts.append(text(LEFT + WIDTH / 2, y + HEIGHT + 28, f"middle {binary}: the code is {code}", size=18))
    return svg(632, y + HEIGHT + 44, parts)


if __name__ == "__main__":
    write(__file__, draw())
