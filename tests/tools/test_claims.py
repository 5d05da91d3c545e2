"""What a check claims is read rightly from its line and from its source, for every kind of check that there is."""

import inspect

import numpy as np
import pytest

from dgm import checks

from tools.claims import LONGEST, in_short, of_source, title

CALLS = {
    "close": lambda what: [checks.close(what, 1.0, 1.0), checks.close(what, np.ones(3), np.ones(3), rtol=1e-3)],
    "unbiased": lambda what: [
        checks.unbiased(what, 1.0, 1.0, 0.1),
        checks.unbiased(what, np.random.default_rng(0).normal(size=(9, 2)), np.zeros(2)),
    ],
    "at_least": lambda what: [checks.at_least(what, 1e-7, -3)],
    "at_most": lambda what: [checks.at_most(what, float("-inf"), 3)],
    "ordered": lambda what: [checks.ordered(what, {"elbo": -2, "log p": -1.5})],
    "normalised": lambda what: [checks.normalised(what, np.log([0.5, 0.5]))],
    "gradient": lambda what: [checks.gradient(what, lambda x: float(x @ x), np.ones(2), 2 * np.ones(2), atol=1e-6)],
    "true": lambda what: [checks.true(what, True)],
}


def test_every_kind_of_check_is_here():
    kinds = {name for name, kind in vars(checks).items() if name in checks.__all__ and inspect.isfunction(kind)}
    assert kinds - {"claim", "noted"} == set(CALLS)


@pytest.mark.parametrize("kind", CALLS)
@pytest.mark.parametrize("what", ["p(h|v)", "J = 0.3: bias of CD-10 over that of CD-1", "log Z, by AIS: 30 runs"])
def test_the_claim_of_a_line(kind, what, capsys):
    CALLS[kind](what)
    lines = capsys.readouterr().out.splitlines()
    assert lines
    assert [checks.claim(line) for line in lines] == [what] * len(lines)


@pytest.mark.parametrize("line", ["not yet", "right", "recorded x = 1 nats", "a: 3, at most 2 expected: WRONG", "ok"])
def test_other_lines_claim_nothing(line):
    assert checks.claim(line) == ""


def test_the_claims_of_a_source_in_order():
    source = 'checks.true(\n    "first",\n    x,\n)\nfor k in ks:\n    checks.close(f"k = {k}: bias", a, b)\nother("c")'
    assert of_source(source) == ["first", "k = ...: bias"]
    assert title(source) == "✓ first · k = ...: bias"
    assert title("def check(): pass") == "The check"


def test_many_claims_in_short():
    claims = [f"claim number {i} of many" for i in range(20)]
    text = in_short([*claims, *claims])
    assert text.startswith("claim number 0 of many · claim number 1")
    shown, more = text.rsplit(" · and ", 1)
    assert len(shown) <= LONGEST
    assert shown.count("claim") + int(more.split()[0]) == 20
    assert in_short(["x" * 200]) == "x" * 200
