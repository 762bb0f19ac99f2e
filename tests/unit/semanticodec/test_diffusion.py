import math

import pytest
import torch

from semanticodec.config import DiffusionConfig
from semanticodec.diffusion.sampler import SAMPLERS, guide, sample
from semanticodec.diffusion.schedule import SPACINGS, NoiseLevel, alphas_cumprod, make_ladder

RELEASED = alphas_cumprod(DiffusionConfig())
COSINE = alphas_cumprod(DiffusionConfig(schedule="cosine"))
MEAN, STD = 0.7, 0.4  # of the Gaussian whose exact denoiser is known


def exact_velocity(x: torch.Tensor, level: NoiseLevel) -> torch.Tensor:
    """The best denoiser of data drawn from N(MEAN, STD ** 2)."""
    variance = (level.alpha * STD) ** 2 + level.sigma**2
    clean = MEAN + level.alpha * STD**2 / variance * (x - level.alpha * MEAN)
    noise = (x - level.alpha * clean) / max(level.sigma, 1e-12)
    return level.alpha * noise - level.sigma * clean


def run(name, ladder, eta=0.0, count=1000):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(count, generator=generator, dtype=torch.float64)

    def noise(step: int) -> torch.Tensor:
        return torch.randn(count, generator=generator, dtype=torch.float64)

    *_, last = sample(name, exact_velocity, x, ladder, noise, eta)
    return x, last


def exact_end(x, first: NoiseLevel):
    """Where the probability flow of that Gaussian ends, from ``x`` at the first level."""
    spread = math.sqrt((first.alpha * STD) ** 2 + first.sigma**2)
    return MEAN + STD * (x - first.alpha * MEAN) / spread


def test_released_schedule_and_the_papers():
    assert RELEASED[0].item() == pytest.approx(0.9985, abs=1e-6)
    assert RELEASED[-1].item() == pytest.approx(1.423e-4, rel=1e-3)
    assert COSINE[-1] == 0.0
    assert (COSINE.diff() < 0).all()


def test_released_steps_and_their_quirks():
    ladder = make_ladder(RELEASED, 50, "released")
    assert [level.timestep for level in ladder[:3]] == [981, 961, 941]
    assert ladder[-2].timestep == 1
    assert ladder[-1].alpha_bar == RELEASED[0].item()
    assert len(make_ladder(RELEASED, 60, "released")) == 63 + 1
    assert len(make_ladder(RELEASED, 334, "released")) == 500 + 1
    assert [level.timestep for level in make_ladder(RELEASED, 1, "released")][:1] == [1]


@pytest.mark.parametrize("steps", [3, 9, 27, 36, 37, 101, 111, 251, 333, 501, 1000])
def test_steps_at_which_the_released_code_crashes(steps):
    with pytest.raises(ValueError, match="released code cannot"):
        make_ladder(RELEASED, steps, "released")


def test_exactly_as_many_released_step_counts_fail_as_in_the_released_code():
    def fails(steps: int) -> bool:
        try:
            make_ladder(RELEASED, steps, "released")
        except ValueError:
            return True
        return False

    assert sum(map(fails, range(1, 1001))) == 599


@pytest.mark.parametrize("spacing", sorted(set(SPACINGS) - {"released"}))
@pytest.mark.parametrize("steps", [1, 2, 3, 9, 101, 999, 1000])
@pytest.mark.parametrize("table", [RELEASED, COSINE], ids=["released", "cosine"])
def test_our_spacings_make_any_number_of_steps_and_end_clean(spacing, steps, table):
    ladder = make_ladder(table, steps, spacing)
    assert len(ladder) == steps + 1
    assert ladder[-1].alpha_bar == 1.0
    bars = [level.alpha_bar for level in ladder]
    assert bars == sorted(bars)
    assert all(0 <= level.timestep <= 999 for level in ladder)


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("spacing", ["trailing", "log_snr", "karras"])
def test_samplers_reach_the_exact_solution(name, spacing):
    ladder = make_ladder(RELEASED, 200, spacing)
    x, last = run(name, ladder)
    tolerance = 0.1 if name == "ddim" else 0.01  # first order, second order
    if spacing == "trailing":
        tolerance = 0.1  # its last step, from alpha_bar = 0.99 to clean, is long
    assert (last - exact_end(x, ladder[0])).abs().max() < tolerance


def flow_error(name: str, steps: int) -> float:
    """Distance from the exact probability flow where the step to the clean latent would begin."""
    ladder = make_ladder(RELEASED, steps + 1, "log_snr")[:-1]
    x, last = run(name, ladder)
    spreads = [math.sqrt((at.alpha * STD) ** 2 + at.sigma**2) for at in (ladder[0], ladder[-1])]
    scaled = (x - ladder[0].alpha * MEAN) / spreads[0]
    return (last - ladder[-1].alpha * MEAN - spreads[1] * scaled).abs().mean().item()


@pytest.mark.parametrize(("name", "order"), [("ddim", 0.9), ("dpm++2m", 1.8), ("unipc", 2.6)])
def test_order_of_convergence(name, order):
    measured = math.log2(flow_error(name, 40) / flow_error(name, 80))
    assert measured > order


def test_higher_order_pays():
    errors = [flow_error(name, 20) for name in ("unipc", "dpm++2m", "ddim")]
    assert errors == sorted(errors)


def test_ancestral_ddim_keeps_the_distribution():
    _, last = run("ddim", make_ladder(RELEASED, 1000, "trailing"), eta=1.0, count=20000)
    assert last.mean().item() == pytest.approx(MEAN, abs=0.02)
    assert last.std().item() == pytest.approx(STD, abs=0.02)


@pytest.mark.parametrize("name", SAMPLERS)
def test_samplers_start_from_pure_noise(name):
    ladder = make_ladder(COSINE, 20, "trailing")
    _, last = run(name, ladder, eta=0.0)
    assert torch.isfinite(last).all()
    assert last.mean().item() == pytest.approx(MEAN, abs=0.05)


def test_guidance_and_its_rescale():
    generator = torch.Generator().manual_seed(0)
    conditional = torch.randn(2, 8, 16, 4, generator=generator)
    unconditional = torch.randn(2, 8, 16, 4, generator=generator)
    assert torch.allclose(guide(conditional, unconditional, 1.0), conditional, atol=1e-6)
    plain = guide(conditional, unconditional, 3.0)
    full = guide(conditional, unconditional, 3.0, rescale=1.0)
    axes = (1, 2, 3)
    assert (plain.std(axes) > 2 * conditional.std(axes)).all()
    assert torch.allclose(full.std(axes), conditional.std(axes), rtol=1e-5)
