"""The small model's own parts, and its place behind the codec's interface."""

import numpy as np
import pytest
import torch

from semanticodec import SemantiCodec
from semanticodec.audiomae import Attention
from semanticodec.config import AudioMAEConfig
from semanticodec.diffusion.patch_transformer import (
    PatchDenoiser,
    PatchDenoiserConfig,
    from_patches,
    to_patches,
    unstack,
    with_neighbours,
)
from semanticodec.errors import CheckpointError
from semanticodec.mel import LogMel
from semanticodec.mini import STACKS, MiniConfig, MiniModel, load_mini, mini_config
from semanticodec.patch_vae import PatchVAEConfig
from semanticodec.semantic import stack_patches
from semanticodec.vocos import Vocos, VocosConfig

RATES = pytest.mark.parametrize("rate", sorted(STACKS))


def tiny(rate: int) -> MiniModel:
    torch.manual_seed(0)
    values = mini_config(rate, 16).to_dict()
    values["audiomae"] = vars(AudioMAEConfig(64, 128, 16, 16, 2, 2, 32, 1))
    values["denoiser"] |= {"width": 16, "num_heads": 2, "mlp_width": 32, "depth": 1}
    values["acoustic"] |= {"codebook_size": 16, "hidden": 8}
    values["vae"] = vars(PatchVAEConfig(channels=8, decoder_blocks=1))
    values["vocoder"] = vars(VocosConfig(width=16, hidden=32, depth=2))
    model = MiniModel(MiniConfig.from_dict(values))
    for book in (model.semantic.centroids, model.acoustic.codebook):
        torch.nn.init.normal_(book)
    torch.nn.init.normal_(model.projection.mel_basis, std=0.1)
    return model.requires_grad_(False).eval()


@RATES
def test_the_rates_have_the_sizes_they_promise(rate):
    config = mini_config(rate)
    assert config.token_rate == rate
    assert config.nominal_kbps == pytest.approx(rate / 2 * (13 + 12) / 1000)
    assert MiniConfig.from_dict(config.to_dict()) == config


@RATES
@pytest.mark.parametrize("preset", ["fast", "quality"])
def test_a_round_trip_keeps_the_length(rate, preset):
    codec = SemantiCodec.from_model(tiny(rate), settings=preset)
    wave = 0.1 * np.random.default_rng(0).standard_normal(23456)
    tokens = codec.encode(wave, 16000)
    assert codec.decode(tokens).shape == (1, 1, 23456)
    assert np.array_equal(codec.decode(tokens), codec.decode(tokens.to_bytes()))


def test_a_stream_is_the_same_as_the_whole():
    codec = SemantiCodec.from_model(tiny(100))
    wave = 0.1 * np.random.default_rng(0).standard_normal(50000)
    tokens = codec.encode(wave, 16000)
    stream = np.concatenate(list(codec.decode_stream(tokens)), 1)
    np.testing.assert_allclose(stream, codec.decode(tokens)[0], atol=1e-5)


@RATES
def test_unstacking_undoes_stacking(rate):
    config = mini_config(rate)
    patches = torch.randn(2, 128, 3)
    stacked = stack_patches(patches, config.audiomae.grid, config.semantic)
    assert torch.equal(unstack(stacked, config.audiomae.grid, STACKS[rate]), patches)


def test_a_token_sees_its_neighbours_and_nothing_beyond_the_edge():
    context = torch.arange(1.0, 13.0).reshape(1, 12, 1)  # 4 rows of 3 bands
    around = with_neighbours(context, (4, 3))[0]
    assert around[4].tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert around[0].tolist() == [0, 0, 0, 0, 1, 2, 0, 4, 5]


def test_latent_patches_can_be_put_together_again():
    latents = torch.randn(2, 8, 64, 16)
    assert torch.equal(from_patches(to_patches(latents, (16, 8)), (16, 8), (8, 64, 16)), latents)


def denoiser() -> PatchDenoiser:
    torch.manual_seed(0)
    sizes = PatchDenoiserConfig(width=16, num_heads=2, mlp_width=32)
    return PatchDenoiser(sizes, 10, (8, 64, 16), (16, 8), (1, 1)).eval()


def test_the_linear_denoiser_is_the_best_one_for_a_gaussian_around_the_estimate():
    unet = denoiser()
    unet.error_std.fill_(0.4)
    estimate = torch.randn(1, 8, 64, 16)
    timesteps = torch.tensor([400.0])
    alpha, sigma = unet.levels(timesteps)
    x0 = estimate + 0.4 * torch.randn(200, 8, 64, 16)
    noise = torch.randn_like(x0)
    x = alpha * x0 + sigma * noise
    base, scale = unet.linear_velocity(x, timesteps, estimate)
    error = (alpha * noise - sigma * x0) - base
    assert abs(float((error / scale).std()) - 1.0) < 0.01
    assert abs(float((error * (x - alpha * estimate)).mean())) < 1e-3  # nothing linear is left


def test_without_noise_nothing_is_infinite_and_in_pure_noise_the_estimate_comes_out():
    unet = denoiser()
    context, x = torch.randn(1, 128, 10), torch.randn(1, 8, 64, 16)
    keys = unet.project_context(context)
    assert unet(x, torch.tensor([-1.0]), keys).isfinite().all()
    clean = -unet(x, torch.tensor([999.0]), keys)  # alpha 0, sigma 1: x0 = -velocity
    torch.testing.assert_close(clean, keys[0][1], atol=1e-3, rtol=1e-3)


def test_a_guidance_pair_is_two_single_calls():
    unet = denoiser()
    x, time = torch.randn(1, 8, 64, 16), torch.tensor([500.0])
    contexts = torch.randn(2, 128, 10)
    both = unet(x, time, unet.project_context(contexts))
    for index in (0, 1):
        alone = unet(x, time, unet.project_context(contexts[index : index + 1]))
        torch.testing.assert_close(both[index : index + 1], alone, atol=1e-5, rtol=1e-4)


def test_the_vocoder_makes_a_hop_per_frame_and_starts_at_about_the_level():
    torch.manual_seed(0)
    vocoder, mel = Vocos(VocosConfig(width=16, hidden=32, depth=2)).eval(), LogMel()
    wave = 0.1 * torch.randn(2, 16000)
    with torch.no_grad():
        made = vocoder(mel(wave))
    assert made.shape == (2, 16000)
    assert 0.1 < float(made.std() / wave.std()) < 10.0  # its phases are still random


def test_missing_weights_say_what_to_train(tmp_path):
    with pytest.raises(CheckpointError, match="codec-50"):
        load_mini(50, folder=tmp_path)
    with pytest.raises(ValueError, match="token_rate"):
        load_mini(33, folder=tmp_path)


def test_attention_of_the_denoiser_is_that_of_audiomae():
    assert isinstance(denoiser().blocks[0].attention, Attention)
