"""Draw noise-contrastive estimation: `python figures/nc_classifier.py` writes nc_classifier.svg."""

from drawing import DATA, INK, MODEL, MUTED, NOISE, arrow, circle, svg, text, words_box, write


def draw() -> str:
    """Data and noise, the two densities, their difference as a logit, the loss."""
    parts = words_box(12, 22, 104, ("data",), DATA)
    parts += words_box(12, 132, 104, ("noise",), NOISE)
    parts += [circle(190, 102, "x", INK), arrow(120, 52, 170, 88), arrow(120, 152, 170, 116)]
    parts += words_box(268, 12, 132, ("-E(x) - c", "learns"), MODEL)
    parts += words_box(268, 118, 132, ("-log q(x)", "is known"), NOISE)
    parts += [arrow(212, 92, 264, 56), arrow(212, 112, 264, 146)]
    parts += [circle(456, 102, "+", INK, radius=20), arrow(404, 54, 440, 88), arrow(404, 150, 440, 118)]
    parts += [arrow(480, 102, 526, 102, colour=INK), text(503, 90, "\u2113", size=20)]
    parts += words_box(530, 65, 170, ("\u03c3(\u2113): a datum?", "cross-entropy"), INK)
    parts.append(arrow(615, 61, 404, 24, dashed=True, bend=-18))
    parts.append(text(600, 24, "gradient", size=16, colour=MUTED))
    return svg(714, 204, parts)


if __name__ == "__main__":
    write(__file__, draw())
