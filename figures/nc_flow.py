"""Draw flow-contrastive estimation: `python figures/nc_flow.py` writes nc_flow.svg."""

from drawing import DATA, INK, MODEL, MUTED, NOISE, arrow, circle, svg, text, words_box, write


def draw() -> str:
    """Noise through the flow, data beside it, one classifier, one loss, two directions."""
    parts = [circle(40, 160, "z", NOISE), arrow(66, 160, 106, 160, colour=INK)]
    parts += words_box(110, 123, 152, ("flow", "x, and log q(x)"), MODEL)
    parts += words_box(110, 30, 152, ("data",), DATA)
    parts += words_box(356, 78, 154, ("classifier", "-E - c - log q"), MODEL)
    parts += [arrow(266, 58, 352, 100, colour=INK), arrow(266, 154, 352, 126, colour=INK)]
    parts += [arrow(514, 115, 570, 115, colour=INK), *words_box(574, 90, 84, ("loss",), INK)]
    parts.append(arrow(616, 86, 434, 74, dashed=True, bend=-36))
    parts.append(text(524, 26, "energy and c: down", size=16, colour=MUTED))
    parts.append(arrow(616, 144, 186, 202, dashed=True, bend=38))
    parts.append(text(470, 236, "flow: up", size=16, colour=MUTED))
    return svg(714, 254, parts)


if __name__ == "__main__":
    write(__file__, draw())
