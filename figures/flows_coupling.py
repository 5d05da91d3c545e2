"""Draw a coupling layer: `python figures/flows_coupling.py` writes flows_coupling.svg."""

from drawing import DATA, INK, MODEL, MUTED, NOISE, UNIT, arrow, circle, svg, text, write

LEFT, RIGHT, TOP, BOTTOM = 44, 416, 70, 200  # centres of the circles


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
        arrow(122, TOP, 122, 112),
        *box(122, 135, "network"),
        arrow(171, 146, 208, BOTTOM - 25, bend=-4),
        arrow(171, 128, 316, BOTTOM - 25, bend=-10),
        *box(210, BOTTOM, "\u00d7 exp s", width=76),
        *box(320, BOTTOM, "+ t", width=46),
        text(176, 168, "s", size=19, style="font-style:italic"),
        text(270, 130, "t", size=19, style="font-style:italic"),
        text(240, 56, "kept", size=18, colour=MUTED),
        text(230, 258, "back: subtract t, divide by exp s;", size=18, colour=MUTED),
        text(230, 282, "the network has the same input", size=18, colour=MUTED),
    ]
    return svg(460, 300, parts)


if __name__ == "__main__":
    write(__file__, draw())
