"""What makes lectures run again, and how the table of results is written."""

import json
import shutil
from dataclasses import replace

import pytest

from dgm.data import DataError, load_digits

from tools.book.build import NOISE, check_kept, digests, fingerprint, forget_edited
from tools.book.results import in_order, number, results_markdown
from tools.repo import ROOT, lectures


@pytest.fixture
def copy(tmp_path):
    shutil.copytree(ROOT / "dgm", tmp_path / "dgm", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "requirements.txt", tmp_path)
    return tmp_path


def test_the_same_sources_give_the_same_fingerprint(copy):
    assert fingerprint("quick", "MNIST", copy) == fingerprint("quick", "MNIST", ROOT)


@pytest.mark.parametrize("name", ["dgm/plotting.py", "dgm/models/rbm.py", "requirements.txt"])
def test_an_edit_changes_the_fingerprint(copy, name):
    before = fingerprint("quick", "MNIST", copy)
    (copy / name).write_text((copy / name).read_text() + "\n# edited\n")
    assert fingerprint("quick", "MNIST", copy) != before


def test_a_new_or_renamed_module_changes_the_fingerprint(copy):
    before = fingerprint("quick", "MNIST", copy)
    (copy / "dgm" / "new.py").write_text("")
    after = fingerprint("quick", "MNIST", copy)
    (copy / "dgm" / "new.py").rename(copy / "dgm" / "other.py")
    assert len({before, after, fingerprint("quick", "MNIST", copy)}) == 3


def test_profile_and_data_set_change_the_fingerprint():
    prints = {fingerprint(profile, data) for profile in ("smoke", "quick") for data in ("MNIST", "digits")}
    assert len(prints) == 4


def test_a_book_of_mnist_is_not_replaced_by_one_of_the_substitute(tmp_path):
    nowhere = {"folder": tmp_path / "data", "mirrors": ()}
    substitute = load_digits(**nowhere)
    check_kept(tmp_path, substitute)  # nothing there
    (tmp_path / "cache-MNIST-0123" / "executed" / "abc").mkdir(parents=True)
    with pytest.raises(DataError, match="expected MNIST, as in the book"):
        check_kept(tmp_path, substitute)
    check_kept(tmp_path, replace(substitute, name="MNIST", warning=""))


def test_an_edit_during_a_build_is_not_lost(tmp_path):
    (tmp_path / "notebooks").mkdir()
    page = tmp_path / "notebooks" / "rbm.ipynb"
    page.write_text("before")
    doctree = tmp_path / "doctrees" / "notebooks" / "rbm.doctree"
    doctree.parent.mkdir(parents=True)
    doctree.touch()
    (tmp_path / "sources.json").write_text(json.dumps(digests(tmp_path)))
    forget_edited(tmp_path, digests(tmp_path))
    assert doctree.exists()
    page.write_text("after")
    forget_edited(tmp_path, digests(tmp_path))
    assert not doctree.exists()


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (-96.2163, 0.251, "-96.22 ± 0.25"),
        (0.95621, 0.17, "0.96 ± 0.17"),
        (-142.3, 12.0, "-142 ± 12"),
        (0.0123456, 0.00012, "0.01235 ± 0.00012"),
        (-142.56, None, "-142.56"),
        (None, None, ""),
    ],
)
def test_numbers_have_the_digits_that_their_error_allows(value, error, text):
    assert number(value, error) == text


def test_the_table_shows_every_number_with_its_protocol_and_hardware(tmp_path):
    metric = {"name": "bound_in_nats", "value": -1.5, "unit": "nats", "standard_error": None}
    metric["protocol"] = "a | b, <F> & more"
    report = {
        "lecture": "rbm",
        "profile": "quick",
        "dataset": "MNIST",
        "device": "a machine",
        "seconds": 12.3,
        "versions": {"python": "3.11", "torch": "2.15"},
        "commit": "0123456789abcdef",
        "metrics": [{**metric, "published": -2.0, "source": "A paper"}],
    }
    (tmp_path / "rbm.json").write_text(json.dumps(report))
    text = "\n".join(results_markdown([tmp_path / "rbm.json", tmp_path / "missing.json"]))
    for part in (
        "<code>bound&#95;<wbr>in&#95;<wbr>nats</code>",
        "&lt;F&gt; &amp; more",
        "-1.5",
        "| -2 |",
        "A paper",
        "nats",
        "a | b",
        "a machine",
        "torch 2.15",
        "0123456789ab",
        "12 s",
    ):
        assert part in text
    report["metrics"][0]["published"] = None
    (tmp_path / "rbm.json").write_text(json.dumps(report))
    assert "| number | here | unit |" in results_markdown([tmp_path / "rbm.json"])


@pytest.mark.parametrize(
    ("line", "is_noise"),
    [
        (
            "I0000 00:00:1795282234.376316   17081 cudart_stub.cc:31] Could not find cuda drivers on your machine\n",
            True,
        ),
        ("E0000 00:00:1795277161.478143   16595 cuda_platform.cc:52] failed call to cuInit: INTERNAL\n", True),
        ("WARNING: All log messages before absl::InitializeLog() is called are written to STDERR\n", True),
        ("[IPKernelApp] WARNING | Kernel is running over TCP without encryption.\n", True),
        ("notebooks/rbm.ipynb:12: WARNING: undefined label: 'eq-none' [ref.ref]\n", False),
        ("dgm.checks.CheckFailed: KL: WRONG\n", False),
        ("E tensorflow: out of memory\n", False),
    ],
)
def test_what_says_nothing_is_left_out_of_the_build(line, is_noise):
    assert bool(NOISE.match(line)) is is_noise


def test_no_results_are_said_to_be_none(tmp_path):
    assert results_markdown([tmp_path / "rbm.json"])[0] == "No results yet."


def test_lectures_run_in_the_order_of_the_book():
    docnames = sorted(["book/index", *(f"notebooks/{name}" for name in lectures())])
    in_order(None, None, docnames)
    assert docnames == [*(f"notebooks/{name}" for name in lectures()), "book/index"]
