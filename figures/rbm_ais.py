"""Draw the path of annealed importance sampling: `python figures/rbm_ais.py` writes rbm_ais.svg."""

from itertools import pairwise

from drawing import DATA, INK, MODEL, MUTED, NOISE, arrow, svg, text, write

X = (85, 215, 345, 475, 605)
BETAS = ("0", "β_1", "β_2", ". . .", "1")
# A seven in eight rows; the further the path has gone, the fewer pixels are wrong.
SEVEN = ("........", ".######.", ".....##.", "....##..", "...##...", "...##...", "..##....", "........")


def pixels(x: float, wrong: int) -> list[str]:
    """A small picture: of every 16 pixels `wrong` are flipped, always the same ones."""
    parts = [f'<rect x="{x - 36}" y="72" width="72" height="72" fill="none" stroke="{NOISE}"/>']
    for i, line in enumerate(SEVEN):
        for j, mark in enumerate(line):
            flip = (7 * i + 11 * j + i * j) % 16 < wrong
            if (mark == "#") != flip:
                parts.append(f'<rect x="{x - 36 + 9 * j}" y="{72 + 9 * i}" width="9" height="9" fill="{INK}"/>')
    return parts


def draw() -> str:
    """Five pictures from noise to a digit, arrows between them, the two directions above and below."""
    parts: list[str] = []
    for x, beta, wrong in zip(X, BETAS, (8, 5, 3, 2, 0), strict=True):
        parts += pixels(x, wrong)
        parts.append(text(x, 168, f"β = {beta}" if beta[0] in "01" else beta, size=16))
    parts += [arrow(a + 42, 108, b - 42, 108) for a, b in pairwise(X)]
    parts += [
        text(X[0], 192, "independent pixels", size=15, colour=DATA),
        text(X[0], 212, "Z is known", size=15, colour=MUTED),
    ]
    parts += [
        text(X[-1], 192, "the machine", size=15, colour=MODEL),
        text(X[-1], 212, "Z is wanted", size=15, colour=MUTED),
    ]
    parts.append(text(345, 196, "each step: multiply the weight,", size=15, colour=MUTED))
    parts.append(text(345, 215, "then one Gibbs sweep", size=15, colour=MUTED))
    parts += [
        arrow(150, 44, 540, 44, colour=INK),
        text(345, 32, "forward: log Z comes out too low on average", size=16),
    ]
    parts += [
        arrow(540, 246, 150, 246, colour=INK),
        text(345, 268, "reverse, from samples of the machine: too high", size=16),
    ]
    return svg(690, 284, parts)


if __name__ == "__main__":
    write(__file__, draw())
