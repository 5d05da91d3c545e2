"""Draw one step of contrastive divergence: `python figures/rbm_chain.py` writes rbm_chain.svg."""

from drawing import DATA, INK, MODEL, MUTED, arrow, circle, svg, text, write

UP, DOWN = 75, 165  # heights of the hidden and of the visible row


def draw() -> str:
    """Data, sweeps, the last sample; below what they are for, above the names of the steps."""
    x = [90, 190, 290, 390, 490, 590]
    parts = [circle(x[0], DOWN, "v_0", DATA), circle(x[1], UP, "h_0", MODEL), circle(x[2], DOWN, "v_1", MODEL)]
    parts += [
        circle(x[3], UP, "h_1", MODEL),
        text(x[4] - 30, DOWN + 6, ". . .", size=22),
        circle(x[5], DOWN, "v_k", MODEL),
    ]
    for i, (start, end) in enumerate(((DOWN, UP), (UP, DOWN), (DOWN, UP), (UP, DOWN))):
        right = x[i + 1] - (40 if i == 3 else 0)
        slope = 20 if end > start else -20
        parts.append(arrow(x[i] + 20, start + slope, right - 20, end - slope))
    parts.append(arrow(x[4] + 5, DOWN, x[5] - 28, DOWN))
    parts += [text(108, 108, "p(h | v)", size=15, colour=MUTED), text(272, 108, "p(v | h)", size=15, colour=MUTED)]
    parts.append(text(290, 30, "one sweep", size=15, colour=MUTED))
    parts.append(f'<path d="M92 46 H288" stroke="{MUTED}" fill="none" stroke-dasharray="2 4"/>')
    parts += [text(x[0], 215, "positive phase", colour=DATA), text(x[0], 237, "lower F here", size=15, colour=INK)]
    parts += [text(x[5], 215, "negative phase", colour=MODEL), text(x[5], 237, "raise F here", size=15, colour=INK)]
    parts.append(arrow(x[5] - 22, DOWN + 22, x[0] + 28, DOWN + 16, dashed=True, bend=52))
    parts.append(
        text(340, 263, "PCD: the next step goes on from here;  CD-k: it starts at new data", size=15, colour=MUTED)
    )
    return svg(680, 278, parts)


if __name__ == "__main__":
    write(__file__, draw())
