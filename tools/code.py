"""What a lecture is made of: its files of `dgm`, its packages, and a hash of the code that its numbers depend on."""

from __future__ import annotations

import ast
import hashlib
import re
import sys
from functools import cache
from pathlib import Path

from tools.repo import ROOT

# Cells and files that no number depends on.
IGNORED_TAGS = {"plot", "check", "solution", "record"}
IGNORED_FILES = {"checks", "plotting", "_film", "_table", "live", "board", "progress"}
DISTRIBUTIONS = {"PIL": "pillow", "sklearn": "scikit-learn", "yaml": "pyyaml"}  # where the import has another name
CELL = re.compile(r"^# %%(?P<head>.*)\n(?P<source>(?:(?!# %%).*\n?)*)", re.MULTILINE)


def code_cells(script: str) -> list[tuple[set[str], str]]:
    """Tags and source of each code cell of a lecture, from the text of its `.py`."""
    found = []
    for cell in CELL.finditer(script):
        if "[markdown]" in cell["head"]:
            continue
        tags = re.search(r"tags=\[([^\]]*)\]", cell["head"])
        found.append((set(re.findall(r'"([^"]+)"', tags[1])) if tags else set(), cell["source"]))
    return found


@cache
def _imported(source: str) -> frozenset[str]:
    """Dotted names that a text imports, anywhere in it; of `from a import b` both `a` and `a.b`."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(names)


def _files_of(names: frozenset[str], root: Path) -> set[Path]:
    """The files of `dgm` behind imported names, with the packages they lie in."""
    found = set()
    for name in names:
        parts = name.split(".")
        if parts[0] != "dgm":
            continue
        for i in range(1, len(parts) + 1):
            inner = root.joinpath(*parts[:i])
            found |= {path for path in (inner.with_suffix(".py"), inner / "__init__.py") if path.is_file()}
    return found


def script_of(lecture: str, root: Path = ROOT) -> str:
    """The text of a lecture."""
    return (root / "notebooks" / f"{lecture}.py").read_text(encoding="utf-8")


def dgm_files(lecture: str, root: Path = ROOT) -> list[Path]:
    """The files of `dgm` that a lecture imports, directly or not, and the files beside them that these name."""
    found: set[Path] = set()
    fresh = _files_of(_imported(_code(lecture, root)), root)
    while fresh:
        found |= fresh
        fresh = {inner for path in fresh for inner in _files_of(_imported(_read(path)), root)} - found
    beside = [path for path in (root / "dgm").rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")]
    texts = [_read(path) for path in found]
    return sorted(found | {path for path in beside if any(f'"{path.name}"' in text for text in texts)})


def packages(lecture: str, root: Path = ROOT) -> set[str]:
    """The distributions that a lecture and its files of `dgm` import, by the names that the lock has."""
    names = set(_imported(_code(lecture, root)))
    for path in dgm_files(lecture, root):
        names |= _imported(_read(path)) if path.suffix == ".py" else set()
    first = {name.split(".")[0] for name in names} - set(sys.stdlib_module_names) - {"dgm", "google"}
    return {DISTRIBUTIONS.get(name, name.replace("_", "-").lower()) for name in first}


@cache
def locked(lock: str) -> dict[str, str]:
    """Name and version, with its marker where there is one, of everything in the text of a lock."""
    found: dict[str, str] = {}
    for name, version in re.findall(r"^([\w.-]+)==([^\\\n]+?)\s*\\?$", lock, re.MULTILINE):
        found[name] = f"{found.get(name, '')} {version}".strip()
    return found


def quoted(lecture: str, names: list[str], root: Path = ROOT) -> set[str]:
    """The other lectures whose recorded numbers this one reads: those that its cells name in `recorded("...")`."""
    return set(re.findall(r'recorded\("(\w+)"', _code(lecture, root))) & set(names) - {lecture}


def fingerprint(lecture: str, profile: str, dataset: str, seed: int = 0, root: Path = ROOT) -> str:
    """Hash of all that the outputs of a lecture depend on, but its own cells."""
    lock = locked(_read(root / "requirements.txt"))
    digest = hashlib.sha256(f"{profile} {dataset} {seed} {sys.version_info[:2]}\n".encode())
    for name in sorted(packages(lecture, root)):
        digest.update(f"{name} {lock.get(name)}\n".encode())
    for path in dgm_files(lecture, root):
        digest.update(f"{path.relative_to(root)}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def code(lecture: str, root: Path = ROOT) -> str:
    """Hash of the code that the numbers of a lecture depend on; words, pictures and checks do not change it."""
    digest = hashlib.sha256()
    for tags, source in code_cells(script_of(lecture, root)):
        if not tags & IGNORED_TAGS:
            digest.update(_tree(source).encode() + b"\n")
    for path in dgm_files(lecture, root):
        if path.stem in IGNORED_FILES or path.relative_to(root).parts[1] in IGNORED_FILES:
            continue
        content = _tree(_read(path)).encode() if path.suffix == ".py" else path.read_bytes()
        digest.update(f"{path.relative_to(root)}\0".encode() + content + b"\n")
    return digest.hexdigest()[:16]


def without_words(tree: ast.AST) -> ast.AST:
    """The same syntax tree without docstrings and annotations; `x: int = 1` becomes `x = 1`, `x: int` goes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.arg):
            node.annotation = None
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            node.returns = None
        documented = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module)
        if documented and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
        for block in ("body", "orelse", "finalbody"):
            if isinstance(statements := getattr(node, block, None), list):
                bare_ones = [
                    ast.Assign(targets=[statement.target], value=statement.value, lineno=0)
                    if isinstance(statement, ast.AnnAssign)
                    else statement
                    for statement in statements
                    if not (isinstance(statement, ast.AnnAssign) and statement.value is None)
                ]
                setattr(node, block, bare_ones)
    return tree


def dump(node: object) -> str:
    """A syntax tree as text that is the same in every Python: what is empty, which some leave out, is left out."""
    if isinstance(node, ast.JoinedStr):  # Python 3.12 ends some of them in an empty text
        parts = [part for part in node.values if not (isinstance(part, ast.Constant) and part.value == "")]
        node = ast.JoinedStr(values=parts)
    if isinstance(node, ast.AST):
        fields = {name: dump(value) for name, value in ast.iter_fields(node) if name not in ("ctx", "kind")}
        shown = [f"{name}={text}" for name, text in fields.items() if text not in ("[]", "None")]
        return f"{type(node).__name__}({','.join(shown)})"
    if isinstance(node, list):
        return f"[{','.join(map(dump, node))}]"
    return repr(node)


@cache
def _tree(source: str) -> str:
    return dump(without_words(ast.parse(source)))


def _code(lecture: str, root: Path) -> str:
    """All code of a lecture as one text."""
    return "\n".join(source for _, source in code_cells(script_of(lecture, root)))


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.suffix in (".py", ".txt") else ""
