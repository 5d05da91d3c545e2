"""Draw one step of EM as three bars: `python figures/kde_gmm_em.py` writes kde_gmm_em.svg."""

from drawing import INK, MODEL, MUTED, NOISE, PAPER, arrow, svg, text, write

FLOOR, WIDTH = 250, 92


def bar(x: float, bound: float, log_p: float, name: str) -> list[str]:
    """A bar of height `log_p`, filled up to `bound`."""
    top, where = FLOOR - log_p, f'x="{x:g}" width="{WIDTH}"'
    parts = [
        f'<rect {where} y="{FLOOR - bound:g}" height="{bound:g}" fill="{MODEL}"/>',
        f'<rect {where} y="{top:g}" height="{log_p - bound:g}" fill="{NOISE}" fill-opacity="0.45"/>',
        f'<path d="M{x - 14:g} {top:g} h{WIDTH + 28}" stroke="{INK}" stroke-width="2.5"/>',
        text(x + WIDTH / 2, FLOOR + 26, name, size=17),
        text(x + WIDTH / 2, FLOOR - log_p - 9, "log p(x)", size=16),
    ]
    if log_p - bound > 16:
        parts.append(text(x + WIDTH / 2, FLOOR - (bound + log_p) / 2 + 6, "KL", size=16))
    box = f'x="{x + 18:g}" y="{FLOOR - 46:g}" width="{WIDTH - 36}" height="28"'
    parts += [f'<rect {box} rx="5" fill="{PAPER}"/>', text(x + WIDTH / 2, FLOOR - 26, "ELBO", size=16)]
    return parts


def draw() -> str:
    """Before the step, after the E-step, after the M-step."""
    parts = bar(50, 80, 128, "q, θ") + bar(268, 128, 128, "r, θ") + bar(486, 166, 196, "r, new θ")
    parts += [
        arrow(158, 190, 258, 190),
        text(206, 176, "E-step", size=17),
        text(206, 214, "q ← p(z|x)", size=15, colour=MUTED),
        arrow(376, 190, 476, 190),
        text(424, 176, "M-step", size=17),
        text(424, 214, "θ ← fit", size=15, colour=MUTED),
    ]
    return svg(630, 290, parts)


if __name__ == "__main__":
    write(__file__, draw())
