"""Parity with the released code, part by part and whole, on every golden file that is found.

Tolerances: ``_floor`` in a golden file is how far two runs of the released code lie apart when only
the arithmetic library changes; ``FACTOR`` times that is allowed. Where a file records no floor, the
largest floor seen in the recorded files stands in.
"""

import re

import numpy as np
import pytest
import torch

from semanticodec import released
from semanticodec.diffusion.schedule import make_ladder
from semanticodec.layers import set_fast
from semanticodec.settings import DecodeSettings, Execution

FACTOR = 4.0
LATENT_FLOOR = 1e-5  # values up to 5
WAVE_FLOOR = 1.5e-6
MEL_TOLERANCE = 2e-5  # normalised log-mel; the filters are exact here and float32 there
FEATURE_TOLERANCE = 2e-5  # AudioMAE features, values up to 5
EXECUTION = Execution()

pytestmark = pytest.mark.usefixtures("_inference")


@pytest.fixture
def _inference():
    with torch.no_grad():
        yield


def difference(ours: torch.Tensor | np.ndarray, theirs: np.ndarray) -> float:
    ours = np.asarray(ours)
    assert ours.shape == theirs.shape
    return float(np.abs(ours - theirs).max())


def test_front_end(golden):
    for signal in golden.signals:
        encoded = golden.encoded(signal)
        assert encoded.mel.shape == tuple(golden[f"{signal}_mel_shape"])
        assert difference(encoded.mel[0, ::37], golden[f"{signal}_mel_rows"]) < MEL_TOLERANCE
        assert encoded.positions == int(np.ceil(golden[f"{signal}_target_token_len"]))


def test_audiomae_and_stacking(golden):
    for signal in golden.signals:
        if f"{signal}_rep_rows" not in golden.arrays:
            continue
        encoded = golden.encoded(signal)
        # the recorded rows count from the class token, which we drop
        rows = golden[f"{signal}_mae_rows"][1:]
        assert difference(encoded.patches[0, 31::32], rows) < FEATURE_TOLERANCE
        rows = golden[f"{signal}_rep_rows"]
        assert difference(encoded.represented[0, ::32], rows) < FEATURE_TOLERANCE


def test_acoustic_encoder(golden):
    for signal in golden.signals:
        rows = golden[f"{signal}_lin_rows"]
        assert difference(golden.encoded(signal).latents[:, ::64], rows) < FEATURE_TOLERANCE


def test_tokens_are_equal(golden):
    for signal in golden.signals:
        expected = torch.from_numpy(golden[f"{signal}_tokens"]).long()
        assert torch.equal(golden.encoded(signal).tokens, expected), f"signal {signal}"


def test_whole_encoder(golden):
    """The entry point gives what its parts give, whatever the number of windows at a time."""
    signal = min(golden.signals, key=lambda name: int(golden[f"{name}_n"]))
    tokens = released.encode(golden.model, golden.wave(signal), 16000, 1)
    assert torch.equal(tokens, golden.encoded(signal).tokens)


def test_condition(golden):
    tokens = torch.from_numpy(golden["a_tokens"]).long()
    length = tokens.shape[1]
    if length > golden.model.config.positions:
        pytest.skip("the recorded condition spans several windows")
    codes = golden.model.condition(tokens)[0, :length, : -golden.model.positions.shape[1]]
    assert (1, *codes.shape) == tuple(golden["a_cond_shape"])
    mean, std, peak, power = golden["a_cond_stats"]
    assert codes.mean().item() == pytest.approx(mean, abs=1e-6)
    assert codes.std().item() == pytest.approx(std, rel=1e-5)
    assert codes.abs().max().item() == pytest.approx(peak, rel=1e-6)
    assert codes.double().square().sum().item() == pytest.approx(power, rel=1e-5)


def test_one_denoiser_call(golden):
    if "unet_c" not in golden.arrays:
        pytest.skip("no single call recorded")
    model = golden.model
    x = golden.detweights.normal("unet/x", [1, *model.config.latent_shape])
    context = model.condition(
        torch.from_numpy(golden["a_tokens"]).long()[:, : model.config.positions]
    )
    both = torch.cat((context, model.no_condition()))
    ours = model.unet(x, torch.tensor([501.0]), model.unet.project_context(both))
    theirs = np.concatenate((golden["unet_c"], golden["unet_u"]))
    assert difference(ours, theirs) < FACTOR * LATENT_FLOOR


def test_decode(golden):
    if not golden.decodes:
        pytest.skip("no decode recorded")
    for name in golden.decodes:
        check_decode(golden, name)


def test_decode_with_plain_layers(golden):
    """The plain ways of the layers keep the same tolerance as the cheaper ones."""
    if not golden.decodes:
        pytest.skip("no decode recorded")
    set_fast(golden.model, False)
    try:
        check_decode(golden, min(golden.decodes, key=lambda name: golden[f"{name}_t"].size))
    finally:
        set_fast(golden.model, True)


def check_decode(golden, name: str) -> None:
    signal, eta, steps = re.fullmatch(r"dec_(\w+)_eta([\d.]+)_s(\d+)", name).groups()
    settings = DecodeSettings(int(steps), eta=float(eta), spacing="released")
    tokens = torch.from_numpy(golden[f"{signal}_tokens"]).long()
    ladder = make_ladder(golden.model.alpha_bars, int(steps), "released")[:-1]
    mels, waves, latents = [], [], []
    for window, part in enumerate(released.split(tokens, golden.model.config)):
        steps_of_window = denoise_window(golden, part, window, settings)
        latents += steps_of_window
        mels.append(golden.model.vae(steps_of_window[-1]))
        waves.append(golden.model.vocoder(mels[-1])[0].numpy())
    times = [level.timestep for level in ladder] * len(waves)
    assert times == golden[f"{name}_t"].tolist()
    per_window = len(ladder)
    floor = latent_floor(golden, name, per_window)
    for step, (ours, theirs) in enumerate(
        zip(latents, golden[f"{name}_latent_slices"], strict=True)
    ):
        error = difference(ours[0, :, ::32, ::4], theirs)
        assert error < FACTOR * floor[step % per_window], f"{name} step {step}"
    last = torch.cat(latents[per_window - 1 :: per_window])
    assert difference(last, golden[f"{name}_latent_final"]) < FACTOR * floor[-1]
    assert difference(torch.cat(mels)[:, ::4], golden[f"{name}_mel"]) < FACTOR * floor[-1]
    wave = released.join(waves, tokens.shape[1], golden.model.config)
    assert difference(wave[None, None], golden[f"{name}_wav"]) < FACTOR * wave_floor(golden, name)


def denoise_window(golden, tokens, window: int, settings: DecodeSettings) -> list[torch.Tensor]:
    shape = [1, *golden.model.config.latent_shape]

    def noise(step: int) -> torch.Tensor:
        return golden.detweights.normal(f"noise/{window}/{step}", shape)

    return list(released.window_latents(golden.model, [tokens], settings, EXECUTION, noise))


def latent_floor(golden, name: str, steps: int) -> np.ndarray:
    floor = golden.arrays.get(f"{name}_floor")
    return np.full(steps, LATENT_FLOOR) if floor is None else floor[:-1]


def wave_floor(golden, name: str) -> float:
    floor = golden.arrays.get(f"{name}_floor")
    return WAVE_FLOOR if floor is None else float(floor[-1])
