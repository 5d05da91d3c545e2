"""Draw what learning needs: `python figures/divergences_learning.py` writes divergences_learning.svg."""

from drawing import DATA, INK, MODEL, MUTED, arrow, svg, text, write

TIPS = [(96, 152), (176, 120), (262, 99), (340, 90)]  # the way of a search, on the family


def draw() -> str:
    """A curve, the family; a point off it, the data; the shortest way between them; steps along the curve."""
    start, end, data = TIPS[0], TIPS[-1], (348, 30)
    family = f"M40 178 Q{170} {96} {end[0]} {end[1]} T640 138"
    parts = [
        f'<path d="{family}" fill="none" stroke="{MODEL}" stroke-width="3"/>',
        f'<path d="M{data[0]} {data[1]} L{end[0]} {end[1]}" stroke="{INK}" stroke-width="2" stroke-dasharray="5 4"/>',
        f'<circle cx="{data[0]}" cy="{data[1]}" r="8" fill="{DATA}"/>',
        f'<circle cx="{end[0]}" cy="{end[1]}" r="8" fill="{MODEL}"/>',
        f'<circle cx="{start[0]}" cy="{start[1]}" r="6" fill="none" stroke="{MODEL}" stroke-width="3"/>',
        text(data[0] - 18, data[1] + 6, "data", size=19, anchor="end", colour=DATA),
        text(data[0] + 14, 66, "2. a measure: KL", size=18, anchor="start"),
        text(end[0] + 4, end[1] + 36, "best model", size=18, colour=MODEL),
        text(636, 170, "1. a family", size=18, anchor="end", colour=MODEL),
        text(30, 86, "3. a search", size=18, anchor="start", colour=MUTED),
    ]
    for (x1, y1), (x2, y2) in zip(TIPS[:-1], TIPS[1:], strict=True):
        parts.append(arrow(x1, y1 - 16, x2 - 8, y2 - 14, bend=-5))
    return svg(660, 186, parts)


if __name__ == "__main__":
    write(__file__, draw())
