"""Draw one step of contrastive divergence as a function: `python figures/rbmk_step.py` writes rbmk_step.svg."""

from drawing import DATA, INK, MODEL, MUTED, NOISE, arrow, circle, svg, text, write

UP, DOWN = 70, 190


def box(x: float, y: float, width: float, words: str, colour: str) -> list[str]:
    """A frame around a few words, centred at (x, y)."""
    frame = f'x="{x - width / 2:g}" y="{y - 24:g}" width="{width:g}" height="48" rx="8"'
    return [
        f'<rect {frame} fill="none" stroke="{colour}" stroke-width="2.5"/>',
        text(x, y + 6, words, size=17, colour=INK),
    ]


def draw() -> str:
    """Above the data, below the sweeps; on the right the difference and the new weights."""
    parts = [circle(50, UP, "v", DATA), circle(50, DOWN, "v_s", MODEL), circle(320, DOWN, "v'", MODEL)]
    parts += box(185, DOWN, 120, "k sweeps", MODEL) + box(435, UP, 100, "phase", DATA)
    parts += box(435, DOWN, 100, "phase", MODEL) + box(655, (UP + DOWN) / 2, 120, "new W, b, c", INK)
    parts += [circle(185, UP + 32, "u", NOISE, radius=20), arrow(185, UP + 53, 185, DOWN - 27)]
    parts += [arrow(76, UP, 382, UP), arrow(76, DOWN, 122, DOWN), arrow(247, DOWN, 294, DOWN)]
    parts.append(arrow(346, DOWN, 382, DOWN))
    parts += [arrow(487, UP + 6, 592, 116, colour=DATA), arrow(487, DOWN - 6, 592, 144, colour=MODEL)]
    parts += [text(548, UP + 4, "plus", size=16, colour=DATA), text(552, DOWN + 6, "minus", size=16, colour=MODEL)]
    parts.append(text(50, UP - 38, "data", size=15, colour=MUTED))
    parts.append(text(50, DOWN + 46, "start", size=15, colour=MUTED))
    return svg(730, 250, parts)


if __name__ == "__main__":
    write(__file__, draw())
