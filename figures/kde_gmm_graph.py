"""Draw how a kernel density estimate and a mixture make a point: `python figures/kde_gmm_graph.py` writes the SVG."""

from drawing import DATA, MODEL, MUTED, NOISE, arrow, circle, svg, text, write


def draw() -> str:
    """Two ways to draw a point, side by side."""
    parts = [text(165, 34, "kernel density estimate", size=19), text(505, 34, "mixture", size=19)]
    parts += [circle(45 + 48 * i, 90, "", DATA, radius=9) for i in range(6)]
    parts += [
        text(30, 66, "pick a data point, each with 1/N", size=16, anchor="start", colour=MUTED),
        circle(189, 90, "", MODEL, radius=15),
        circle(189, 90, "", DATA, radius=9),
        arrow(189, 108, 189, 186),
        text(202, 152, "add noise, h² I", size=16, anchor="start", colour=MUTED),
        circle(189, 212, "x", DATA),
        f'<line x1="338" y1="20" x2="338" y2="244" stroke="{NOISE}" stroke-dasharray="3 6"/>',
    ]
    parts += [circle(x, 94, "", MODEL, radius=radius) for x, radius in ((420, 16), (505, 26), (590, 11))]
    parts += [text(x, 100, f"{k}", size=16) for k, x in ((1, 420), (2, 505), (3, 590))]
    parts += [
        text(360, 60, "pick a component z, with π_z", size=16, anchor="start", colour=MUTED),
        arrow(505, 122, 505, 186),
        text(494, 160, "N(μ_z, Σ_z)", size=16, anchor="end", colour=MUTED),
        circle(505, 212, "x", DATA),
        arrow(531, 206, 594, 110, dashed=True, bend=14),
        text(588, 188, "p(z|x)", size=16, anchor="start", colour=MUTED),
    ]
    return svg(672, 250, parts)


if __name__ == "__main__":
    write(__file__, draw())
