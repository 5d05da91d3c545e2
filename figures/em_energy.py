"""Draw an energy with its parabola: `python figures/em_energy.py` writes em_energy.svg."""

from drawing import DATA, INK, MODEL, MUTED, arrow, circle, svg, text, words_box, write


def draw() -> str:
    """A point, the network and the parabola, their sum, the density."""
    parts = [circle(44, 110, "x", DATA)]
    parts += words_box(128, 22, 168, ("network f", "free to bend"), MODEL)
    parts += words_box(128, 124, 168, ("parabola", "wins far out"), MODEL)
    parts += [arrow(68, 100, 124, 68), arrow(68, 120, 124, 152)]
    parts += [circle(366, 110, "+", MODEL, radius=20)]
    parts += [arrow(300, 62, 350, 94), arrow(300, 156, 350, 126)]
    parts += [arrow(390, 110, 430, 110, colour=INK)]
    parts += words_box(434, 73, 92, ("E(x)", "energy"), MODEL)
    parts += [arrow(530, 110, 570, 110, colour=INK)]
    parts += words_box(574, 73, 126, ("exp(-E) / Z", "density"), INK)
    parts.append(text(568, 186, "Z, the integral of exp(-E), is never", size=16, colour=MUTED))
    parts.append(text(568, 208, "needed in the training", size=16, colour=MUTED))
    return svg(716, 226, parts)


if __name__ == "__main__":
    write(__file__, draw())
