"""Draw causal attention and the block around it: `python figures/seq_attention.py` writes seq_attention.svg."""

from drawing import DATA, INK, MODEL, MUTED, NOISE, UNIT, arrow, circle, svg, text, write


def box(x: float, y: float, words: str, colour: str) -> str:
    """A step of the block."""
    frame = f'<rect x="{x - 62}" y="{y - 15}" width="124" height="30" rx="6" fill="{UNIT}" stroke="{colour}"'
    return frame + ' stroke-width="2.5"/>' + text(x, y + 6, words, size=16)


def plus(x: float, y: float) -> str:
    """Where a bypass joins."""
    return f'<circle cx="{x}" cy="{y}" r="11" fill="{UNIT}" stroke="{INK}" stroke-width="2"/>' + text(x, y + 6, "+")


def draw() -> str:
    """Left, who sees whom; right, one block from below to above."""
    x, low, high = [60, 150, 240, 330], 235, 105
    parts = [
        f'<line x1="{a}" y1="{low}" x2="{b}" y2="{high}" stroke="{MODEL if i == j else NOISE}" stroke-width="2"/>'
        for i, b in enumerate(x)
        for j, a in enumerate(x)
        if j <= i
    ]
    for i, place in enumerate(x):
        parts.append(circle(place, low, f"e_{i + 1}", DATA))
        parts.append(circle(place, high, f"y_{i + 1}", MODEL))
        read = "start" if i == 0 else f"x_{i}"
        parts.append(text(place, low + 52, read, size=18, colour=DATA, style="font-style:italic"))
        parts.append(text(place, high - 40, f"x_{i + 1}", size=18, colour=MODEL, style="font-style:italic"))
    parts.append(text(195, 30, "no line comes from the right", size=16, colour=MUTED))
    column, side = 500, 612
    heights = {"norm": 277, "attention": 228, "norm ": 131, "network": 82}
    parts.append(arrow(column, 322, column, 293))
    for words, y in heights.items():
        parts.append(box(column, y, words.strip(), MODEL if words.strip() != "norm" else MUTED))
    parts += [arrow(column, 262, column, 244), arrow(column, 213, column, 191), plus(column, 178)]
    parts += [arrow(column, 167, column, 147), arrow(column, 116, column, 98), arrow(column, 67, column, 45)]
    parts += [plus(column, 32), arrow(column, 21, column, 4)]
    for start, end in ((309, 178), (158, 32)):
        path = f"M{column} {start} H{side} V{end} H{column + 13}"
        parts.append(f'<path d="{path}" fill="none" stroke="{MUTED}" stroke-width="2" marker-end="url(#tip)"/>')
    return svg(660, 330, parts)


if __name__ == "__main__":
    write(__file__, draw())
