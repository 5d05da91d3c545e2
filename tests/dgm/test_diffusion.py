"""Gaussian diffusion, its samplers, and the schedulers of the library diffusers on the same noise."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
schedulers = pytest.importorskip("diffusers.schedulers")

from dgm import samplers  # noqa: E402
from dgm.models import diffusion  # noqa: E402
from dgm.models.mixture import GaussianMixture  # noqa: E402

NUM_STEPS = 100
SCHEDULES = {
    "linear": (diffusion.linear_betas(NUM_STEPS), {"beta_start": 1e-3, "beta_end": 0.2, "beta_schedule": "linear"}),
    "cosine": (diffusion.cosine_betas(NUM_STEPS), {"beta_schedule": "squaredcos_cap_v2"}),
}
PREDICTIONS = ("sample", "epsilon", "v_prediction")


def _library(name, kind, settings):
    """A scheduler of diffusers with its tables in float64, and our table of alpha-bar."""
    betas, options = SCHEDULES[name]
    scheduler = kind(NUM_STEPS, clip_sample=False, **options, **settings)
    alphas_cumprod = diffusion.alphas_cumprod_of(betas)
    # Its tables are float32, so that they agree to float32 precision (alpha-bar is a product of 100 factors) ...
    torch.testing.assert_close(scheduler.betas.double(), betas, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(scheduler.alphas_cumprod.double(), alphas_cumprod[1:], rtol=1e-5, atol=1e-6)
    # ... and everything below then compares the steps, not the rounding of the tables.
    scheduler.betas, scheduler.alphas, scheduler.alphas_cumprod = betas, 1 - betas, alphas_cumprod[1:]
    scheduler.one = scheduler.final_alpha_cumprod = torch.ones((), dtype=torch.float64)
    return scheduler, alphas_cumprod


@pytest.fixture
def mixture():
    means = torch.tensor([[2.0, 0.0], [-2.0, 1.0]], dtype=torch.float64)
    return GaussianMixture(torch.tensor([0.8, 0.2], dtype=torch.float64), means, 0.3)


def _denoiser(mixture, alphas_cumprod):
    return lambda x, t: mixture.denoised(x, alphas_cumprod[t].sqrt().item(), (1 - alphas_cumprod[t]).sqrt().item())


def _prediction(kind, x, t, denoiser, alphas_cumprod):
    """What a network of that parameterisation would say."""
    x0 = denoiser(x, t)
    noise = diffusion.noise_of(x, x0, t, alphas_cumprod)
    return {"sample": x0, "epsilon": noise, "v_prediction": diffusion.v_of(x0, noise, t, alphas_cumprod)}[kind]


def _start():
    return torch.randn(40, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("kind", PREDICTIONS)
def test_ddpm_agrees_with_diffusers_at_every_step(mixture, schedule, kind):
    settings = {"prediction_type": kind, "variance_type": "fixed_small"}
    scheduler, alphas_cumprod = _library(schedule, schedulers.DDPMScheduler, settings)
    denoiser = _denoiser(mixture, alphas_cumprod)
    ours, theirs = (torch.Generator().manual_seed(1) for _ in range(2))
    x = _start()
    states = samplers.ddpm(x, denoiser, alphas_cumprod, generator=ours)
    for t, state in zip(range(NUM_STEPS, 0, -1), states, strict=True):
        prediction = _prediction(kind, x, t, denoiser, alphas_cumprod)
        x = scheduler.step(prediction, t - 1, x, generator=theirs).prev_sample
        torch.testing.assert_close(state, x, rtol=0, atol=1e-5)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("num_steps", [10, 20, 50, 100])
def test_ddim_agrees_with_diffusers_at_every_step(mixture, schedule, eta, num_steps):
    settings = {"prediction_type": "sample", "set_alpha_to_one": True, "timestep_spacing": "trailing"}
    scheduler, alphas_cumprod = _library(schedule, schedulers.DDIMScheduler, settings)
    scheduler.set_timesteps(num_steps)
    steps = [int(t) + 1 for t in scheduler.timesteps]
    denoiser = _denoiser(mixture, alphas_cumprod)
    ours, theirs = (torch.Generator().manual_seed(1) for _ in range(2))
    x = _start()
    states = samplers.ddim(x, denoiser, alphas_cumprod, steps, eta=eta, generator=ours)
    for t, state in zip(steps, states, strict=True):
        x = scheduler.step(denoiser(x, t), t - 1, x, eta=eta, generator=theirs).prev_sample
        torch.testing.assert_close(state, x, rtol=0, atol=1e-5)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_q_sample_and_v_agree_with_diffusers(schedule):
    scheduler, alphas_cumprod = _library(schedule, schedulers.DDPMScheduler, {})
    x0, noise, t = _start(), torch.randn(40, 2, dtype=torch.float64), torch.randint(1, NUM_STEPS + 1, (40,))
    ours = diffusion.q_sample(x0, t, noise, alphas_cumprod)
    torch.testing.assert_close(ours, scheduler.add_noise(x0, noise, t - 1), rtol=1e-12, atol=1e-12)
    v = diffusion.v_of(x0, noise, t, alphas_cumprod)
    torch.testing.assert_close(v, scheduler.get_velocity(x0, noise, t - 1), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(diffusion.x0_from_v(ours, v, t, alphas_cumprod), x0, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(diffusion.noise_of(ours, x0, t, alphas_cumprod), noise, rtol=1e-10, atol=1e-10)
    # alpha-bar_T of the cosine schedule is 2e-7 at T = 100: dividing by its root costs four digits.
    torch.testing.assert_close(diffusion.x0_from_noise(ours, noise, t, alphas_cumprod), x0, rtol=1e-8, atol=1e-8)


def test_last_step_is_deterministic(mixture):
    alphas_cumprod = diffusion.alphas_cumprod_of(SCHEDULES["cosine"][0])
    x0, xt = _start(), _start() + 1
    mean, variance = diffusion.q_posterior(x0, xt, 1, alphas_cumprod)
    assert variance.item() == 0
    torch.testing.assert_close(mean, x0, rtol=1e-12, atol=1e-12)


def test_ddim_with_eta_one_is_ddpm(mixture):
    alphas_cumprod = diffusion.alphas_cumprod_of(SCHEDULES["linear"][0])
    denoiser, steps = _denoiser(mixture, alphas_cumprod), list(range(NUM_STEPS, 0, -1))
    first, second = (torch.Generator().manual_seed(1) for _ in range(2))
    *_, a = samplers.ddpm(_start(), denoiser, alphas_cumprod, generator=first)
    *_, b = samplers.ddim(_start(), denoiser, alphas_cumprod, steps, eta=1.0, generator=second)
    torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


def test_annealed_langevin_is_langevin_at_each_scale(mixture):
    stds, x = [3.0, 1.0, 0.3], _start()
    first, second = (torch.Generator().manual_seed(1) for _ in range(2))

    def score(x, std):
        return mixture.diffused(1.0, std).score(x)

    states = samplers.annealed_langevin(x, score, stds, step_size=0.01, num_steps=5, generator=first)
    for std, state in zip(stds, states, strict=True):
        chain = samplers.langevin(x, lambda x, std=std: score(x, std), 0.01 * (std / 0.3) ** 2, generator=second)
        for _ in range(5):
            x = next(chain)
        torch.testing.assert_close(state, x)


def test_linear_schedule_of_too_few_steps():
    with pytest.raises(ValueError, match="num_steps"):
        diffusion.linear_betas(20)
