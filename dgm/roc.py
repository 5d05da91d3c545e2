"""How well a number tells two kinds apart: the area under the ROC curve, with its error.  Imports no framework.

Used by the lecture `energy_models` (eq-em-area).
"""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["roc_area"]


def _share_below(values: np.ndarray, others: np.ndarray) -> np.ndarray:
    """For each value the share of `others` below it; equal ones count one half."""
    others = np.sort(others)
    return (np.searchsorted(others, values, "left") + np.searchsorted(others, values, "right")) / (2 * len(others))


def roc_area(low: Any, high: Any) -> tuple[float, float]:
    """P(high > low) + P(high = low) / 2 for values drawn at random from each, and its standard error.

    Args:
        low: the kind that should have the lower values, shape (num_examples,); a tensor may be on any device.
        high: the other kind, as many; row i may be a changed copy of row i of `low`: the error allows for that.

    Returns:
        The area, 1 where all of `high` is above all of `low`; its standard error, by DeLong, DeLong and Clarke-Pearson
        1988, which knows of the examples that were drawn and of nothing else.

    Raises:
        ValueError: not two vectors of one length of at least 2.
    """
    low, high = (np.asarray(part.cpu() if hasattr(part, "cpu") else part, dtype=float) for part in (low, high))
    if low.ndim != 1 or low.shape != high.shape or len(low) < 2:
        raise ValueError(f"expected two vectors of one length of at least 2, got {low.shape} and {high.shape}")
    of_high, of_low = _share_below(high, low), 1 - _share_below(low, high)
    error = np.std(of_high + of_low, ddof=1) / len(low) ** 0.5
    return float(of_high.mean()), float(error)
