"""Draw how two programs are compared: `python figures/rbmk_experiment.py` writes rbmk_experiment.svg."""

from drawing import DATA, INK, MODEL, MUTED, NOISE, arrow, svg, text, write


def box(x: float, y: float, width: float, lines: tuple[str, ...], colour: str) -> list[str]:
    """A frame around lines of text; the first is the name, `x` and `y` are its middle and its top."""
    height = 24 + 25 * len(lines)
    frame = f'x="{x - width / 2:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="8"'
    parts = [f'<rect {frame} fill="none" stroke="{colour}" stroke-width="2.5"/>']
    sizes = (19, *[16] * (len(lines) - 1))
    return parts + [
        text(x, y + 31 + 25 * i, line, size=size, colour=INK if i == 0 else MUTED)
        for i, (line, size) in enumerate(zip(lines, sizes, strict=True))
    ]


def draw() -> str:
    """The numbers on the left, two programs side by side, the comparison on the right."""
    parts = box(112, 62, 208, ("The same numbers", "weights", "batch of images", "uniform numbers u"), NOISE)
    parts += box(390, 18, 190, ("PyTorch", "makes one step"), DATA)
    parts += box(390, 160, 190, ("Keras", "makes one step"), MODEL)
    parts += box(640, 86, 170, ("Equal?", "to one millionth"), INK)
    parts += [arrow(220, 100, 290, 62), arrow(220, 148, 290, 190)]
    parts += [arrow(488, 62, 552, 106), arrow(488, 190, 552, 142)]
    parts += [text(528, 52, "new weights", size=15, colour=MUTED, anchor="start")]
    parts += [text(528, 206, "new weights", size=15, colour=MUTED, anchor="start")]
    return svg(740, 250, parts)


if __name__ == "__main__":
    write(__file__, draw())
