"""The paper's configuration: everything that was published is in it, and it builds and steps."""

import pytest
import torch

from semanticodec.config import SemantiCodecConfig
from semanticodec.training.codebook import build_codebooks
from semanticodec.training.loop import Trainer
from semanticodec.training.settings import CONFIGS, build, load_config
from semanticodec.training.stages import make_task

ALL = sorted(str(p.relative_to(CONFIGS).with_suffix("")) for p in CONFIGS.rglob("*.yaml"))
SMALL = {"optim.batch_size": 1, "optim.accumulate": 1, "optim.precision": "float32"}


@pytest.mark.parametrize("name", ALL)
def test_a_configuration_has_no_unknown_keys(name):
    config = load_config(name)
    assert config.stage
    assert config.folder == name.split("/")[1]


@pytest.mark.parametrize(("rate", "layers"), [(100, 4), (50, 3), (25, 2)])
def test_the_published_numbers_are_in_the_configuration(rate, layers):
    config = load_config(f"paper/codec-{rate}")
    assert config.optim.total_steps == 500_000
    assert config.optim.batch_size * config.optim.accumulate == 48
    assert config.optim.lr == 1e-4
    assert config.optim.warmup_steps == 5000
    sizes = build(SemantiCodecConfig, config.model)
    assert sizes.acoustic.codebook_size == 8192
    assert sizes.acoustic.num_layers == layers
    assert sizes.diffusion.schedule == "cosine"
    assert sizes.unet.channels == 64


def test_an_unknown_key_is_an_error(tmp_path):
    path = tmp_path / "wrong.yaml"
    path.write_text("stage: vocoder\nopitm: {lr: 1}\n", encoding="utf-8")
    with pytest.raises(ValueError, match="opitm"):
        load_config(path)


def test_an_unknown_configuration_lists_ours():
    with pytest.raises(FileNotFoundError, match="mini/vocoder"):
        load_config("mini/nothing")


@pytest.mark.slow
def test_the_paper_configuration_builds_at_full_size_and_takes_a_step(cache, tmp_path):
    for name in ("autoencoder", "audiomae", "codebook", "codec-100", "vocoder"):
        changes = dict(SMALL)
        if name == "codebook":
            changes |= {"options.windows": 4, "options.fit_windows": 8, "options.batch_size": 1,
                        "options.vectors_per_domain": 600, "options.iterations": 1,
                        "options.sizes": [4096], "options.token_rates": [100]}  # fmt: skip
        if name.startswith("codec"):
            changes |= {"options.sizes": [4096], "options.start_batches": 1}
        if name == "audiomae":
            changes |= {"data.validation_per_domain": 1}
        config = load_config(f"paper/{name}", {**changes, "data.validation_per_domain": 1})
        if name == "codebook":
            build_codebooks(config, cache, tmp_path)
            continue
        torch.manual_seed(0)
        trainer = Trainer(make_task(config, tmp_path), config, cache, tmp_path / config.folder)
        losses = trainer.run(max_steps=1)
        assert losses["loss"] > 0.0
        if name.startswith("codec"):
            unet = sum(p.numel() for p in trainer.task.unet.parameters())
            assert 70e6 < unet < 180e6
