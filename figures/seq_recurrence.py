"""Draw a recurrent network, unrolled: `python figures/seq_recurrence.py` writes seq_recurrence.svg."""

from drawing import DATA, MODEL, MUTED, arrow, circle, svg, text, write

READ, STATE, PREDICTED = 205, 120, 40  # heights of the three rows


def draw() -> str:
    """What is read below, the states in the middle, what they predict above."""
    x = [130, 260, 390, 520]
    parts = [text(20, y, label, size=17, anchor="start") for y, label in ((211, "reads"), (126, "state"))]
    parts.append(text(20, 46, "predicts", size=17, anchor="start"))
    for i, place in enumerate(x):
        read = "start" if i == 0 else f"x_{i}"
        parts.append(text(place, READ + 6, read, size=19, colour=DATA, style="font-style:italic"))
        parts.append(arrow(place, READ - 16, place, STATE + 27))
        parts.append(circle(place, STATE, f"h_{i + 1}", MODEL))
        parts.append(arrow(place, STATE - 27, place, PREDICTED + 14))
        parts.append(text(place, PREDICTED + 6, f"x_{i + 1}", size=19, colour=MODEL, style="font-style:italic"))
        end = x[i + 1] - 27 if i < 3 else place + 90
        parts.append(arrow(place + 27, STATE, end, STATE))
        parts.append(
            text((place + 27 + end) / 2 - 4, STATE - 10, "f", size=18, colour=MUTED, style="font-style:italic")
        )
    parts.append(text(640, STATE + 6, ". . .", size=20, colour=MUTED))
    return svg(670, 235, parts)


if __name__ == "__main__":
    write(__file__, draw())
