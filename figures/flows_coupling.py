"""Draw a coupling layer: `python figures/flows_coupling.py` writes flows_coupling.svg."""

from drawing import DATA, INK, MODEL, MUTED, NOISE, UNIT, arrow, circle, svg, text, write

LEFT, RIGHT, TOP, BOTTOM = 44, 416, 50, 180  # centres of the circles


def box(x: float, y: float, words: str, *, width: float = 96) -> list[str]:
    """A box with rounded corners and words in its middle."""
    frame = f'<rect x="{x - width / 2:g}" y="{y - 22:g}" width="{width:g}" height="44" rx="8" '
    return [f'{frame}fill="{UNIT}" stroke="{MODEL}" stroke-width="3"/>', text(x, y + 6, words)]


def draw() -> str:
    """The kept half above, the half that changes below, the network between them."""
    parts = [
        circle(LEFT, TOP, "x_a", DATA),
        circle(LEFT, BOTTOM, "x_b", DATA),
        circle(RIGHT, TOP, "z_a", NOISE),
        circle(RIGHT, BOTTOM, "z_b", NOISE),
        arrow(LEFT + 27, TOP, RIGHT - 28, TOP, colour=INK),
        arrow(LEFT + 27, BOTTOM, 171, BOTTOM, colour=INK),
        arrow(249, BOTTOM, 296, BOTTOM, colour=INK),
        arrow(344, BOTTOM, RIGHT - 28, BOTTOM, colour=INK),
        arrow(122, TOP, 122, 92),
        *box(122, 115, "network"),
        arrow(171, 126, 208, BOTTOM - 25, bend=-4),
        arrow(171, 108, 316, BOTTOM - 25, bend=-10),
        *box(210, BOTTOM, "\u00d7 exp s", width=76),
        *box(320, BOTTOM, "+ t", width=46),
        text(176, 148, "s", size=19, style="font-style:italic"),
        text(270, 110, "t", size=19, style="font-style:italic"),
        text(240, 36, "kept", size=18, colour=MUTED),
        text(230, 238, "back: subtract t, divide by exp s;", size=18, colour=MUTED),
        text(230, 262, "the network has the same input", size=18, colour=MUTED),
    ]
    return svg(460, 278, parts)


if __name__ == "__main__":
    write(__file__, draw())
