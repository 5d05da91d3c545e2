"""The U-Net of the diffusion lecture: shapes, conditions, precision."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from dgm.models.unet import ResidualBlock, UNet, mixed_precision, time_features  # noqa: E402


def _inputs(num_images=3):
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(num_images, 1, 28, 28, generator=generator)
    return images, torch.rand(num_images, generator=generator), torch.arange(num_images)


def _awake(network):
    """The layers that start at zero, filled: else nothing depends on anything."""
    for parameter in network.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    return network


def test_starts_at_zero_with_the_shape_of_the_image():
    images, time, labels = _inputs()
    prediction = UNet(8)(images, time, labels)
    assert prediction.shape == images.shape
    assert not prediction.any()


@pytest.mark.parametrize("changed", [0, 1, 2])
def test_depends_on_image_time_and_label_of_its_own_row(changed):
    torch.manual_seed(0)
    network = _awake(UNet(8))
    inputs = list(_inputs())
    before = network(*inputs)
    inputs[changed] = inputs[changed].clone()
    inputs[changed][0] = 7 if changed == 2 else inputs[changed][0] + 0.3
    after = network(*inputs)
    assert (after[0] - before[0]).abs().max() > 1e-4
    torch.testing.assert_close(after[1:], before[1:])


def test_residual_block_starts_as_the_identity():
    x = torch.randn(2, 16, 7, 7)
    torch.testing.assert_close(ResidualBlock(16, 16, 4)(x, torch.randn(2, 4)), x)


def test_time_features_tell_neighbours_apart():
    features = time_features(torch.linspace(0, 1, 1_001), 64)
    assert features.shape == (1_001, 64)
    assert (features[1:] - features[:-1]).norm(dim=1).min() > 0.1


def test_mixed_precision_keeps_weights_and_gradients_in_float32():
    network = _awake(UNet(8))
    images, time, labels = _inputs()
    with mixed_precision("cpu"):
        half = network(images, time, labels).float()
    half.square().mean().backward()
    assert all(p.grad.dtype == torch.float32 for p in network.parameters())
    # bfloat16 has 8 bits: a relative error of 2^-8 in each of some ten layers.
    whole = network(images, time, labels)
    assert (half - whole).norm() < 0.1 * whole.norm()
