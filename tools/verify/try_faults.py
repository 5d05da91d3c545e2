"""Does anything notice when a lecture is wrong?  `python -m tools.verify.try_faults LECTURE [--count 20] [--seed 0]`.

Plants faults at random, one at a time, in the code that stands for the mathematics: a sign, an operator, a comparison,
an index, a number, a transpose, a function in place of its neighbour, a statement that is missing.  Each is tried in a
copy of the repository: the lecture runs in smoke, and, where that notices nothing, so do the tests of the files of
`dgm` whose twins the lecture holds, with the same fault in them.
"""

from __future__ import annotations

import argparse
import ast
import copy
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tools.code import CELL
from tools.environment import ONE_THREAD, clean, side_by_side
from tools.repo import ROOT

PASSED_OVER = {"check", "plot", "exercise", "solution", "record", "bootstrap", "imports", "parameters"}
OPERATORS = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.MatMult: ast.Mult}
COMPARISONS = {ast.Lt: ast.Gt, ast.Gt: ast.Lt, ast.LtE: ast.Gt, ast.GtE: ast.Lt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq}
NEIGHBOURS = {
    "mean": "sum",
    "sum": "mean",
    "sigmoid": "tanh",
    "log": "log1p",
    "exp": "expm1",
    "softplus": "relu",
    "logsumexp": "amax",
    "square": "abs",
    "sqrt": "square",
    "std": "var",
    "min": "max",
    "max": "min",
}
SECONDS = 600  # a fault that makes a loop endless is stopped, and was noticed


@dataclass(frozen=True)
class Fault:
    """One change of one cell.

    Attributes:
        cell: number of the code cell, from 0.
        words: the line before and after.
        source: of the cell with the fault.
        twins: the dotted names in `dgm` of what the cell defines.
    """

    cell: int
    words: str
    source: str
    twins: tuple[str, ...]


def _changes(node: ast.AST) -> Iterator[tuple[str, object]]:
    """What can be wrong at a node: the field, and what stands there in place of the right thing."""
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        yield "op", OPERATORS[type(node.op)]()
    if isinstance(node, ast.AugAssign) and type(node.op) in OPERATORS:
        yield "op", OPERATORS[type(node.op)]()
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        yield "op", ast.UAdd()
    if isinstance(node, ast.Compare) and type(node.ops[0]) in COMPARISONS:
        yield "ops", [COMPARISONS[type(node.ops[0])](), *node.ops[1:]]
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        yield "value", node.value + 1 if node.value in (0, 1, -1) else node.value * 2
    if isinstance(node, ast.Constant) and type(node.value) is bool:
        yield "value", not node.value
    if isinstance(node, ast.Attribute) and node.attr in NEIGHBOURS:
        yield "attr", NEIGHBOURS[node.attr]


def faults_of(cell: int, source: str, twins: tuple[str, ...]) -> Iterator[Fault]:
    """Every fault that can be planted in a cell."""
    tree = ast.parse(source)
    count = sum(1 for _ in ast.walk(tree))
    for number in range(count):
        for choice in range(len(list(_changes(list(ast.walk(tree))[number])))):
            changed = copy.deepcopy(tree)
            node = list(ast.walk(changed))[number]
            field, value = list(_changes(node))[choice]
            before = ast.unparse(node)
            setattr(node, field, value)
            yield Fault(cell, f"{before}  ->  {ast.unparse(node)}", ast.unparse(changed), twins)
    for number, node in enumerate(ast.walk(tree)):
        if isinstance(node, ast.Attribute) and node.attr == "T":  # a transpose that is missing
            changed = copy.deepcopy(tree)
            found = list(ast.walk(changed))[number]
            before = ast.unparse(found)
            inner = found.value
            found.__class__, found.__dict__ = inner.__class__, inner.__dict__
            yield Fault(cell, f"{before}  ->  {ast.unparse(found)}", ast.unparse(changed), twins)
        for field in ("body", "orelse"):
            statements = getattr(node, field, None)
            if not isinstance(statements, list) or isinstance(node, ast.Module | ast.ClassDef) or len(statements) < 2:
                continue
            for i, statement in enumerate(statements):
                if isinstance(statement, ast.AugAssign | ast.If) or (
                    isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call)
                ):
                    changed = copy.deepcopy(tree)
                    getattr(list(ast.walk(changed))[number], field)[i] = ast.Pass()
                    yield Fault(cell, f"{ast.unparse(statement)}  ->  nothing", ast.unparse(changed), twins)


def all_faults(script: str) -> list[Fault]:
    """Every fault that can be planted in a lecture, from its text."""
    found = []
    for number, cell in enumerate(CELL.finditer(script)):
        head = cell["head"]
        if "[markdown]" in head or any(f'"{tag}"' in head for tag in PASSED_OVER) or "dgm.start(" in cell["source"]:
            continue
        twins = tuple(part.split('"')[0] for part in head.split("twin:")[1:])
        found += faults_of(number, cell["source"], twins)
    return found


def planted(script: str, fault: Fault) -> str:
    """The text of a lecture with a fault in it."""
    cell = list(CELL.finditer(script))[fault.cell]
    return script[: cell.start("source")] + fault.source + "\n\n" + script[cell.end("source") :]


def plant_twin(root: Path, name: str, source: str) -> Path:
    """Put the definition of `name`, such as `dgm.models.rbm.gibbs`, into its file in place of the right one."""
    module, _, what = name.rpartition(".")
    path = root.joinpath(*module.split(".")).with_suffix(".py")
    text = path.read_text(encoding="utf-8")
    wrong = next(node for node in ast.parse(source).body if getattr(node, "name", None) == what)
    right = next(node for node in ast.parse(text).body if getattr(node, "name", None) == what)
    lines = text.splitlines(keepends=True)
    start = min([right.lineno, *(decorator.lineno for decorator in right.decorator_list)]) - 1
    lines[start : right.end_lineno] = [ast.unparse(wrong) + "\n"]
    path.write_text("".join(lines), encoding="utf-8")
    return path


def noticed(lecture: str, fault: Fault, script: str) -> str:
    """What notices a fault: the lecture, the tests; nothing where none does."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        for folder in ("notebooks", "dgm", "tests", "tools"):
            shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__", "*.ipynb"))
        for file in ("_toc.yml", "_config.yml", "pyproject.toml"):
            shutil.copy(ROOT / file, root)
        (root / "notebooks" / f"{lecture}.py").write_text(planted(script, fault), encoding="utf-8")
        environment = clean(DGM_PROFILE="smoke", DGM_BUILD=str(root / "_build"), PYTHONPATH=str(root), **ONE_THREAD)
        how = {"cwd": root, "env": environment, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        try:
            if subprocess.run(
                [sys.executable, f"notebooks/{lecture}.py"], timeout=SECONDS, check=False, **how
            ).returncode:
                return "the lecture"
            stems = {plant_twin(root, twin, fault.source).stem for twin in fault.twins}
            tests = [f"tests/dgm/test_{stem}.py" for stem in stems if (root / f"tests/dgm/test_{stem}.py").is_file()]
            command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests]
            if tests and subprocess.run(command, timeout=SECONDS, check=False, **how).returncode:
                return "the tests"
        except subprocess.TimeoutExpired:
            return "the clock"
    return ""


def main(arguments: list[str] | None = None) -> int:
    """Plant, try, tell; the exit status is 0 where at least nine of ten were noticed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("lecture")
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args(arguments)
    script = (ROOT / "notebooks" / f"{asked.lecture}.py").read_text(encoding="utf-8")
    faults = all_faults(script)
    chosen = random.Random(asked.seed).sample(faults, min(asked.count, len(faults)))
    unseen = 0
    with ThreadPoolExecutor(side_by_side()) as pool:
        for fault, by in zip(
            chosen, pool.map(lambda fault: noticed(asked.lecture, fault, script), chosen), strict=True
        ):
            print(f"{by or 'NOTHING':12} noticed, in cell {fault.cell}:  {fault.words}", flush=True)
            unseen += not by
    print(f"noticed: {len(chosen) - unseen} of {len(chosen)}, drawn from {len(faults)}")
    return int(unseen > 0.1 * len(chosen))


if __name__ == "__main__":
    sys.exit(main())
