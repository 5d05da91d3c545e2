"""The U-Net of the lecture `diffusion_mnist`: training steps, and batches of DDIM with 20 steps.

Textbook: the training example of the library diffusers, with a `DataLoader`, its scheduler's `add_noise` and
`get_velocity`, `AdamW`, its `EMAModel` and `item()` of every loss; and its pipeline's loop around `DDIMScheduler.step`.
Ours: the lecture's loop and `dgm.samplers.ddim`.  The same network, batch, schedule and precision (float32) in both.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import torch
from diffusers import DDIMScheduler, DDPMScheduler
from diffusers.training_utils import EMAModel
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, TensorDataset

from dgm.data import load_digits
from dgm.models import diffusion
from dgm.models.unet import UNet
from dgm.samplers import ddim

WIDTH, BATCH_SIZE, NUM_STEPS = 32, 128, 250
NUM_BATCHES = 20  # of training, in one measurement
NUM_SAMPLES = 100
# Multiplications and additions of the convolutions for one image: 9 weights at 14 x 14 or 7 x 7 places.
FINE, COARSE = 14 * 14 * WIDTH**2, 7 * 7 * (2 * WIDTH) ** 2
FORWARD = 2 * (9 * (2 * FINE + 4 * COARSE + 3 * FINE) + 2 * 4 * COARSE / 2 + 2 * FINE)


def _network() -> UNet:
    torch.manual_seed(0)
    return UNet(WIDTH)


def _train() -> tuple[Callable[[], None], Callable[[], None], float]:
    digits = load_digits()
    images = 2 * torch.from_numpy(digits.vectors("train")).view(-1, 1, 28, 28) - 1
    labels = torch.tensor(digits.labels[: len(images)]).long()
    alphas_cumprod = diffusion.alphas_cumprod_of(diffusion.cosine_betas(NUM_STEPS))
    network = _network()
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(0.995))
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3, fused=True)

    def ours() -> None:
        for _ in range(NUM_BATCHES):
            rows = torch.randint(len(images), (BATCH_SIZE,))
            x0, t = images[rows], torch.randint(1, NUM_STEPS + 1, (BATCH_SIZE,))
            noise = torch.randn_like(x0)
            xt = diffusion.q_sample(x0, t, noise, alphas_cumprod)
            v = diffusion.v_of(x0, noise, t, alphas_cumprod)
            loss = (v - network(xt, t / NUM_STEPS, labels[rows])).square().mean()
            loss.backward()
            optimiser.step()
            optimiser.zero_grad()
            average.update_parameters(network)

    model = _network()
    scheduler = DDPMScheduler(NUM_STEPS, beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction")
    loader = DataLoader(TensorDataset(images, labels), batch_size=BATCH_SIZE, shuffle=True, drop_last=True)
    adamw = torch.optim.AdamW(model.parameters(), lr=1e-3)
    ema = EMAModel(model.parameters(), decay=0.995)

    def textbook() -> None:
        for _, (clean_images, classes) in zip(range(NUM_BATCHES), loader, strict=False):
            noise = torch.randn(clean_images.shape)
            timesteps = torch.randint(0, NUM_STEPS, (len(clean_images),)).long()
            noisy_images = scheduler.add_noise(clean_images, noise, timesteps)
            output = model(noisy_images, (timesteps + 1) / NUM_STEPS, classes)
            loss = functional.mse_loss(output, scheduler.get_velocity(clean_images, noise, timesteps))
            loss.backward()
            adamw.step()
            adamw.zero_grad()
            ema.step(model.parameters())
            loss.detach().item()

    return ours, textbook, 3 * FORWARD * BATCH_SIZE * NUM_BATCHES


def _sample() -> tuple[Callable[[], None], Callable[[], None], float]:
    alphas_cumprod = diffusion.alphas_cumprod_of(diffusion.cosine_betas(NUM_STEPS))
    network, labels = _network().eval(), torch.arange(NUM_SAMPLES) % 10
    scheduler = DDIMScheduler(
        NUM_STEPS,
        beta_schedule="squaredcos_cap_v2",
        prediction_type="v_prediction",
        clip_sample=False,
        timestep_spacing="trailing",
    )
    scheduler.set_timesteps(20)
    steps = [int(t) + 1 for t in scheduler.timesteps]

    def denoiser(x: torch.Tensor, t: int) -> torch.Tensor:
        v = network(x, torch.full((len(x),), t / NUM_STEPS), labels)
        return diffusion.x0_from_v(x, v, t, alphas_cumprod)

    def ours() -> None:
        *_, _ = ddim(torch.randn(NUM_SAMPLES, 1, 28, 28), denoiser, alphas_cumprod, steps)

    @torch.no_grad()
    def textbook() -> None:
        image = torch.randn(NUM_SAMPLES, 1, 28, 28)
        for t in scheduler.timesteps:
            output = network(image, ((t + 1) / NUM_STEPS).expand(NUM_SAMPLES), labels)
            image = scheduler.step(output, t, image).prev_sample

    return ours, textbook, FORWARD * NUM_SAMPLES * len(steps)


TRAIN = SimpleNamespace(NAME="diffusion_train", epochs=_train)
SAMPLE = SimpleNamespace(NAME="diffusion_ddim20", epochs=_sample)
