"""Draw one Langevin step: `python figures/lan_step.py` writes lan_step.svg."""

from drawing import INK, MODEL, MUTED, NOISE, arrow, svg, text, write

START, LANDED, END = (150, 192), (266, 142), (316, 192)  # x_k, after the drift, x_{k+1}
WELL = (440, 66)


def dot(place: tuple[float, float], colour: str) -> str:
    """A particle."""
    return f'<circle cx="{place[0]}" cy="{place[1]}" r="9" fill="{colour}"/>'


def draw() -> str:
    """Circles of equal energy around a well, the drift towards it, the kick around where the drift ends."""
    parts = [
        f'<circle cx="{WELL[0]}" cy="{WELL[1]}" r="{r}" fill="none" stroke="{NOISE}"/>' for r in (56, 118, 180, 242)
    ]
    parts.append(text(WELL[0], WELL[1] + 5, "low energy", size=16, colour=MUTED))
    parts.append(
        f'<circle cx="{LANDED[0]}" cy="{LANDED[1]}" r="73" fill="{NOISE}" fill-opacity="0.22" stroke="{NOISE}" '
        'stroke-dasharray="5 5"/>'
    )
    parts += [arrow(*START, *LANDED, colour=INK), arrow(*LANDED, *END, colour=INK, dashed=True)]
    parts += [dot(START, MODEL), dot(END, MODEL)]
    parts += [
        text(START[0] - 14, START[1] + 26, "x_k", size=20),
        text(END[0] + 18, END[1] + 8, "x_k", size=20, anchor="start"),
        text(END[0] + 38, END[1] + 15, "+1", size=14, anchor="start"),
        text(108, 150, "drift η s(x_k)", size=17),
        text(112, 60, "kick of variance 2η", size=17, colour=INK),
    ]
    return svg(680, 226, parts)


if __name__ == "__main__":
    write(__file__, draw())
