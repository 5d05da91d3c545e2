import numpy as np
import pytest
import torch

from dgm import checks
from dgm.checks import CheckFailed

FAULTS = {"sign": lambda x: -x, "factor": lambda x: 2 * x, "nan": lambda x: x * np.nan}
DRAWS = 3 + np.random.default_rng(0).standard_normal(1000)  # the smallest fault moves their mean by 47 standard errors
VECTORS = np.stack([DRAWS, DRAWS + 1], 1)
X = np.array([[1.0, 2.0], [3.0, 4.0]])
# Each is right for `spoil = lambda x: x`, and wrong for the faults named: a bound can't see all of them.
CLAIMS = {
    "close, number": (lambda spoil: checks.close("x", spoil(2.0), 2.0), FAULTS),
    "close, array": (lambda spoil: checks.close("x", spoil(X), X, rtol=1e-9), FAULTS),
    "close, tensor": (lambda spoil: checks.close("x", spoil(torch.ones(3, requires_grad=True)), [1, 1, 1]), FAULTS),
    "close, one of many": (lambda spoil: checks.close("x", [1.0, spoil(2.0), 3.0], [1, 2, 3], atol=1e-9), FAULTS),
    "close, exact is wrong": (lambda spoil: checks.close("x", 2.0, spoil(2.0)), FAULTS),
    "unbiased, draws": (lambda spoil: checks.unbiased("x", spoil(DRAWS), 3.0), FAULTS),
    "unbiased, vectors": (lambda spoil: checks.unbiased("x", VECTORS, [3.0, spoil(4.0)]), FAULTS),
    "unbiased, one number": (lambda spoil: checks.unbiased("x", spoil(3.0), 3.1, 0.1), FAULTS),
    "unbiased, exact is wrong": (lambda spoil: checks.unbiased("x", DRAWS, spoil(3.0)), FAULTS),
    "at_least, positive": (lambda spoil: checks.at_least("x", spoil(X), 1), ("sign", "nan")),
    "at_least, negative": (lambda spoil: checks.at_least("x", spoil(-X), -4), ("factor", "nan")),
    "at_most, positive": (lambda spoil: checks.at_most("x", spoil(X), 4), ("factor", "nan")),
    "at_most, negative": (lambda spoil: checks.at_most("x", spoil(-X), -1), ("sign", "nan")),
    "ordered, first": (lambda spoil: checks.ordered("x", {"elbo": spoil(2.0), "log p": 3.0}), ("factor", "nan")),
    "ordered, last": (lambda spoil: checks.ordered("x", {"a": 1.0, "b": 2.0, "c": spoil(3.0)}), ("sign", "nan")),
    "normalised": (lambda spoil: checks.normalised("x", spoil(np.log([0.5, 0.25, 0.25]))), FAULTS),
    "gradient": (lambda spoil: checks.gradient("x", lambda x: (x**3).sum(), X, spoil(3 * X**2), atol=1e-8), FAULTS),
    "gradient, function is wrong": (
        lambda spoil: checks.gradient("x", lambda x: spoil(x**3).sum(), X, 3 * X**2, atol=1e-8),
        FAULTS,
    ),
    "true": (lambda spoil: checks.true("x", spoil(True)), ("nan",)),
}


@pytest.mark.parametrize("claim", CLAIMS)
def test_right_prints_one_line(claim, capsys):
    CLAIMS[claim][0](lambda x: x)
    printed = capsys.readouterr().out
    assert printed.startswith("x: ")
    assert printed.endswith(": ok\n")
    assert printed.count("\n") == 1


@pytest.mark.parametrize(("claim", "fault"), [(claim, fault) for claim, (_, seen) in CLAIMS.items() for fault in seen])
def test_fault_raises(claim, fault, capsys):
    with pytest.raises(CheckFailed, match=r"^(x|elbo|c): .*(WRONG|NaN)$"):
        CLAIMS[claim][0](FAULTS[fault])
    assert capsys.readouterr().out == ""


def test_check_failed_is_an_assertion():
    assert issubclass(CheckFailed, AssertionError)


@pytest.mark.parametrize(
    ("atol", "rtol", "off"), [(0, 0, 1e-15), (0.1, 0, 0.11), (0, 0.1, 0.21), (0.1, 0.1, 0.31), (np.nan, 0, 0)]
)
def test_close_beyond_tolerance(atol, rtol, off):
    with pytest.raises(CheckFailed):
        checks.close("x", [2.0, 2.0 + off], [2.0, 2.0], atol=atol, rtol=rtol)


@pytest.mark.parametrize(("atol", "rtol", "off"), [(0.1, 0, 0.09), (0, 0.1, 0.19), (0.1, 0.1, 0.29)])
def test_close_within_tolerance(atol, rtol, off):
    checks.close("x", [2.0, 2.0 - off], [2.0, 2.0], atol=atol, rtol=rtol)


def test_close_infinities():
    checks.close("x", [np.inf, -np.inf], [np.inf, -np.inf], rtol=0.1)
    checks.close("x", np.inf, np.inf)
    for estimate, exact in ((1, np.inf), (np.inf, 1), (np.inf, -np.inf)):
        with pytest.raises(CheckFailed):
            checks.close("x", estimate, exact, atol=1, rtol=1)


@pytest.mark.parametrize(("estimate", "exact"), [([1.0], 1.0), (1.0, [1.0]), (X, X[0]), (X, X.ravel()), (X[:, :1], X)])
def test_close_does_not_broadcast(estimate, exact):
    with pytest.raises(ValueError, match=r"x: expected the shape .* got"):
        checks.close("x", estimate, exact, atol=10)


def test_nothing_to_check_is_no_success():
    with pytest.raises(ValueError, match="at least one value"):
        checks.close("x", [], [])
    with pytest.raises(ValueError, match="at least two values"):
        checks.ordered("x", {"elbo": 1.0})
    for check in (checks.at_least, checks.at_most):
        with pytest.raises(ValueError, match="zero-size"):
            check("x", [], 0)
    with pytest.raises(CheckFailed):
        checks.normalised("x", [])


def test_unbiased_bounds():
    """Five standard errors pass, a little more does not; the error of the mean is std / sqrt(n)."""
    error = DRAWS.std(ddof=1) / np.sqrt(len(DRAWS))
    for exact, standard_error in ((DRAWS.mean(), None), (DRAWS.mean(), error)):
        estimate = DRAWS if standard_error is None else DRAWS.mean()
        checks.unbiased("x", estimate, exact + 4.99 * error, standard_error)
        for off in (-5.01 * error, 5.01 * error):
            with pytest.raises(CheckFailed):
                checks.unbiased("x", estimate, exact + off, standard_error)
    with pytest.raises(CheckFailed):
        checks.unbiased("x", DRAWS, DRAWS.mean() + 2.1 * error, num_se=2)


@pytest.mark.parametrize(
    ("estimate", "exact", "standard_error"),
    [(3.0, 3.0, None), ([3.0], 3.0, None), ([], 3.0, None), (DRAWS, 3.0, 0.1), (VECTORS, 3.0, None), (DRAWS, X, None)],
)
def test_unbiased_needs_a_standard_error_and_matching_shapes(estimate, exact, standard_error):
    with pytest.raises(ValueError, match=r"x: expected .* got"):
        checks.unbiased("x", estimate, exact, standard_error)


@pytest.mark.parametrize("standard_error", [0, -1, np.nan, np.inf])
def test_unbiased_refuses_a_standard_error(standard_error):
    with pytest.raises(CheckFailed, match="expected positive standard errors"):
        checks.unbiased("x", 3.0, 3.0, standard_error)


def test_unbiased_refuses_draws_that_do_not_vary():
    with pytest.raises(CheckFailed, match="expected positive standard errors"):
        checks.unbiased("x", np.full(10, 3.0), 3.0)


def test_bounds_are_included():
    checks.at_least("x", 1, 1)
    checks.at_most("x", 1, 1)
    checks.ordered("x", {"a": 1, "b": 1})
    checks.ordered("x", {"a": 1.5, "b": 1}, slack=0.5)
    with pytest.raises(CheckFailed):
        checks.ordered("x", {"a": 1.6, "b": 1}, slack=0.5)
    for check in (checks.at_least, checks.at_most):
        with pytest.raises(CheckFailed):
            check("x", 1, np.nan)


def test_normalised_tolerance():
    checks.normalised("x", [np.log(1 + 9e-10), -np.inf])
    with pytest.raises(CheckFailed):
        checks.normalised("x", np.log([0.5, 0.5 + 2e-9]))


def test_gradient_shape_and_transposition():
    with pytest.raises(ValueError, match="shape"):
        checks.gradient("x", lambda x: (x**3).sum(), X, 3 * X.ravel() ** 2, atol=1)
    with pytest.raises(CheckFailed):
        checks.gradient("x", lambda x: (x**3).sum(), X, 3 * X.T**2, atol=1e-8)


def test_true_takes_no_other_meaning():
    for wrong in (False, np.False_, torch.tensor(False)):
        with pytest.raises(CheckFailed, match="not as claimed"):
            checks.true("x", wrong)
    with pytest.raises(ValueError, match="could not convert"):
        checks.true("x", "yes")


def test_a_run_may_go_on_past_what_is_wrong(monkeypatch, capsys):
    monkeypatch.setattr(checks, "_NOTED", [])
    monkeypatch.setenv("DGM_CHECKS", "note")
    checks.close("one", 1.0, 2.0)
    checks.close("nothing", float("nan"), 2.0)
    checks.unbiased("still", np.ones(3), 1.0)
    checks.at_most("right", 1, 2)
    lines = checks.noted()
    assert [line.split(":")[0] for line in lines] == ["one", "nothing", "nothing", "still"]
    assert "one: exact 2, computed 1, tolerance 0: WRONG" in capsys.readouterr().out
    monkeypatch.delenv("DGM_CHECKS")
    with pytest.raises(checks.CheckFailed):
        checks.close("one", 1.0, 2.0)
