"""Interrupted trainings go on, damaged and foreign checkpoints are refused, nothing is unpickled."""

import math
import pickle
import time

import numpy as np
import pytest
import torch

import dgm.checkpoints
from dgm.checkpoints import CheckpointDamaged, Checkpoints, resumed
from dgm.runtime import start

NUM_STEPS = 12


class Training:
    """A small network with Adam, a decay of the rate, an average, dropout and a history: all that a lecture has."""

    def __init__(self):
        torch.manual_seed(3)
        self.network = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Dropout(0.3), torch.nn.Linear(8, 1))
        self.average = torch.optim.swa_utils.AveragedModel(self.network)
        self.optimiser = torch.optim.Adam(self.network.parameters(), lr=0.1)
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimiser, NUM_STEPS)
        self.source = torch.Generator().manual_seed(4)
        self.losses, self.notes, self.rows = torch.zeros(NUM_STEPS), {}, []

    def parts(self):
        return vars(self)

    def steps(self, done):
        for step in range(done, NUM_STEPS):
            x = torch.randn(16, 3, generator=self.source) + torch.randn(16, 3)
            loss = (self.network(x) - x.sum(1, keepdim=True)).square().mean()
            self.optimiser.zero_grad()
            loss.backward()
            self.optimiser.step()
            self.schedule.step()
            self.average.update_parameters(self.network)
            yield step, loss.detach()

    def run(self, checkpoints, stop=math.inf, every=0.0):
        """Train; as if by Ctrl-C, stop while step number `stop` is looked at."""
        for step, loss in resumed(checkpoints, "test", NUM_STEPS, self.parts(), self.steps, every=every):
            if step == stop:
                raise KeyboardInterrupt
            self.losses[step] = loss
            self.notes[step] = [loss.item(), "seen"]
            self.rows.append(step)
        return self

    def result(self):
        tensors = [*self.network.parameters(), *self.average.parameters(), self.losses]
        return torch.cat([tensor.detach().flatten() for tensor in tensors]), self.notes, self.rows


@pytest.fixture
def checkpoints(tmp_path):
    return Checkpoints(tmp_path / "kept", "net", {"width": 8})


@pytest.mark.parametrize("stop", [1, 5, NUM_STEPS - 1])
def test_a_resumed_training_ends_as_an_uninterrupted_one(checkpoints, stop):
    expected = Training().run(None).result()
    with pytest.raises(KeyboardInterrupt):
        Training().run(checkpoints, stop)
    torch.manual_seed(99)  # a new process draws other numbers
    second = Training()
    found = second.run(checkpoints).result()
    assert checkpoints.resumed
    assert torch.equal(found[0], expected[0])
    assert found[1:] == expected[1:]
    assert second.rows == list(range(NUM_STEPS))


def test_the_test_above_sees_a_part_that_is_not_kept(checkpoints):
    """Without the optimiser among the parts the numbers must differ: Adam remembers."""
    expected = Training().run(None).result()

    class Forgetful(Training):
        def parts(self):
            return {name: part for name, part in vars(self).items() if name != "optimiser"}

    with pytest.raises(KeyboardInterrupt):
        Forgetful().run(checkpoints, 5)
    assert not torch.equal(Forgetful().run(checkpoints).result()[0], expected[0])
    with pytest.raises(ValueError, match=r"expected a checkpoint of .*'optimiser'.*, got one of .*; remove .*kept to"):
        Training().run(checkpoints)


def test_the_generator_of_an_apple_gpu_is_kept(checkpoints, monkeypatch):
    kept, found = torch.arange(16, dtype=torch.uint8), []
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.mps, "get_rng_state", lambda: kept)
    monkeypatch.setattr(torch.mps, "set_rng_state", found.append)
    checkpoints.keep(1, {"notes": []})
    assert checkpoints.restore({"notes": []}) == 1
    assert torch.equal(found[0], kept)


def test_a_finished_training_is_not_repeated(checkpoints):
    expected = Training().run(checkpoints).result()
    again = Training()
    again.steps = lambda done: iter(range(done, NUM_STEPS)) if done == NUM_STEPS else pytest.fail("trains again")
    again.parts = lambda: {name: part for name, part in vars(again).items() if name not in ("steps", "parts")}
    assert torch.equal(again.run(checkpoints).result()[0], expected[0])


def test_the_newest_two_are_kept(checkpoints):
    Training().run(checkpoints)
    assert [path.name for path in checkpoints.files()] == ["net-12.safetensors", "net-11.safetensors"]
    assert len(list(checkpoints.folder.iterdir())) == 2  # no partial file is left


def test_trainings_of_similar_names_are_kept_apart(checkpoints):
    other = Checkpoints(checkpoints.folder, "net-wide", {})
    other.save(5, {})
    checkpoints.save(3, {})
    assert [path.name for path in checkpoints.files()] == ["net-3.safetensors"]
    assert other.latest()[0] == 5


def test_none_is_written_before_its_time(checkpoints):
    with pytest.raises(KeyboardInterrupt):
        Training().run(checkpoints, 5, every=3600)
    assert checkpoints.files() == []


def truncate(path):
    path.write_bytes(path.read_bytes()[:-8])


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(bytes(content))


def change_a_number(path):
    path.write_bytes(path.read_bytes().replace(b"seen", b"SEEN", 1))


def pickle_it(path):
    path.write_bytes(pickle.dumps({"state": [1.0]}))


@pytest.mark.parametrize(
    "damage", [truncate, flip_a_bit, change_a_number, pickle_it, lambda path: path.write_bytes(b"")]
)
def test_a_damaged_one_is_refused_and_the_one_before_is_used(checkpoints, damage, capsys):
    expected = Training().run(None).result()
    with pytest.raises(KeyboardInterrupt):
        Training().run(checkpoints, 7)
    newest, before = checkpoints.files()
    damage(newest)
    with pytest.raises(CheckpointDamaged, match=r"net-7.safetensors: expected"):
        checkpoints.read(newest)
    capsys.readouterr()
    found = Training().run(checkpoints).result()
    printed = capsys.readouterr().out
    assert "not used: net-7.safetensors: expected" in printed
    assert "goes on after 6 of 12 steps" in printed
    assert before.name == "net-6.safetensors"
    assert torch.equal(found[0], expected[0])


def test_other_parameters_start_anew(checkpoints, capsys):
    with pytest.raises(KeyboardInterrupt):
        Training().run(checkpoints, 5)
    other = Checkpoints(checkpoints.folder, "net", {"width": 9})
    assert other.latest() == (0, None)
    assert "expected" in capsys.readouterr().out
    with pytest.raises(ValueError, match='"width": 9'):
        other.read(other.files()[0])


def test_those_of_other_parameters_make_room(checkpoints):
    """Theirs may have higher numbers: the newest two are those that were written last."""
    Training().run(checkpoints)
    other = Checkpoints(checkpoints.folder, "net", {"width": 9})
    time.sleep(0.05)  # file times have some milliseconds
    with pytest.raises(KeyboardInterrupt):
        Training().run(other, 3)
    assert other.latest()[0] == 3
    assert not other.resumed
    assert [path.name for path in other.files()] == ["net-3.safetensors", "net-2.safetensors"]


def test_an_interrupted_write_leaves_the_old_state(checkpoints, monkeypatch):
    checkpoints.save(1, {"a": np.arange(3.0)})
    monkeypatch.setattr(dgm.checkpoints.Path, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        checkpoints.save(2, {"a": np.arange(4.0)})
    assert [path.name for path in checkpoints.folder.iterdir()] == ["net-1.safetensors"]
    assert checkpoints.latest()[0] == 1


def test_every_kind_of_state_comes_back(checkpoints):
    state = {"t": torch.arange(6).view(2, 3), 7: [None, True, 2, 0.1, "x", [np.ones(2, np.float32)]], "e": {}}
    _, found = (checkpoints.save(1, state), checkpoints.latest()[1])
    assert torch.equal(found["t"], state["t"])
    assert found[7][:5] == [None, True, 2, 0.1, "x"]
    assert found[7][5][0].dtype == np.float32
    assert found["e"] == {}


def test_a_number_of_any_shape_keeps_it(checkpoints):
    state = {"scalar": np.array(3, np.int64), "columns": np.arange(6.0).reshape(2, 3).T}
    checkpoints.save(1, state)
    found = checkpoints.latest()[1]
    assert found["scalar"].shape == ()
    assert np.array_equal(found["columns"], state["columns"])


def test_a_loop_without_steps_of_its_own_gets_the_numbers_that_are_left(checkpoints):
    def train(stop):
        seen = []
        for step in resumed(checkpoints, "test", 5, {"seen": seen}, every=0.0):
            if step == stop:
                raise KeyboardInterrupt
            seen.append(step)
        return seen

    with pytest.raises(KeyboardInterrupt):
        train(3)
    assert train(None) == [0, 1, 2, 3, 4]


class Fit:
    """A model of Keras in `fit`, with what its trainings are restored from."""

    def __init__(self):
        import keras

        keras.utils.set_random_seed(5)
        self.keras, noise = keras, keras.layers.GaussianNoise(0.1, seed=6)
        self.model = keras.Sequential([keras.Input((3,)), noise, keras.layers.Dense(2)])
        self.model.compile(keras.optimizers.Adam(0.1), "mse")
        self.model.optimizer.build(self.model.trainable_variables)
        numbers = noise.seed_generator.state
        variables = [*self.model.weights, *self.model.optimizer.variables, numbers]
        self.parts = {str(i): variable for i, variable in enumerate(variables)}

    def train(self, checkpoints, epochs):
        x = np.random.default_rng(7).normal(size=(64, 3)).astype(np.float32)
        keep = self.keras.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, _: checkpoints.keep(epoch + 1, self.parts)
        )
        done = checkpoints.restore(self.parts)
        settings = {"shuffle": False, "verbose": 0, "callbacks": [keep]}
        self.model.fit(x, x[:, :2], initial_epoch=done, epochs=epochs, **settings)
        return self.model.get_weights()


def test_a_training_of_keras_goes_on(tmp_path):
    expected = Fit().train(Checkpoints(tmp_path / "whole", "fit", {}), 4)
    interrupted = Checkpoints(tmp_path / "interrupted", "fit", {})
    Fit().train(interrupted, 2)
    for found, value in zip(Fit().train(interrupted, 4), expected, strict=True):
        assert np.array_equal(found, value)


def test_what_cannot_be_kept_is_named(checkpoints):
    with pytest.raises(TypeError, match=r"state.f: expected tensors.*got <class 'function'>"):
        checkpoints.save(1, {"f": truncate})


def test_nothing_is_unpickled():
    """Neither pickle nor torch.load, which unpickles, may be named in the package."""
    for path in dgm.checkpoints.Path(dgm.__file__).parent.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert "import pickle" not in text, path
        assert "torch.load(" not in text, path


@pytest.mark.parametrize(("profile", "kept"), [("smoke", False), ("full", True)])
def test_a_run_keeps_checkpoints_in_the_long_profile_only(profile, kept, monkeypatch, tmp_path):
    monkeypatch.setenv("DGM_BUILD", str(tmp_path))
    monkeypatch.setenv("DGM_PROFILE", profile)
    run = start("rbm", parameters={"epochs": (1, 2, 3)})
    checkpoints = run.checkpoints("net")
    assert (checkpoints is not None) is kept
    if kept:
        checkpoints.save(1, {})
        run.finish()
        assert not checkpoints.folder.exists()
