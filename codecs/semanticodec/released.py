"""What the released code does around the network, quirks included (``compat="released"``).

Kept for parity; the default mode of ``codec.py`` mends each of them:

* a length that is a multiple of 0.16 s gets one block more, one of 10.24 s a whole window more;
* at 25 tokens/s the last column may lose half of its bands;
* only channel 0 is coded, and the waveform's mean over the padded file is taken off;
* each decoded window is 32 samples longer than its hop assumes, so audio runs 2 ms later a window.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from semanticodec.config import SemantiCodecConfig
from semanticodec.diffusion.denoiser import GuidedDenoiser
from semanticodec.diffusion.sampler import sample
from semanticodec.diffusion.schedule import make_ladder
from semanticodec.frontend import sinc_resample
from semanticodec.lanes import rounds, side_by_side
from semanticodec.model import SemantiCodecModel
from semanticodec.settings import DecodeSettings, Execution

BLOCK_S = 0.16  # one column of the finest grid
OVERLAP = 0.0625  # share of a window that neighbouring decoded windows have in common


def num_positions(num_samples: int, config: SemantiCodecConfig) -> int:
    """Return how many positions the released code keeps; its float arithmetic is the point."""
    duration = num_samples / config.sample_rate
    duration += BLOCK_S - duration % BLOCK_S
    return math.ceil(8 * duration / BLOCK_S / config.stack)


def output_samples(positions: int, config: SemantiCodecConfig) -> int:
    """Return the length of the released code's output."""
    return int(positions / 8 * 16 * 0.01 * config.stack * config.sample_rate)


def prepare(wave: Tensor, sample_rate: int, config: SemantiCodecConfig) -> tuple[Tensor, int]:
    """Return the padded mono signal ``[N]`` without its mean, and the positions to keep.

    Args:
        wave: ``[channels, N]`` in [-1, 1].
        sample_rate: Hz.
        config: Of the model.
    """
    mono = sinc_resample(wave, sample_rate, config.sample_rate)[0]
    window = config.window_samples
    padded = F.pad(mono, (0, window - len(mono) % window))
    return padded - padded.mean(), num_positions(len(mono), config)


def encode(
    model: SemantiCodecModel, wave: Tensor, sample_rate: int, windows_per_batch: int
) -> Tensor:
    """Return tokens ``[1, L, 2]`` of ``wave`` ``[channels, N]`` as the released code would."""
    config = model.config
    signal, positions = prepare(wave, sample_rate, config)
    frames = config.audiomae.num_frames
    count = len(signal) // config.window_samples
    features = model.frontend.features(signal[None], count * frames)
    windows = features.reshape(count, frames, -1).split(windows_per_batch)
    tokens = torch.cat([model.tokenize(batch) for batch in windows])
    return tokens.flatten(0, 1)[None, :positions]


def window_starts(positions: int, config: SemantiCodecConfig) -> list[int]:
    """Return the first position of each decoded window; the last one may be shorter."""
    window = config.positions
    hop = window - int(window * OVERLAP)
    starts = [0]
    while starts[-1] + window < positions:
        starts.append(starts[-1] + hop)
    return [start for start in starts if start < positions]


def split(tokens: Tensor, config: SemantiCodecConfig) -> list[Tensor]:
    """Cut tokens ``[1, L, 2]`` into overlapping windows."""
    starts = window_starts(tokens.shape[1], config)
    return [tokens[:, start : start + config.positions] for start in starts]


def join(windows: Sequence[np.ndarray], positions: int, config: SemantiCodecConfig) -> np.ndarray:
    """Cross-fade waveforms ``[n]`` of whole windows, and cut to the released length."""
    overlap = int(config.window_samples * OVERLAP)
    fade = np.linspace(0.0, 1.0, overlap)
    joined = [windows[0].copy()]
    for window in windows[1:]:
        tail, head = joined[-1][-overlap:], window[:overlap]
        # in float64, then rounded, as in-place products of float32 arrays are
        tail[:] = (tail * fade[::-1]).astype(np.float32) + (head * fade).astype(np.float32)
        joined.append(window[overlap:].copy())
    return np.concatenate(joined)[: output_samples(positions, config)]


def window_latents(
    model: SemantiCodecModel,
    windows: Sequence[Tensor],
    settings: DecodeSettings,
    execution: Execution,
    noise: Callable[[int], Tensor],
) -> Iterator[Tensor]:
    """Denoise windows of tokens ``[1, length, 2]``, each on its own.

    Args:
        model: The network.
        windows: Of ``split``.
        settings: The spacing is taken as ``released`` whatever it says.
        execution: How to lay out the work.
        noise: Step number (0: the start) to noise for all windows, ``[W, *latent_shape]``.

    Yields:
        Latents ``[W, *latent_shape]`` after each step.
    """
    context = torch.cat([model.condition(window) for window in windows])
    denoise = GuidedDenoiser(model, context, settings, execution)
    ladder = make_ladder(model.alpha_bars, settings.num_steps, "released")
    yield from sample(settings.sampler, denoise, noise(0), ladder, noise, settings.eta)


def decode(
    model: SemantiCodecModel,
    tokens: Tensor,
    settings: DecodeSettings,
    execution: Execution,
    generator: torch.Generator | None = None,
) -> np.ndarray:
    """Return the waveform ``[n]`` of tokens ``[1, L, 2]`` as the released code would.

    Without a generator the noise comes from torch's global one, in the released order, so that
    ``torch.manual_seed`` gives the released waveform.
    """
    config = model.config
    windows = split(tokens, config)
    waves: list[np.ndarray] = []
    for start in range(0, len(windows), execution.windows_per_call):
        group = windows[start : start + execution.windows_per_call]
        noise = _draw_noise(model, len(group), settings, generator)
        latents = list(window_latents(model, group, settings, execution, noise.__getitem__))[-1]
        for parts in rounds(len(group), 1, execution.lanes_on(model.device)):
            waves += side_by_side(partial(_wave, model), [latents[part] for part in parts])
    return join(waves, tokens.shape[1], config)


def _wave(model: SemantiCodecModel, latent: Tensor) -> np.ndarray:
    """Return the samples ``[n]`` of one window ``[1, channels, time, frequency]``."""
    return model.vocoder(model.vae(latent))[0].float().cpu().numpy()


def _draw_noise(
    model: SemantiCodecModel,
    num_windows: int,
    settings: DecodeSettings,
    generator: torch.Generator | None,
) -> Tensor:
    """Draw window after window the start and one noise per step, ``[steps + 1, W, ...]``."""
    steps = len(make_ladder(model.alpha_bars, settings.num_steps, "released"))
    shape = model.config.latent_shape
    windows = [
        torch.stack([torch.randn(1, *shape, generator=generator)[0] for _ in range(steps)])
        for _ in range(num_windows)
    ]
    return torch.stack(windows, 1).to(model.device)
