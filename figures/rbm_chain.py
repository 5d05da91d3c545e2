"""Draw one step of contrastive divergence: `python figures/rbm_chain.py` writes rbm_chain.svg."""

from drawing import DATA, INK, MODEL, MUTED, arrow, circle, svg, text, write

UP, DOWN = 75, 165  # heights of the hidden and of the visible row


def draw() -> str:
    """Data, sweeps, the last sample; below what they are for, above the names of the steps."""
    x = [100, 200, 300, 400, 500, 600]
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
    parts += [text(118, 108, "p(h | v)", size=15, colour=MUTED), text(282, 108, "p(v | h)", size=15, colour=MUTED)]
    parts.append(text(200, 34, "one sweep", size=15, colour=MUTED))
    parts.append(f'<path d="M102 46 H298" stroke="{MUTED}" fill="none" stroke-dasharray="2 4"/>')
    parts += [text(x[0], 215, "positive phase", colour=DATA), text(x[0], 237, "lower F here", size=15, colour=INK)]
    parts += [text(x[5], 215, "negative phase", colour=MODEL), text(x[5], 237, "raise F here", size=15, colour=INK)]
    parts.append(arrow(22, DOWN, x[0] - 28, DOWN, dashed=True))
    parts.append(text(38, DOWN - 14, "new data", size=15, colour=MUTED))
    parts.append(arrow(x[5] + 24, DOWN, x[5] + 82, DOWN, dashed=True))
    parts.append(text(x[5] + 50, DOWN - 62, "PCD: the next", size=15, colour=MUTED))
    parts.append(text(x[5] + 50, DOWN - 43, "step goes on", size=15, colour=MUTED))
    return svg(710, 250, parts)


if __name__ == "__main__":
    write(__file__, draw())
