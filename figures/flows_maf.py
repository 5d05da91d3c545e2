"""Draw the two directions of an autoregressive layer: `python figures/flows_maf.py` writes flows_maf.svg."""

from drawing import DATA, INK, MUTED, NOISE, arrow, circle, svg, text, write

STEP, TOP, BOTTOM = 66, 60, 176


def half(left: float, sampling: bool) -> list[str]:
    """Three components above, their noise below; arrows from all that the made one depends on."""
    x = [left + STEP * i for i in range(3)]
    parts: list[str] = []
    for i in range(3):
        for j in range(i + 1):
            colour = INK if i == j else MUTED
            if sampling and i != j:  # from an earlier x to a later one, above the row
                parts.append(arrow(x[j] + 14, TOP - 20, x[i] - 14, TOP - 20, colour=colour, bend=-6 - 11 * (i - j)))
            elif sampling:
                parts.append(arrow(x[i], BOTTOM - 26, x[i], TOP + 28, colour=colour))
            else:
                parts.append(arrow(x[j] + 4 * (i - j), TOP + 25, x[i] - 8 * (i - j), BOTTOM - 27, colour=colour))
    parts += [circle(x[i], TOP, f"x_{i + 1}", DATA) for i in range(3)]
    parts += [circle(x[i], BOTTOM, f"z_{i + 1}", NOISE) for i in range(3)]
    return parts


def draw() -> str:
    """Density on the left, sampling on the right."""
    parts = [*half(50, False), *half(278, True)]
    parts += [
        text(116, 230, "density: one pass", size=18),
        text(116, 254, "all x are known", size=18, colour=MUTED),
        text(344, 230, "sample: d passes", size=18),
        text(344, 254, "each x waits for others", size=18, colour=MUTED),
    ]
    return svg(460, 270, parts)


if __name__ == "__main__":
    write(__file__, draw())
