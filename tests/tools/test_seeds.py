"""Every number over seeds: what is summed up, what is kept, what a worker's error becomes."""

import json
import math

import pytest

from tools.runs import seeds

pytestmark = pytest.mark.usefixtures("clean_environment")


def run(seed, value=None, failed=(), error=""):
    report = {"lecture": "rbm", "profile": "quick", "code": "abc", "failed_checks": list(failed)}
    report["metrics"] = [] if value is None else [{"name": "x", "value": value}]
    return {"lecture": "rbm", "seed": seed, "seconds": 1.0, "report": report, "error": error}


def test_the_summary():
    found = seeds.summary(
        [run(2, 4.0, failed=["a: WRONG"]), run(0, 1.0), run(1, 1.0), run(3, error="...\nValueError: no")]
    )
    assert found["seeds"] == [0, 1, 2, 3]
    assert found["metrics"]["x"] == {"mean": 2.0, "sd": pytest.approx(math.sqrt(3)), "min": 1.0, "max": 4.0, "n": 3}
    assert found["failed_checks"] == {"2": ["a: WRONG"]}
    assert found["stopped"] == {"3": "ValueError: no"}
    assert (found["code"], found["profile"]) == ("abc", "quick")


def test_one_seed_has_no_spread():
    assert seeds.summary([run(0, 1.0)])["metrics"]["x"]["sd"] is None


LECTURE = """
import sys
import dgm
from dgm import checks
run = dgm.start("{name}")
checks.at_most("the first number", run.rng.random(), {bound})
run.record("first", run.rng.random(), unit="1", protocol="a draw")
{more}
run.finish()
"""


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A repository of three lectures: one that holds, one whose check fails on some seeds, one that stops."""
    monkeypatch.setenv("DGM_DATASET", "digits")
    for name in ("dgm", "tools"):
        (tmp_path / name).symlink_to(seeds.ROOT / name)
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "requirements.txt").write_text("", encoding="utf-8")
    for name, bound, more in (("good", 1, ""), ("bad", 0.5, ""), ("ends", 1, "raise ValueError('no more')")):
        text = "# %%" + LECTURE.format(name=name, bound=bound, more=more)
        (tmp_path / "notebooks" / f"{name}.py").write_text(text, encoding="utf-8")
    monkeypatch.setattr(seeds, "ROOT", tmp_path)
    monkeypatch.setattr(seeds, "lectures", lambda: ["good", "bad", "ends"])
    monkeypatch.setattr(seeds.code.code, "__defaults__", (tmp_path,))
    monkeypatch.setattr(seeds.done_before, "__defaults__", (tmp_path,))
    monkeypatch.setattr(seeds.runs, "__defaults__", (tmp_path / "kept",))
    return tmp_path


def test_a_run_goes_on_past_a_failed_check(small):
    settings = {"DGM_PROFILE": "quick", "DGM_DATASET": "digits"}
    found = [seeds.run_one("bad", seed, settings, str(small)) for seed in range(6)]
    assert all(len(run["report"]["metrics"]) == 1 and not run["error"] for run in found)
    failed = [run["report"]["failed_checks"] for run in found]
    assert {len(lines) for lines in failed} == {0, 1}
    assert any("the first number" in line and "WRONG" in line for lines in failed for line in lines)
    assert len({run["report"]["metrics"][0]["value"] for run in found}) == 6


def test_runs_are_distributed_kept_and_not_made_twice(small, capfd, monkeypatch):
    target = small / "results"
    assert seeds.main(["--seeds", "2"], target) == 0
    printed = capfd.readouterr().out
    assert "6 of 6 runs are left" in printed
    assert "ends, seed 1: stopped: ValueError: no more" in printed
    found = json.loads((target / "good.json").read_text(encoding="utf-8"))
    assert (found["metrics"]["first"]["n"], found["seeds"]) == (2, [0, 1])
    assert set(json.loads((target / "ends.json").read_text(encoding="utf-8"))["stopped"]) == {"0", "1"}

    assert seeds.main(["--seeds", "3", "good"], target) == 0  # goes on with what is left
    assert "1 of 3 runs are left" in capfd.readouterr().out
    assert json.loads((target / "good.json").read_text(encoding="utf-8"))["metrics"]["first"]["n"] == 3

    path = small / "notebooks" / "good.py"
    path.write_text(path.read_text(encoding="utf-8") + "\nx = 1\n", encoding="utf-8")
    assert seeds.main(["--seeds", "3", "good"], target) == 0  # other code: all of them again
    assert "3 of 3 runs are left" in capfd.readouterr().out


def test_a_worker_that_is_lost_is_told_and_its_run_is_tried_again(small, capfd, monkeypatch):
    whole = seeds.run_one

    def lost(lecture, seed, settings, root):
        import os

        os._exit(1)

    monkeypatch.setattr(seeds, "run_one", lost)
    assert seeds.main(["--seeds", "1", "good"], small / "results") == 1
    assert "good, seed 0: its worker failed: KilledWorker" in capfd.readouterr().err
    monkeypatch.setattr(seeds, "run_one", whole)
    assert seeds.main(["--seeds", "1", "good"], small / "results") == 0


def test_unknown_lectures_and_too_few_seeds():
    with pytest.raises(SystemExit, match="expected lectures out of"):
        seeds.main(["no_such"])
    with pytest.raises(SystemExit, match="SEEDS: expected at least 1, got 0"):
        seeds.main(["--seeds", "0", "rbm"])


def test_a_scheduler_that_does_not_answer(monkeypatch):
    monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", "tcp://127.0.0.1:9")
    with pytest.raises(SystemExit, match="no scheduler answers"), seeds.cluster(timeout="1s"):
        pass
