import pytest
import torch

from dgm import checks, classifier
from dgm.data import load_digits

from tools.runs.classifier import shifted, train


def test_it_is_right_on_the_test_images(mnist_folder):
    digits = load_digits(mnist_folder)
    judge = classifier.load()
    images, labels = torch.tensor(digits.vectors("test")), torch.tensor(digits.test_labels, dtype=torch.long)
    checks.at_least("accuracy", (judge(images).argmax(1) == labels).double().mean(), 0.99)


def test_both_shapes_of_images_give_the_same():
    judge, images = classifier.load(), torch.rand(3, 784)
    checks.close("logits", judge(images), judge(images.view(3, 1, 28, 28)))
    assert judge.features(images).shape == (3, classifier.NUM_FEATURES)


def test_gradients_reach_the_images_and_not_the_weights():
    judge, images = classifier.load(), torch.rand(3, 784, requires_grad=True)
    judge(images).sum().backward()
    checks.at_least("gradient of an image", images.grad.norm(), 1e-6)
    assert not judge.training
    assert all(p.grad is None and not p.requires_grad for p in judge.parameters())


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.rand(3, 28, 28), r"expected shape .*got \(3, 28, 28\)"),
        (torch.rand(3, 784) - 1, "expected pixels from 0 to 1, got -"),
        (torch.full((1, 784), torch.nan), "expected pixels from 0 to 1, got nan"),
    ],
)
def test_wrong_images_are_refused(images, message):
    with pytest.raises(ValueError, match=message):
        classifier.load()(images)


def test_a_damaged_file_is_refused(tmp_path):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(classifier.WEIGHTS.read_bytes()[:1000])
    with pytest.raises(ValueError, match="expected the weights of a Classifier"):
        classifier.load(path=path)


def test_augmentation_moves_images_and_changes_no_pixel():
    images = torch.zeros(2, 28, 28)
    images[:, 10, 14] = torch.tensor([1.0, 0.5])
    moves = [shifted(images.flatten(1), torch.Generator().manual_seed(k)) for k in range(200)]
    moved = {divmod(x[0].argmax().item(), 28) for x in moves}
    assert sorted((i - 10, j - 14) for i, j in moved) == [(i, j) for i in range(-2, 3) for j in range(-2, 3)]
    checks.close("ink", moves[0].sum(1), [1.0, 0.5])


def test_the_trainer_learns():
    """Two kinds of images, ink above and ink below: after one pass over 640 of them it tells them apart."""
    y = torch.arange(640) % 2
    x = torch.zeros(640, 28, 28)
    x[y == 0, 5:10], x[y == 1, 18:23] = 1, 1
    judge = train(x.flatten(1), y, epochs=4, seed=0).eval()
    checks.close("accuracy", (judge(x.flatten(1)).argmax(1) == y).float().mean(), 1.0)
