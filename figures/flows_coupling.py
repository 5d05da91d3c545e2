"""Draw a coupling layer: `python figures/flows_coupling.py` writes flows_coupling.svg."""

from drawing import DATA, INK, MODEL, MUTED, NOISE, UNIT, arrow, circle, svg, text, write

LEFT, RIGHT, TOP, BOTTOM = 60, 540, 70, 200  # centres of the circles


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
        arrow(LEFT + 27, BOTTOM, 241, BOTTOM, colour=INK),
        arrow(319, BOTTOM, 386, BOTTOM, colour=INK),
        arrow(434, BOTTOM, RIGHT - 28, BOTTOM, colour=INK),
        arrow(170, TOP, 170, 112),
        *box(170, 135, "network"),
        arrow(219, 146, 276, BOTTOM - 25, bend=-4),
        arrow(219, 128, 406, BOTTOM - 25, bend=-10),
        *box(280, BOTTOM, "\u00d7 exp s", width=76),
        *box(410, BOTTOM, "+ t", width=46),
        text(238, 176, "s", size=19, style="font-style:italic"),
        text(352, 126, "t", size=19, style="font-style:italic"),
        text(300, 56, "kept", size=16, colour=MUTED),
        text(300, 256, "back: subtract t, divide by exp s; the network has the same input", size=16, colour=MUTED),
    ]
    return svg(600, 276, parts)


if __name__ == "__main__":
    write(__file__, draw())
