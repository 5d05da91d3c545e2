import json
import math
import re
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import dgm
from dgm import _environment, data, runtime

from tests.conftest import lay

pytestmark = pytest.mark.usefixtures("build_folder")
NUMBERS = "[torch.rand(3).tolist(), np.random.rand(3).tolist(), run.rng.random(3).tolist()]"


@pytest.fixture(autouse=True)
def own_style():
    """`start` sets the style of figures for good."""
    import matplotlib as mpl

    with mpl.rc_context():
        yield


def report(run):
    return json.loads(run.path.read_text(encoding="utf-8"))


def record(run, value=1.5, **words):
    return run.record("x", value, **({"unit": "nats", "protocol": "exact"} | words))


def test_import_loads_no_framework(run_python):
    """Nor what only a download needs."""
    code = """
import sys, dgm
run = dgm.start("x")
run.record("x", 1, unit="1", protocol="none")
print([name for name in ("torch", "tensorflow", "keras", "jax", "pooch", "requests", "sklearn") if name in sys.modules])
"""
    assert run_python(code).splitlines()[-1] == "[]"


def test_unknown_profile(monkeypatch):
    monkeypatch.setenv("DGM_PROFILE", "fast")
    with pytest.raises(ValueError, match="DGM_PROFILE: expected one of smoke, quick, full, got 'fast'"):
        dgm.start("x")


@pytest.mark.parametrize("profile", ["smoke", "quick", "full", "", None])
def test_profile_and_parameters(profile, monkeypatch, build_folder):
    if profile is not None:
        monkeypatch.setenv("DGM_PROFILE", profile)
    run = dgm.start("x", parameters={"epochs": (1, 2, 3)})
    assert run.profile == (profile or "quick")
    assert run.parameters.epochs == {"smoke": 1, "quick": 2, "full": 3}[run.profile]
    assert run.path == build_folder / run.profile / "results" / "x.json"


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"epochs": (1, 2)}, r"epochs: expected a tuple for smoke, quick, full, got \(1, 2\)"),
        ({"epochs": (1, 2, 3, 4)}, "epochs: expected a tuple"),
        ({"epochs": (1, "2", 3)}, r"epochs: expected three values of one kind, got \(1, '2', 3\)"),
        ({"epochs": (1, 2, 3), "rate": 0.1}, "rate: expected a tuple for smoke, quick, full, got 0.1"),
    ],
)
def test_parameters_that_miss_something(parameters, message):
    with pytest.raises(ValueError, match=f"parameters, {message}"):
        dgm.start("x", parameters=parameters)


def test_unknown_data():
    with pytest.raises(ValueError, match="data: expected 'mnist' or None, got 'cifar'"):
        dgm.start("x", data="cifar")


def test_build_folder_is_that_of_the_book(monkeypatch, tmp_path):
    monkeypatch.delenv("DGM_BUILD")
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path / "notebooks")
    assert runtime.build_folder() == tmp_path / "notebooks" / "_build" / "alone"
    (tmp_path / "_toc.yml").touch()
    assert runtime.build_folder() == tmp_path / "_build" / "alone"


def test_a_run_alone_leaves_the_numbers_of_the_book(monkeypatch, tmp_path):
    (tmp_path / "_toc.yml").touch()
    monkeypatch.chdir(tmp_path)
    for build, answer in ((str(tmp_path / "_build"), 42.0), (None, 43.0)):
        if build:
            monkeypatch.setenv("DGM_BUILD", build)
        else:
            monkeypatch.delenv("DGM_BUILD")
            assert runtime.recorded("x")["answer"]["value"] == 42  # those of the book, as long as there are no others
        run = dgm.start("x")
        run.record("answer", answer, unit="1", protocol="asked")
        run.finish()
    assert runtime.recorded("x")["answer"]["value"] == 43
    monkeypatch.setenv("DGM_BUILD", str(tmp_path / "_build"))
    assert runtime.recorded("x")["answer"]["value"] == 42


def test_start_prints_one_line(capsys):
    run = dgm.start("x", seed=3)
    line = capsys.readouterr().out
    assert re.fullmatch(rf"x \| profile quick \| {run.device} \(.+, 1 threads\) \| seed 3\n", line)
    assert not run.on_mnist


def test_same_seed_same_numbers(run_python):
    """Twice in this process, and in another one."""

    def draw(seed):
        run = dgm.start("x", seed=seed)
        return eval(NUMBERS, {"torch": torch, "np": np, "run": run})

    first = draw(1)
    assert draw(1) == first
    assert all(a != b for a, b in zip(draw(2), first, strict=True))
    code = f"""
import json, numpy as np, torch, dgm
run = dgm.start("x", seed=1)
print(json.dumps({NUMBERS}))
"""
    assert json.loads(run_python(code).splitlines()[1]) == first


def test_keras_is_seeded_where_it_is_loaded(monkeypatch):
    seeds = []
    settings = SimpleNamespace(set_floatx=lambda _: None, set_image_data_format=lambda _: None)
    keras = SimpleNamespace(config=settings, utils=SimpleNamespace(set_random_seed=seeds.append), __version__="3")
    monkeypatch.setitem(sys.modules, "keras", keras)
    record(run := dgm.start("x", seed=4))
    assert seeds == [4]
    assert report(run)["versions"]["keras"] == "3"


def test_generator():
    run = dgm.start("x", seed=5)
    draw = {offset: torch.rand(3, generator=run.generator(offset), device=run.device).tolist() for offset in (0, 1)}
    assert draw[0] == torch.rand(3, generator=run.generator(), device=run.device).tolist()
    assert draw[0] != draw[1]
    assert run.generator(2).initial_seed() == 7


def test_deterministic_algorithms_are_asked_for():
    dgm.start("x")
    assert torch.are_deterministic_algorithms_enabled()
    assert torch.is_deterministic_algorithms_warn_only_enabled()


def test_threads(monkeypatch, capsys):
    monkeypatch.setenv("DGM_THREADS", "2")
    dgm.start("x")
    assert torch.get_num_threads() == 2
    assert "2 threads" in capsys.readouterr().out
    set_to = []
    threading = SimpleNamespace(set_intra_op_parallelism_threads=set_to.append)
    monkeypatch.setitem(
        sys.modules, "tensorflow", SimpleNamespace(config=SimpleNamespace(threading=threading), __version__="0")
    )
    dgm.start("x")
    assert set_to == [2]


@pytest.mark.parametrize("wanted", ["0", "-1", "two", "1.5", ""])
def test_threads_refused(wanted, monkeypatch):
    monkeypatch.setenv("DGM_THREADS", wanted)
    with pytest.raises(ValueError, match=f"DGM_THREADS: expected a positive whole number, got '{wanted}'"):
        dgm.start("x")


def test_device_is_cuda_then_mps_then_cpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert dgm.start("x").device == "cpu"
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert dgm.start("x").device == "mps"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Some GPU")
    run = dgm.start("x")
    assert run.device == "cuda"
    record(run)
    assert report(run)["device"] == "cuda: Some GPU"


@pytest.mark.usefixtures("network_cut")
def test_offline_is_said_loudly(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("DGM_DATA", str(tmp_path))
    run = dgm.start("x", data="mnist")
    first, *others = capsys.readouterr().out.splitlines()
    assert "digits: 1,297 + 500 images" in first
    assert others[0].startswith("*** NOT MNIST ***")
    assert not run.on_mnist
    record(run, published=-142.56, source="A, 2014")  # holds on MNIST only
    found = report(run)
    assert found["dataset"] == "digits"
    assert (found["metrics"][0]["published"], found["metrics"][0]["source"]) == (None, None)


@pytest.mark.usefixtures("network_cut")
def test_data(files, monkeypatch, tmp_path, capsys):
    lay(files, tmp_path)
    monkeypatch.setenv("DGM_DATA", str(tmp_path))
    run = dgm.start("x", data="mnist")
    printed = capsys.readouterr().out
    assert printed.endswith("MNIST: 6 + 3 images\n")
    assert printed.count("\n") == 1
    assert run.on_mnist
    record(run, published=-142.56, source="A, 2014")
    found = report(run)
    assert found["dataset"] == "MNIST"
    assert (found["metrics"][0]["published"], found["metrics"][0]["source"]) == (-142.56, "A, 2014")


def test_record(monkeypatch, capsys):
    monkeypatch.setenv("DGM_COMMIT", "abc")
    run = dgm.start("x")
    capsys.readouterr()
    assert (
        record(run, torch.tensor(-141.5), standard_error=np.float32(0.25), published=-142.56, source="A, 2014")
        == -141.5
    )
    assert capsys.readouterr().out == "recorded x = -141.50 +/- 0.25 nats (published -142.56)\n"
    run.record("y", np.int64(3), unit="1", protocol="counted")
    found = report(run)
    keys = [
        "lecture",
        "profile",
        "seed",
        "dataset",
        "device",
        "seconds",
        "finished",
        "resumed",
        "versions",
        "commit",
        "code",
        "failed_checks",
        "metrics",
    ]
    assert list(found) == keys
    assert found["lecture"] == "x"
    assert found["profile"] == "quick"
    assert found["dataset"] is None
    assert found["seconds"] >= 0
    assert found["commit"] == "abc"
    versions = {"dgm": dgm.__version__, "numpy": np.__version__, "torch": torch.__version__}
    assert found["versions"].items() >= (versions | {"python": ".".join(map(str, sys.version_info[:3]))}).items()
    x = {"value": -141.5, "unit": "nats", "protocol": "exact", "standard_error": 0.25}
    y = {"value": 3.0, "unit": "1", "protocol": "counted", "standard_error": None}
    assert found["metrics"] == [
        {"name": "x"} | x | {"published": -142.56, "source": "A, 2014"},
        {"name": "y"} | y | {"published": None, "source": None},
    ]
    assert [list(metric) for metric in found["metrics"]] == [
        ["name", "value", "unit", "protocol", "standard_error", "published", "source"]
    ] * 2
    assert [path.name for path in run.path.parent.iterdir()] == ["x.json"]


def test_recording_a_name_again_replaces_it():
    run = dgm.start("x")
    record(run, 1)
    run.record("y", 2, unit="1", protocol="none")
    record(run, 3)
    assert [(metric["name"], metric["value"]) for metric in report(run)["metrics"]] == [("x", 3), ("y", 2)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"value": math.nan}, "x: expected a finite number, got nan"),
        ({"value": torch.tensor(math.inf)}, "x: expected a finite number, got inf"),
        ({"value": np.ones(2)}, r"x: expected one real number, got float64 of shape \(2,\)"),
        ({"value": []}, "x: expected one real number"),
        ({"value": "1.5"}, "x: expected one real number"),
        ({"value": None}, "x: expected one real number"),
        ({"value": True}, "x: expected one real number, got bool"),
        ({"value": 1j}, "x: expected one real number, got complex"),
        ({"unit": ""}, "x: expected a unit in words, got ''"),
        ({"protocol": " "}, "x: expected a protocol in words, got ' '"),
        ({"protocol": None}, "x: expected a protocol in words, got None"),
        ({"standard_error": math.nan}, "x, standard_error: expected a finite number"),
        ({"standard_error": -1}, "x: expected a standard error of at least 0, got -1"),
        ({"published": 1.0}, "x: a published number needs its source, got None"),
        ({"published": math.nan, "source": "A, 2014"}, "x, published: expected a finite number"),
    ],
)
def test_record_refuses(arguments, message):
    run = dgm.start("x")
    record(run, 1)
    before = run.path.read_text(encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        record(run, **arguments)
    assert run.path.read_text(encoding="utf-8") == before
    assert run.metrics["x"]["value"] == 1


@pytest.mark.parametrize("name", ["", "test log-likelihood", 3])
def test_record_refuses_a_name(name):
    with pytest.raises(ValueError, match="name: expected an identifier"):
        dgm.start("x").record(name, 1, unit="1", protocol="none")


def test_unit_and_protocol_are_not_optional():
    with pytest.raises(TypeError, match="'unit' and 'protocol'"):
        dgm.start("x").record("x", 1)


def test_a_started_run_removes_earlier_results(monkeypatch):
    run = dgm.start("x")
    record(run)
    monkeypatch.setattr(data, "load_digits", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        dgm.start("x", data="mnist")
    assert not run.path.exists()


def test_finish(capsys):
    run = dgm.start("x")
    record(run)
    capsys.readouterr()
    run.finish()
    assert re.fullmatch(r"x: 1 numbers recorded, \d+ s in the profile quick\n", capsys.readouterr().out)
    assert len(report(run)["metrics"]) == 1


def test_commit(monkeypatch):
    run = dgm.start("x")
    record(run)
    assert re.fullmatch(r"[0-9a-f]{40}(\+changes)?|unknown", report(run)["commit"])
    monkeypatch.setenv("PATH", "")  # no git
    run = dgm.start("x")
    record(run)
    assert report(run)["commit"] == "unknown"


def test_recorded_reads_another_lecture(tmp_path, monkeypatch):
    monkeypatch.setenv("DGM_BUILD", str(tmp_path))
    monkeypatch.setenv("DGM_PROFILE", "smoke")
    assert runtime.recorded("other") == {}
    run = dgm.start("other")
    run.record("answer", 42.0, unit="1", protocol="asked")
    assert runtime.recorded("other") == {}  # it has not ended
    run.finish()
    assert runtime.recorded("other") == run.metrics
    assert runtime.recorded("other")["answer"]["value"] == 42
    assert runtime.recorded("other", "full") == {}


def test_the_seed_comes_from_the_environment(monkeypatch, build_folder, capsys):
    monkeypatch.setenv("DGM_SEED", "3")
    run = dgm.start("x")
    assert run.seed == 3 * runtime.SEEDS_APART
    assert capsys.readouterr().out.rstrip().endswith("seed 3")
    assert run.path == build_folder / "quick-seed3" / "results" / "x.json"
    record(run)
    assert report(run)["seed"] == 3
    monkeypatch.delenv("DGM_SEED")
    run = dgm.start("x")
    assert (run.seed, run.path) == (0, build_folder / "quick" / "results" / "x.json")


def test_streams_of_two_seeds_do_not_meet(monkeypatch):
    """Lectures add small numbers to the seed."""
    starts = set()
    for number in ("0", "1", "2"):
        monkeypatch.setenv("DGM_SEED", number)
        seed = dgm.start("x").seed
        starts |= {seed + offset for offset in range(3_000)}
    assert len(starts) == 9_000


@pytest.mark.parametrize("text", ["-1", "1.5", "seven", "100000", "\u0663"])
def test_a_seed_that_is_none(monkeypatch, text):
    monkeypatch.setenv("DGM_SEED", text)
    with pytest.raises(ValueError, match="DGM_SEED: expected a whole number from 0 to 99999, got"):
        dgm.start("x")


def test_results_say_which_code_gave_them_and_which_checks_failed(monkeypatch, capsys):
    monkeypatch.setattr(dgm.checks, "_NOTED", [])
    monkeypatch.setenv("DGM_CODE", "0123")
    monkeypatch.setenv("DGM_CHECKS", "note")
    run = dgm.start("x")
    dgm.checks.at_most("a", 2, 1)
    run.finish()
    assert report(run)["code"] == "0123"
    assert report(run)["failed_checks"] == ["a: 2, at most 1 expected: WRONG"]
    assert "1 checks failed, and the run went on" in capsys.readouterr().out


def test_a_way_out_of_a_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")
    assert _environment.find_device() == ("cuda", "a GPU")
    monkeypatch.setenv("DGM_DEVICE", "cpu")
    assert _environment.find_device()[0] == "cpu"
    monkeypatch.setenv("DGM_DEVICE", "gpu")
    with pytest.raises(ValueError, match="DGM_DEVICE: expected cpu, or nothing, got 'gpu'"):
        _environment.find_device()


def test_keras_is_as_the_lectures_assume_whatever_keras_json_says(monkeypatch):
    said = {}
    settings = SimpleNamespace(
        set_floatx=lambda value: said.update(floatx=value),
        set_image_data_format=lambda value: said.update(image_data_format=value),
    )
    fake = SimpleNamespace(config=settings, utils=SimpleNamespace(set_random_seed=lambda seed: None))
    monkeypatch.setitem(sys.modules, "keras", fake)
    dgm.start("x")
    assert said == {"floatx": "float32", "image_data_format": "channels_last"}


def test_double_precision_is_on_the_cpu():
    layer = torch.nn.Linear(3, 2)
    copy = dgm.float64(layer)
    assert (copy.weight.dtype, layer.weight.dtype) == (torch.float64, torch.float32)
    x = dgm.float64(torch.ones(3))
    assert (x.dtype, x.device.type) == (torch.float64, "cpu")
    assert copy(x).dtype == torch.float64
