"""What makes lectures run again, and how the table of results is written."""

import json
from dataclasses import replace

import pytest

from dgm.data import DataError, load_digits

from tools import code
from tools.book import results
from tools.book.execute import NOISE, Plan
from tools.book.folder import Record, check_kept, false_labels, folder_of
from tools.book.render import digests, forget_edited
from tools.book.results import results_markdown
from tools.runs.records import number


@pytest.fixture
def build(tmp_path):
    """A build folder with one lecture that ran on MNIST."""
    (tmp_path / "lectures.json").write_text('{"dataset": "MNIST", "lectures": {"rbm": "0123"}}', encoding="utf-8")
    return tmp_path


def test_a_book_of_mnist_is_not_replaced_by_one_of_the_substitute(build, monkeypatch, clean_environment):
    substitute = load_digits(folder=build / "data", mirrors=())
    check_kept(Record(build / "new"), substitute)  # nothing there
    with pytest.raises(DataError, match="expected MNIST, as in the book"):
        check_kept(Record(build), substitute)
    check_kept(Record(build), replace(substitute, name="MNIST", warning=""))
    monkeypatch.setenv("DGM_DATASET", "digits")  # somebody asks for it
    check_kept(Record(build), substitute)


def test_half_a_record_is_none(build):
    (build / "lectures.json").write_text('{"dataset": "MN', encoding="utf-8")
    assert Record(build).lectures == {}


def test_a_label_that_a_lecture_contradicts(tmp_path):
    for name, dataset in (("rbm", "digits"), ("elbo", None), ("langevin", "MNIST")):
        report = {"finished": True, "dataset": dataset}
        (tmp_path / f"{name}.json").write_text(json.dumps(report), encoding="utf-8")
    (found,) = false_labels(["rbm", "elbo", "langevin"], tmp_path, "MNIST")
    assert found == "rbm: it ran on digits, but the pages are labelled MNIST"


def test_a_seed_has_its_own_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("DGM_BUILD", str(tmp_path))
    assert folder_of("quick", 0) == tmp_path / "quick"
    assert folder_of("quick", 3) == tmp_path / "quick-seed3"


def test_the_longest_goes_first_and_a_lecture_waits_for_what_it_quotes():
    plan = Plan({"a": 10, "b": 50, "c": 30, "d": 45}, {"d": {"c"}})
    assert plan.next() == "c"  # 30 + 45 hang on it
    assert plan.next() == "b"
    assert plan.next() == "a"
    assert plan.next() is None  # d waits
    plan.ended.add("c")
    assert plan.next() == "d"


def test_the_time_left():
    plan = Plan({"a": 40, "b": 40, "c": 40}, {"c": {"b"}})
    assert plan.left({}, 2) == 80  # b, then c
    assert plan.left({}, 1) == 120
    plan.waiting -= {"a", "b"}
    assert plan.left({"a": 30, "b": 100}, 1) == 10 + 2 + 40  # one that takes longer than known ends soon


def test_an_edit_during_a_build_is_not_lost(tmp_path):
    (tmp_path / "notebooks").mkdir()
    page = tmp_path / "notebooks" / "rbm.ipynb"
    page.write_text("before", encoding="utf-8")
    doctree = tmp_path / "doctrees" / "notebooks" / "rbm.doctree"
    doctree.parent.mkdir(parents=True)
    doctree.touch()
    (tmp_path / "sources.json").write_text(json.dumps(digests(tmp_path)), encoding="utf-8")
    forget_edited(tmp_path, digests(tmp_path))
    assert doctree.exists()
    page.write_text("after", encoding="utf-8")
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
    (tmp_path / "rbm.json").write_text(json.dumps(report), encoding="utf-8")
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
    (tmp_path / "rbm.json").write_text(json.dumps(report), encoding="utf-8")
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
        (".../tqdm/auto.py:21: TqdmWarning: IProgress not found. Please update jupyter and ipywidgets.\n", True),
        ("  from .autonotebook import tqdm as notebook_tqdm\n", True),
        ("UserWarning: tight layout not applied\n", False),
        ("notebooks/rbm.ipynb:12: WARNING: undefined label: 'eq-none' [ref.ref]\n", False),
        ("dgm.checks.CheckFailed: KL: WRONG\n", False),
        ("E tensorflow: out of memory\n", False),
    ],
)
def test_what_says_nothing_is_left_out_of_the_build(line, is_noise):
    assert bool(NOISE.match(line)) is is_noise


def test_no_results_are_said_to_be_none(tmp_path):
    assert results_markdown([tmp_path / "rbm.json"])[0] == "No results yet."


def test_the_table_shows_the_spread_over_seeds_and_what_failed(tmp_path, monkeypatch):
    metric = {"name": "x", "value": 1.5, "unit": "1", "protocol": "p", "standard_error": None}
    report = {"lecture": "rbm", "profile": "quick", "dataset": "MNIST", "device": "a machine", "seconds": 1.0}
    report |= {"versions": {}, "commit": "0", "metrics": [{**metric, "published": None, "source": None}]}
    (tmp_path / "rbm.json").write_text(json.dumps(report), encoding="utf-8")
    seeds = {"lecture": "rbm", "profile": "quick", "code": code.code("rbm")}
    seeds |= {"metrics": {"x": {"mean": 1.52, "sd": 0.11, "n": 5}}, "failed_checks": {"3": ["a < b: WRONG"]}}
    monkeypatch.setattr(results, "seeds_of", lambda lecture: seeds)
    text = "\n".join(results_markdown([tmp_path / "rbm.json"]))
    assert "| number | here | over seeds | unit |" in text
    assert "| 1.5 | 1.52 ± 0.11 (5) | 1 |" in text
    assert "- Seed 3: a &lt; b: WRONG." in text
    seeds["code"] = "of before"
    assert "(5)\\* |" in "\n".join(results_markdown([tmp_path / "rbm.json"]))
    seeds["profile"] = "full"  # of another profile than this build
    assert "over seeds" not in "\n".join(results_markdown([tmp_path / "rbm.json"]))
