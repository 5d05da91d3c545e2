"""What a lecture is made of: which edit makes it run again, and which makes a committed result old."""

import ast
import json
import shutil
from pathlib import Path

import pytest

from tools import code
from tools.repo import ROOT, lectures
from tools.runs import records, stale


@pytest.fixture
def copy(tmp_path):
    """A copy of everything that a hash is made of."""
    for name in ("dgm", "notebooks"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "*.ipynb"))
    for name in ("requirements.txt", "_toc.yml"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text, f"{path.name}: {old!r} is not there"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def prints(root):
    return {name: code.fingerprint(name, "quick", "MNIST", 0, root) for name in lectures()}


def changed(before, after):
    return {name for name in before if before[name] != after[name]}


def test_a_copy_has_the_same_fingerprints(copy):
    assert prints(copy) == prints(ROOT)


def test_an_edit_of_the_unet_concerns_one_lecture(copy):
    before = prints(copy)
    path = copy / "dgm" / "models" / "unet.py"
    path.write_text(path.read_text(encoding="utf-8") + "\n# edited\n", encoding="utf-8")
    assert changed(before, prints(copy)) == {"diffusion_mnist"}


@pytest.mark.parametrize("name", ["dgm/runtime.py", "dgm/__init__.py", "dgm/data.py"])
def test_an_edit_of_what_all_import_concerns_all(copy, name):
    before = prints(copy)
    (copy / name).write_text((copy / name).read_text(encoding="utf-8") + "\n# edited\n", encoding="utf-8")
    assert changed(before, prints(copy)) == set(lectures())


def test_a_file_beside_a_module_concerns_those_that_read_it(copy):
    before = prints(copy)
    (copy / "dgm" / "classifier.safetensors").write_bytes(b"other weights")
    found = changed(before, prints(copy))
    assert {"gan_mnist", "diffusion_mnist"} <= found
    assert not {"rbm", "langevin", "boltzmann_machines"} & found


def test_an_import_inside_of_a_function_counts(copy):
    before = prints(copy)
    (copy / "dgm" / "new.py").write_text("", encoding="utf-8")
    (copy / "dgm" / "scores.py").write_text("def f():\n    from dgm import new\n", encoding="utf-8")
    after = prints(copy)
    (copy / "dgm" / "new.py").write_text("x = 1\n", encoding="utf-8")
    assert changed(after, prints(copy)) == changed(before, after) != set()


def test_another_version_in_the_lock_concerns_those_that_import_the_package(copy):
    before = prints(copy)
    edit(copy / "requirements.txt", "\nkeras==", "\nkeras==0")
    assert changed(before, prints(copy)) == {"rbm_keras", "vae_keras"}
    edit(copy / "requirements.txt", "\ncodespell==", "\ncodespell==0")
    assert changed(before, prints(copy)) == {"rbm_keras", "vae_keras"}


def test_profile_data_and_seed_count():
    found = {
        code.fingerprint("rbm", profile, data, seed)
        for profile in ("smoke", "quick")
        for data in ("MNIST", "digits")
        for seed in (0, 1)
    }
    assert len(found) == 8


def test_every_package_that_is_imported_is_in_the_lock():
    lock = code.locked((ROOT / "requirements.txt").read_text(encoding="utf-8"))
    assert lock["torch"]
    for name in lectures():
        assert code.packages(name) - set(lock) <= {"jax"}, name  # a backend of Keras that the reader may have


def test_who_quotes_whom():
    assert code.quoted("diffusion_mnist", lectures()) == {"gan_mnist"}
    assert code.quoted("rbm", lectures()) == set()


@pytest.mark.parametrize(
    ("file", "old", "new", "is_other"),
    [
        ("notebooks/vae_pytorch.py", "reconstruction - beta * kl", "reconstruction + beta * kl", True),  # the loss
        ("notebooks/vae_pytorch.py", '"caption": "', '"caption": "Edited. ', False),
        ("notebooks/vae_pytorch.py", 'r"""\n# ', 'r"""\n# Edited: ', False),  # words
        ("notebooks/vae_pytorch.py", "checks.close(", "checks.close( ", False),
        ("dgm/models/vae.py", '"""', '"""Edited.  ', False),
        ("dgm/models/vae.py", "\nimport", "\n# a comment\nimport", False),
        ("dgm/plotting.py", "font.size", "axes.labelsize", False),
        ("dgm/checks.py", "num_se: float = 5", "num_se: float = 6", False),
        ("dgm/data.py", "/ 255", "/ 256", True),
    ],
)
def test_what_makes_a_result_old(copy, file, old, new, is_other):
    before = code.code("vae_pytorch", copy)
    edit(copy / file, old, new)
    assert (code.code("vae_pytorch", copy) != before) is is_other


def test_cells_that_only_check_or_draw_do_not_count(copy):
    path = copy / "notebooks" / "rbm.py"
    before = code.code("rbm", copy)
    for tag in ("check", "plot", "solution", "record"):
        path.write_text(path.read_text(encoding="utf-8") + f'\n# %% tags=["{tag}"]\nx = 1\n', encoding="utf-8")
    assert code.code("rbm", copy) == before
    path.write_text(path.read_text(encoding="utf-8") + "\n# %%\nx = 1\n", encoding="utf-8")
    assert code.code("rbm", copy) != before


def test_the_hash_is_the_same_in_every_python():
    """What `ast.dump` writes is not: newer Pythons leave out empty fields, and have more of them."""
    text = 'def f(x: int, *, y=f"{1:>{2}}") -> int:\n    """Doc."""\n    return g(x)\n'
    number, width = "Constant(value=1)", "FormattedValue(value=Constant(value=2),conversion=-1)"
    shown = f"FormattedValue(value={number},conversion=-1,format_spec=JoinedStr(values=[Constant(value='>'),{width}]))"
    arguments = f"args=[arg(arg='x')],kwonlyargs=[arg(arg='y')],kw_defaults=[JoinedStr(values=[{shown}])]"
    body = "Return(value=Call(func=Name(id='g'),args=[Name(id='x')]))"
    expected = f"Module(body=[FunctionDef(name='f',args=arguments({arguments}),body=[{body}])])"
    assert code.dump(code.without_words(ast.parse(text))) == expected


def test_a_result_of_other_code_is_listed_and_marked(copy):
    (copy / "results" / "full").mkdir(parents=True)
    path = copy / "results" / "full" / "rbm.json"
    metric = {"name": "x", "value": 1.5, "standard_error": 0.25}
    report = {"lecture": "rbm", "code": code.code("rbm", copy), "metrics": [metric]}
    path.write_text(json.dumps(report), encoding="utf-8")
    assert stale.stale(copy) == []
    assert records.quoted_number("rbm.x", copy) == ("1.50 ± 0.25", False)
    edit(copy / "notebooks" / "rbm.py", "-(v @ self.b)", "+(v @ self.b)")
    assert stale.stale(copy) == ["results/full/rbm.json"]
    assert records.quoted_number("rbm.x", copy) == ("1.50 ± 0.25*", True)
    with pytest.raises(KeyError):
        records.quoted_number("rbm.y", copy)
