"""Draw one training step of an energy by sampling: `python figures/em_training.py` writes em_training.svg."""

from drawing import DATA, INK, MODEL, MUTED, NOISE, arrow, svg, text, words_box, write


def draw() -> str:
    """Data above, chains below, the contrast and the step at the right, the way back into the buffer."""
    parts = words_box(12, 16, 150, ("data",), DATA)
    parts += words_box(12, 92, 150, ("fresh noise",), NOISE)
    parts += words_box(12, 168, 150, ("replay buffer", "old end points"), MODEL)
    parts += words_box(250, 132, 132, ("20 steps", "of Langevin"), MODEL)
    parts += [arrow(166, 117, 246, 152), arrow(166, 205, 246, 182)]
    parts.append(text(222, 112, "1 in 20", size=15, colour=MUTED))
    parts.append(text(212, 216, "most", size=15, colour=MUTED))
    parts += words_box(450, 16, 128, ("lower E", "on data"), DATA)
    parts += words_box(450, 132, 128, ("raise E", "on samples"), MODEL)
    parts += [arrow(166, 41, 446, 46, colour=INK), arrow(386, 169, 446, 169, colour=INK)]
    parts += words_box(640, 74, 84, ("step", "of \u03b8"), INK)
    parts += [arrow(582, 58, 636, 98, colour=INK), arrow(582, 164, 636, 126, colour=INK)]
    parts.append(arrow(514, 210, 96, 246, dashed=True, bend=46))
    parts.append(text(480, 288, "the end points go back into the buffer", size=16, colour=MUTED))
    return svg(738, 306, parts)


if __name__ == "__main__":
    write(__file__, draw())
