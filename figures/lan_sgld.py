"""Draw a step of SGLD: `python figures/lan_sgld.py` writes lan_sgld.svg."""

from drawing import DATA, INK, MODEL, MUTED, NOISE, UNIT, arrow, circle, svg, text, write

CHOSEN = {2, 5, 6, 13, 19}


def box(x: float, y: float, width: float, height: float, colour: str) -> str:
    """A box for words."""
    return (
        f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="8" fill="{UNIT}" stroke="{colour}" '
        'stroke-width="2"/>'
    )


def draw() -> str:
    """The data with a mini-batch, its scaled gradient and the prior's, and the Langevin step of the parameters."""
    parts = []
    for i in range(24):
        x, y = 30 + 22 * (i % 6), 66 + 22 * (i // 6)
        fill, stroke = (DATA, DATA) if i in CHOSEN else ("none", NOISE)
        parts.append(f'<rect x="{x}" y="{y}" width="16" height="16" fill="{fill}" stroke="{stroke}"/>')
    parts += [
        text(93, 48, "N data", size=17),
        text(93, 178, "mini-batch of n", size=16, colour=DATA),
        arrow(168, 108, 222, 108),
        box(226, 62, 172, 92, DATA),
        text(312, 92, "N/n times the sum", size=16),
        text(312, 114, "of n gradients,", size=16),
        text(312, 136, "+ that of the prior", size=16),
        arrow(400, 108, 452, 108),
        text(425, 92, "ŝ(θ)", size=17),
        box(456, 62, 198, 92, MODEL),
        text(555, 92, "Langevin step", size=16, colour=MUTED),
        text(555, 124, "θ + η ŝ(θ) + √(2η) ξ", size=18),
        circle(555, 222, "θ", MODEL, radius=22),
        arrow(555, 156, 555, 196, colour=INK),
        arrow(530, 222, 312, 160, colour=INK, bend=22),
        text(318, 226, "the new θ meets new data", size=15, colour=MUTED),
    ]
    return svg(680, 256, parts)


if __name__ == "__main__":
    write(__file__, draw())
