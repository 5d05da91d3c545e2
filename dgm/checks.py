"""Checks for lectures and tests: each prints one line and raises `CheckFailed` when the claim is wrong.

With `DGM_CHECKS=note` a claim that is wrong is printed and noted, and the run goes on: `make seeds` wants to know which
claims fail on which seed.

A tolerance is derived, not tuned: float precision for identities, five standard errors for estimates.  Arguments may
be numbers, NumPy arrays or tensors of any framework that NumPy can read.  Imports no framework.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

__all__ = [
    "CheckFailed",
    "at_least",
    "at_most",
    "claim",
    "close",
    "gradient",
    "normalised",
    "noted",
    "ordered",
    "true",
    "unbiased",
]


class CheckFailed(AssertionError):
    """A claim of the book is wrong, as computed."""


_NOTED: list[str] = []


def noted() -> list[str]:
    """What was wrong up to now, a line each, where `DGM_CHECKS=note` lets a run go on."""
    return list(_NOTED)


def _fail(line: str) -> None:
    """Stop the run, or note why it should stop."""
    if os.environ.get("DGM_CHECKS") != "note":
        raise CheckFailed(line)
    _NOTED.append(line)
    print(line)


# What stands between the claim and ": ok" in the line of a check that passed.
_FACTS = (
    r"exact -?[\d.einf+-]+, [^:]*|largest (?:difference|of) [^:]*|-?[\d.einf+-]+, at (?:least|most) [^:]*"
    r"|sum of all probabilities [^:]*|as claimed|[^:]+ <= [^:]+"
)
_PASSED = re.compile(rf"(?P<claim>.+?): (?:{_FACTS}): ok\s*$")


def claim(line: str) -> str:
    """What a printed line says that it checked, where it is the line of a check that passed; else an empty text."""
    found = _PASSED.match(line)
    return found["claim"] if found else ""


def _array(what: str, value: Any) -> np.ndarray:
    """`value` as float64, free of NaN: a check that compares with NaN would say nothing."""
    value = value.detach().cpu() if hasattr(value, "detach") else value
    array = np.asarray(value, dtype=np.float64)
    if np.isnan(array).any():
        _fail(f"{what}: {int(np.isnan(array).sum())} of {array.size} values are NaN")
    return array


def _verdict(what: str, passed: bool, facts: str) -> None:
    line = f"{what}: {facts}"
    if passed:
        print(f"{line}: ok")
    else:
        _fail(f"{line}: WRONG")


def close(what: str, estimate: Any, exact: Any, *, atol: float = 0.0, rtol: float = 0.0) -> None:
    """|estimate - exact| <= atol + rtol |exact|, everywhere; shapes must be equal, nothing broadcasts.

    Raises:
        CheckFailed: a difference is larger, or a value is NaN.
        ValueError: the shapes differ.
    """
    a, b = _array(what, estimate), _array(what, exact)
    if a.shape != b.shape:
        raise ValueError(f"{what}: expected the shape {b.shape} of the exact value, got {a.shape}")
    if a.size == 0:
        raise ValueError(f"{what}: expected at least one value to compare, got none")
    with np.errstate(invalid="ignore"):
        difference = np.where(a == b, 0.0, np.abs(a - b))  # equal infinities agree
    allowed = atol + rtol * np.abs(np.where(np.isinf(b), 0.0, b))  # and nothing else is near infinity
    passed = bool((difference <= allowed).all())
    if a.ndim == 0:
        facts = f"exact {b:.10g}, computed {a:.10g}, tolerance {allowed:.2g}"
    else:
        facts = f"largest difference {difference.max():.2g} of {a.size} values, tolerance {atol:.2g}"
        facts += f" + {rtol:.2g} relative" if rtol else ""
    _verdict(what, passed, facts)


def unbiased(what: str, estimate: Any, exact: Any, standard_error: float | None = None, *, num_se: float = 5) -> None:
    """|mean - exact| <= num_se standard errors, in every component.

    Args:
        what: the claim, in words.
        estimate: independent estimates, shape (num_estimates, *exact.shape), whose mean and standard error are taken;
            or one number with its `standard_error`.
        exact: the value claimed, a number or an array.
        standard_error: of a single `estimate`.
        num_se: how many standard errors are allowed; five are exceeded once in 1.7 million Gaussian draws.

    Raises:
        CheckFailed: the mean is further away, or the estimates do not vary.
        ValueError: one estimate without a standard error, several with one, or shapes that do not fit.
    """
    draws, value = _array(what, estimate), _array(what, exact)
    if standard_error is not None:
        if draws.size != 1 or value.size != 1:
            raise ValueError(f"{what}: expected one estimate with its standard error, got {draws.size}")
        mean, error = draws.reshape(()), np.asarray(float(standard_error))
        value = value.reshape(())
    else:
        if draws.ndim == 0 or draws.shape[1:] != value.shape or len(draws) < 2:
            raise ValueError(f"{what}: expected several estimates of shape {value.shape}, got {draws.shape}")
        mean, error = draws.mean(0), draws.std(0, ddof=1) / np.sqrt(len(draws))
    if not (np.isfinite(error).all() and (error > 0).all()):
        _fail(f"{what}: expected positive standard errors, got {error}")
        return
    deviations = np.abs(mean - value) / error
    if value.ndim == 0:
        facts = f"exact {value:.6g}, estimate {mean:.6g} +/- {error:.2g}"
    else:
        facts = (
            f"largest of {value.size} deviations {deviations.max():.2g} standard errors, at most {num_se:g} expected"
        )
    _verdict(what, bool((deviations <= num_se).all()), facts)


def at_least(what: str, value: Any, bound: float) -> None:
    """value >= bound, everywhere."""
    smallest = float(_array(what, value).min())
    _verdict(what, smallest >= bound, f"{smallest:.6g}, at least {bound:.6g} expected")


def at_most(what: str, value: Any, bound: float) -> None:
    """value <= bound, everywhere."""
    largest = float(_array(what, value).max())
    _verdict(what, largest <= bound, f"{largest:.6g}, at most {bound:.6g} expected")


def ordered(what: str, values: dict[str, Any], *, slack: float = 0.0) -> None:
    """The named values do not decrease, but for `slack`: the order of bounds, `{"elbo": ..., "log p": ...}`."""
    numbers = [float(_array(name, value)) for name, value in values.items()]
    if len(numbers) < 2:
        raise ValueError(f"{what}: expected at least two values to compare, got {len(numbers)}")
    passed = all(low <= high + slack for low, high in pairwise(numbers))
    _verdict(what, passed, " <= ".join(f"{name} {number:.6g}" for name, number in zip(values, numbers, strict=True)))


def normalised(what: str, log_probs: Any, *, atol: float = 1e-9) -> None:
    """The probabilities of all states sum to 1; pass all log-probabilities, in nats."""
    total = float(np.exp(_array(what, log_probs)).sum())
    _verdict(what, abs(total - 1) <= atol, f"sum of all probabilities {total:.12g}")


def gradient(
    what: str, function: Callable[[np.ndarray], float], x: Any, claimed: Any, *, step: float = 1e-5, atol: float
) -> None:
    """`claimed` is the gradient of `function` at `x`, by central differences in float64.

    The differences err by about step^2 |f'''| / 6 + 1e-16 |f| / step: choose `atol` from that.

    Raises:
        CheckFailed: a component differs by more than `atol`.
    """
    x = _array(what, x)
    numeric = np.empty_like(x)
    for i in np.ndindex(x.shape):
        shift = np.zeros_like(x)
        shift[i] = step
        numeric[i] = (function(x + shift) - function(x - shift)) / (2 * step)
    close(what, claimed, numeric, atol=atol)


def true(what: str, passed: bool) -> None:
    """A claim that is simply true or false; prefer a check that shows numbers."""
    passed = bool(_array(what, passed))
    _verdict(what, passed, "as claimed" if passed else "not as claimed")
