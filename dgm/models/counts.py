"""Bayesian networks of binary variables whose conditional probabilities are counts, and the best tree, in NumPy.

Taught in the lecture `divergences`, which holds the twins.  Imports no framework.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from graphlib import TopologicalSorter

import numpy as np

__all__ = ["CountTable", "maximum_spanning_tree", "mutual_information", "neighbours"]


class CountTable:
    """p(x) = prod_i p(x_i | x_parents(i)), each factor a table of counts (eq-div-network, eq-div-counts).

    The estimate is (count + pseudo_count) / (total + 2 pseudo_count): 1/2 is that of Krichevsky and Trofimov (1981),
    0 is maximum likelihood, where a context that never came has probability 1/2.

    Attributes:
        parents: for each variable the indices of its parents; no cycles.
        counts: for each variable an integer array of shape (2^num_parents, 2), one row a context, the first parent its
            highest bit; column b counts the examples with x_i = b.
        log_probs: natural logarithms of the estimates, arrays of the same shapes.
    """

    def __init__(self, x: np.ndarray, parents: Sequence[Sequence[int]], *, pseudo_count: float = 0.5) -> None:
        self.parents = parents
        self.counts, self.log_probs = [], []
        for cell, given in zip(self.cells(x), parents, strict=True):
            counts = np.bincount(cell, minlength=2 ** (len(given) + 1)).reshape(-1, 2)
            weights = counts + pseudo_count
            total = weights.sum(1, keepdims=True)
            probs = np.divide(weights, total, out=np.full(weights.shape, 0.5), where=total > 0)
            with np.errstate(divide="ignore"):
                self.log_probs.append(np.log(probs))
            self.counts.append(counts)

    def cells(self, x: np.ndarray) -> Iterator[np.ndarray]:
        """For each variable in turn the place in its table: 2 context + x_i, integers of shape (num_examples,)."""
        columns = np.ascontiguousarray(x.T, dtype=np.uint8)
        for i, given in enumerate(self.parents):
            cell = np.zeros(len(x), dtype=np.int32)
            for j in (*given, i):
                cell = 2 * cell + columns[j]
            yield cell

    def num_parameters(self) -> int:
        """sum_i 2^num_parents(i): one probability for each context."""
        return sum(2 ** len(given) for given in self.parents)

    def log_prob(self, x: np.ndarray) -> np.ndarray:
        """log p(x) in nats, shape (num_examples,), of zeros and ones of shape (num_examples, num_variables)."""
        tables = zip(self.log_probs, self.cells(x), strict=True)
        return sum(table.ravel()[cell] for table, cell in tables)

    def sample(self, num_samples: int, *, rng: np.random.Generator) -> np.ndarray:
        """Ancestral sampling: parents first.  Zeros and ones, uint8 of shape (num_samples, num_variables).

        Variable i uses column i of the uniform numbers, so that equal seeds make different networks comparable.
        """
        uniform = rng.random((num_samples, len(self.parents)))
        x = np.zeros(uniform.shape, dtype=np.uint8)
        for i in TopologicalSorter(dict(enumerate(self.parents))).static_order():
            context = np.zeros(num_samples, dtype=np.int32)
            for j in self.parents[i]:
                context = 2 * context + x[:, j]
            x[:, i] = uniform[:, i] < np.exp(self.log_probs[i][context, 1])
        return x


def neighbours(offsets: Sequence[tuple[int, int]], height: int = 28, width: int = 28) -> list[tuple[int, ...]]:
    """The parents of each pixel, row by row: the pixels at `offsets` (rows, columns) from it that are in the image.

    Offsets that point to earlier pixels, (0, -1), (-1, 0) and so on, make a network without cycles.
    """
    return [
        tuple(
            (row + down) * width + column + right
            for down, right in offsets
            if 0 <= row + down < height and 0 <= column + right < width
        )
        for row in range(height)
        for column in range(width)
    ]


def mutual_information(x: np.ndarray) -> np.ndarray:
    """I(x_i; x_j) of the examples in nats, shape (num_variables, num_variables); the diagonal is the entropy of x_i."""
    x = x.astype(np.float32)  # counts are exact up to 2^24
    both = (x.T @ x).astype(np.float64)
    on = np.diag(both)
    joint = np.stack([both, on[:, None] - both, on - both, len(x) - on[:, None] - on + both])
    joint = joint / len(x)
    entropy = -(joint * np.log(np.where(joint > 0, joint, 1))).sum(0)
    alone = np.diag(entropy)
    return alone[:, None] + alone - entropy


def maximum_spanning_tree(weights: np.ndarray, root: int = 0) -> list[tuple[int, ...]]:
    """The tree whose edges have the largest sum of `weights`, as parents of each variable; Prim's algorithm.

    With the mutual information as weights it is the tree of Chow and Liu (1968) (eq-div-tree).
    """
    parents = [()] * len(weights)
    best, link = weights[root].copy(), np.full(len(weights), root)
    outside = np.arange(len(weights)) != root
    while outside.any():
        i = int(np.where(outside, best, -np.inf).argmax())
        parents[i] = (int(link[i]),)
        outside[i] = False
        closer = weights[i] > best
        best[closer], link[closer] = weights[i][closer], i
    return parents
