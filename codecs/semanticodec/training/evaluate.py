"""What a trained small model is worth: its ceilings without tokens, then every rate.

Each row is one way from validation audio back to audio: ``vocoder`` (true mel), ``autoencoder``
(mel through the latents), and the codec at each rate with each preset. Means come with a bootstrap
interval over clips. ViSQOL (speech mode, exponential map, 16 kHz) needs visqol-python, and is left
out without it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F

from semanticodec.codec import SemantiCodec
from semanticodec.mel import LogMel
from semanticodec.mini import STACKS, MiniModel, load_mini
from semanticodec.training import data
from semanticodec.training.visqol import make_visqol

Wave = npt.NDArray[np.float32]
Way = Callable[[Wave], Wave]
PRESETS = ("fast", "quality")


def validation_clips(
    cache: data.AudioCache, per_domain: int, seconds: float
) -> list[tuple[str, Wave]]:
    """Return domain and samples of evenly drawn validation clips."""
    samples = int(seconds * data.SAMPLE_RATE)
    clips = []
    for domain in data.DOMAINS:
        own = [c for c in cache.split("validation") if c.domain == domain and c.length >= samples]
        own.sort(key=lambda clip: data._hash(clip.path))
        middle = [(clip, (clip.length - samples) // 2) for clip in own[:per_domain]]
        clips += [(domain, cache.read(clip, start, samples)) for clip, start in middle]
    return clips


def ways(models: dict[int, MiniModel]) -> Iterable[tuple[str, Way]]:
    """Yield the ways from audio to audio, by name."""
    front = next(iter(models.values()))
    mel = LogMel()

    def revoice(wave: Wave, latents: bool) -> Wave:
        spectrum = mel(torch.from_numpy(wave)[None])
        spectrum = spectrum[:, : spectrum.shape[1] // 4 * 4]
        heard = front.vae(front.vae.encode(spectrum)) if latents else spectrum
        return front.vocoder(heard)[0].numpy()

    yield "vocoder", lambda wave: revoice(wave, latents=False)
    yield "autoencoder", lambda wave: revoice(wave, latents=True)
    for rate, model in models.items():
        codec = SemantiCodec.from_model(model)
        for preset in PRESETS:
            yield f"{rate} tokens/s {preset}", _round_trip(codec, preset)


def _round_trip(codec: SemantiCodec, preset: str) -> Way:
    def run(wave: Wave) -> Wave:
        tokens = codec.encode(wave, codec.sample_rate)
        return codec.decode(tokens, settings=preset)[0, 0]

    return run


def measure(way: Way, clips: Sequence[tuple[str, Wave]]) -> dict[str, Any]:
    """Return mel distance (nats), level error (nats), ViSQOL and speed of a way."""
    mel, visqol = LogMel(), make_visqol()
    values: dict[str, list[float]] = {"mel_l1": [], "level": [], "visqol": []}
    started = time.perf_counter()
    with torch.inference_mode():
        made = [way(wave) for _, wave in clips]
    seconds = time.perf_counter() - started
    for (_, wave), own in zip(clips, made, strict=True):
        length = min(len(wave), len(own))
        target, result = (mel(torch.from_numpy(x[None, :length].copy())) for x in (wave, own))
        values["mel_l1"].append(float(F.l1_loss(result, target)))
        values["level"].append(float((result - target).mean()))
        if visqol is not None:
            values["visqol"].append(visqol(wave[:length], own[:length]))
    audio = sum(len(wave) for _, wave in clips) / data.SAMPLE_RATE
    domains = [domain for domain, _ in clips]
    summary = {name: _summary(own, domains) for name, own in values.items() if own}
    return {**summary, "seconds_per_second": round(seconds / audio, 4)}


def _summary(values: Sequence[float], domains: Sequence[str]) -> dict[str, Any]:
    """Return the mean, its 95 % bootstrap interval, and the means of the domains."""
    own = np.asarray(values)
    random = np.random.default_rng(0)
    means = own[random.integers(len(own), size=(1000, len(own)))].mean(1)
    by_domain = {
        domain: round(float(own[np.asarray(domains) == domain].mean()), 4)
        for domain in dict.fromkeys(domains)
    }
    low, high = np.quantile(means, (0.025, 0.975))
    return {
        "mean": round(float(own.mean()), 4),
        "interval": [round(float(low), 4), round(float(high), 4)],
        "n": len(own),
        **by_domain,
    }


def evaluate(
    folder: Path, cache: data.AudioCache, per_domain: int = 8, seconds: float = 5.0
) -> dict[str, Any]:
    """Measure all ways of a run (or of shipped weights) and write ``evaluation.json`` there."""
    models = {
        rate: load_mini(rate, folder=folder)
        for rate in sorted(STACKS, reverse=True)
        if (folder / f"codec-{rate}").exists() or (folder / f"codec-{rate}.safetensors").exists()
    }
    if not models:
        raise FileNotFoundError(f"no codec-RATE weights in {folder}; train the stage codec first")
    clips = validation_clips(cache, per_domain, seconds)
    result = {name: measure(way, clips) for name, way in ways(models)}
    (folder / "evaluation.json").write_text(json.dumps(result, indent=1), encoding="utf-8")
    return result
