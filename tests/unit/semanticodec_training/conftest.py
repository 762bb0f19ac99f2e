"""A tiny corpus and tiny configurations: every stage in seconds."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from semanticodec.training import data
from semanticodec.training.loop import Trainer
from semanticodec.training.settings import StageConfig, build
from semanticodec.training.stages import make_task

RATE = 16000
AUDIOMAE = {"num_frames": 64, "width": 16, "depth": 2, "num_heads": 2, "mlp_width": 32,
            "first_averaged_block": 1}  # fmt: skip
DATA = {"segment_frames": 64, "validation_frames": 64, "validation_per_domain": 1}
TINY = {
    "autoencoder": {
        "data": {**DATA, "segment_frames": 16},
        "model": {"channels": 8, "encoder_blocks": 1, "decoder_blocks": 1},
        "options": {"fit_batches": 2, "latent_noise": 0.0},
    },
    "vocoder": {
        "data": {**DATA, "segment_frames": 16},
        "model": {"width": 16, "hidden": 32, "depth": 2},
    },
    "audiomae": {
        "data": DATA,
        "model": AUDIOMAE,
        "options": {"mask_share": 0.5, "decoder_width": 16, "decoder_heads": 2},
    },
    "codebook": {
        "data": DATA,
        "model": {"mel_components": 6, "feature_components": 2},
        "options": {
            "windows": 12, "fit_windows": 8, "batch_size": 4, "sizes": [8, 16],
            "iterations": 2, "vectors_per_domain": 200,
        },
    },
    "dac": {
        "data": DATA,
        "model": {
            "encoder_hidden_size": 4, "decoder_hidden_size": 16, "downsampling_ratios": [4, 8, 8],
            "upsampling_ratios": [8, 8, 4], "n_codebooks": 9, "codebook_size": 16,
            "codebook_dim": 2, "sampling_rate": RATE,
        },
        "options": {"start_batches": 2, "level_spread_db": 0.0},
    },
    "codec": {
        "data": DATA,
        "model": {
            "acoustic": {"codebook_size": 16, "code_width": 8, "hidden": 8},
            "denoiser": {"width": 16, "num_heads": 2, "mlp_width": 32,
                         "estimate_depth": 1, "depth": 1},
        },
        "options": {"sizes": [8, 16], "start_batches": 2, "validation_steps": 2},
    },
}  # fmt: skip


def make_config(stage: str, **changes) -> StageConfig:
    """Return the tiny configuration of a stage, with changed values such as ``optim``."""
    values = {"stage": stage, "log_every": 1, "validate_every": 1000, **TINY[stage]}
    optim = {"batch_size": 2, "total_steps": 40, "decay_steps": 1, "warmup_steps": 1, "lr": 3e-3}
    values["optim"] = {**optim, **changes.pop("optim", {})}
    for name, value in changes.items():
        values[name] = {**values.get(name, {}), **value} if isinstance(value, dict) else value
    return build(StageConfig, values)


def make_sound(kind: str, index: int, seconds: float = 1.6) -> np.ndarray:
    """Return tones (music), noise bursts (general) or both (speech)."""
    random = np.random.default_rng([index, len(kind)])
    time = np.arange(int(seconds * RATE)) / RATE
    tone = 0.3 * np.sin(2 * np.pi * (200 + 60 * index) * time)
    noise = 0.1 * random.standard_normal(len(time)) * (np.sin(2 * np.pi * 3 * time) > 0)
    return {"music": tone, "general": noise, "speech": tone * (noise != 0) + noise}[kind]


@pytest.fixture(scope="session")
def corpus(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("corpus")
    for domain in data.DOMAINS:
        for index in range(4):
            path = root / domain / f"{domain}-source" / f"clip{index}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, make_sound(domain, index), RATE)
    return root


@pytest.fixture(scope="session")
def cache(corpus, tmp_path_factory) -> data.AudioCache:
    folder = tmp_path_factory.mktemp("cache")
    data.build_cache(corpus, data.read_folder(corpus), folder)
    return data.AudioCache(folder)


@pytest.fixture
def stage_config():
    """Return the function that makes tiny configurations."""
    return make_config


@pytest.fixture
def trainer(cache, tmp_path):
    """Return a function that makes a trainer of a stage in a run's folder."""
    torch.set_num_threads(1)

    def make(config: StageConfig, run: Path = tmp_path) -> Trainer:
        torch.manual_seed(config.seed)
        return Trainer(make_task(config, run), config, cache, run / config.folder)

    return make


@pytest.fixture(scope="session")
def front(cache, tmp_path_factory) -> Path:
    """A run with all that the codec stage needs."""
    from semanticodec.training.codebook import build_codebooks

    run = tmp_path_factory.mktemp("run")
    for stage in ("autoencoder", "audiomae"):
        config = make_config(stage)
        Trainer(make_task(config, run), config, cache, run / stage).run(max_steps=2)
    build_codebooks(make_config("codebook"), cache, run)
    return run
