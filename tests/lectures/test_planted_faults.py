"""Faults are planted where they are meant to be, in code that stands for the mathematics, and change what it does."""

import ast

import pytest

from tools.verify import try_faults

SCRIPT = """# %% [markdown]
r'''
# A lecture
'''

# %% tags=["imports"]
import math

# %%
run = dgm.start("a")

# %% tags=["twin:dgm.models.rbm.f"]
def f(x):
    total = 0
    for y in x:
        total += y @ y.T
    return -total

# %% tags=["check"]
checks.close("a", f(1), 1 - 2)

# %%
if a < b:
    c = x.mean()
"""


def words():
    return {fault.words for fault in try_faults.all_faults(SCRIPT)}


@pytest.mark.parametrize(
    "change",
    [
        "-total  ->  +total",
        "y @ y.T  ->  y * y.T",
        "y.T  ->  y",
        "total += y @ y.T  ->  total -= y @ y.T",
        "a < b  ->  a > b",
        "x.mean  ->  x.sum",
        "0  ->  1",
    ],
)
def test_what_can_be_planted(change):
    assert change in words()


def test_nothing_is_planted_in_checks_and_set_up():
    assert not any("checks" in line or "1 - 2" in line or "math" in line for line in words())


def test_a_planted_fault_changes_one_cell_and_is_a_program():
    for fault in try_faults.all_faults(SCRIPT):
        text = try_faults.planted(SCRIPT, fault)
        ast.parse(text)
        assert text != SCRIPT
        assert text.count("# %%") == SCRIPT.count("# %%")
        assert '# %% tags=["check"]\nchecks.close' in text
    twins = {fault.twins for fault in try_faults.all_faults(SCRIPT)}
    assert twins == {("dgm.models.rbm.f",), ()}


def test_a_twin_gets_the_same_fault(tmp_path):
    (tmp_path / "dgm" / "models").mkdir(parents=True)
    file = tmp_path / "dgm" / "models" / "rbm.py"
    file.write_text(
        "import x\n\n\n@decorated\ndef f(x: int) -> int:\n    return -x\n\n\ndef g():\n    pass\n", encoding="utf-8"
    )
    assert try_faults.plant_twin(tmp_path, "dgm.models.rbm.f", "def f(x):\n    return +x") == file
    text = file.read_text(encoding="utf-8")
    assert "return +x" in text
    assert "return -x" not in text
    assert "decorated" not in text
    assert "def g():\n    pass" in text
