"""Every stage learns: it overfits one batch, and its loss falls."""

import math
import shutil

import pytest
import torch

from semanticodec.mini import load_mini
from semanticodec.training import evaluate as evaluation
from semanticodec.training.curves import draw
from semanticodec.training.files import RunLog, find_weights, load_weights
from semanticodec.training.vocoder import load_vocoder

STAGES = ("autoencoder", "vocoder", "audiomae", "dac")


def overfit(trainer, monkeypatch, steps: int) -> tuple[float, float]:
    """Train on the first batch only; return the mean loss of the first and last tenth."""
    first = trainer.task.reader(trainer.config, trainer_cache(trainer), 0, 1).batch(0)
    monkeypatch.setattr(trainer.reader, "batch", lambda step: first)
    trainer.run(max_steps=steps)
    losses = [row["loss"] for row in RunLog(trainer.folder / "log.jsonl").rows() if "loss" in row]
    tenth = max(1, steps // 10)
    return sum(losses[:tenth]) / tenth, sum(losses[-tenth:]) / tenth


def trainer_cache(trainer):
    return trainer.reader.cache


@pytest.mark.parametrize(("stage", "ratio"), [("autoencoder", 0.9), ("vocoder", 0.75),
                                              ("audiomae", 0.9), ("dac", 0.9)])  # fmt: skip
def test_a_stage_overfits_one_batch(trainer, monkeypatch, stage, ratio, stage_config):
    own = trainer(stage_config(stage, optim={"total_steps": 60}))
    before, after = overfit(own, monkeypatch, 60)
    assert after < ratio * before


def test_the_codec_stage_overfits_one_batch(trainer, monkeypatch, front, stage_config):
    config = stage_config("codec", name="codec-100", optim={"total_steps": 60})
    own = trainer(config, front)
    first = own.reader.batch(0)
    monkeypatch.setattr(own.reader, "batch", lambda step: first)
    own.run(max_steps=60)
    rows = [row for row in RunLog(own.folder / "log.jsonl").rows() if "loss" in row]
    early, late = rows[:6], rows[-6:]
    for name in ("estimate", "diffusion"):
        assert sum(row[name] for row in late) < 0.9 * sum(row[name] for row in early)


@pytest.mark.parametrize("stage", STAGES)
def test_weights_are_written_with_what_made_them(trainer, stage, stage_config):
    own = trainer(stage_config(stage))
    own.run(max_steps=2)
    tensors, metadata = load_weights(own.folder / "weights.safetensors")
    assert tensors
    assert metadata["step"] == 2
    assert metadata["config"]["stage"] == stage
    assert all(math.isfinite(value) for value in metadata["validation"].values())


def test_the_autoencoder_starts_from_the_principal_components(trainer, stage_config):
    own = trainer(stage_config("autoencoder"))
    own.run(max_steps=0)
    vae, mel = own.task.vae, own.task.mel(own.waves)
    decoded = vae(vae.encode(mel))
    spread = (mel - mel.mean()).abs().mean()
    assert (decoded - mel).abs().mean() < 0.35 * spread


def test_whitening_gives_unit_latents_and_changes_no_decoding(trainer, stage_config):
    own = trainer(stage_config("autoencoder"))
    own.run(max_steps=5)
    vae, mel = own.task.vae, own.task.mel(own.waves)
    before = vae(vae.encode(mel))
    vae.whiten(mel)
    torch.testing.assert_close(vae(vae.encode(mel)), before, rtol=1e-3, atol=1e-3)
    latents = vae.encode(mel)
    torch.testing.assert_close(latents.std((0, 2, 3)), torch.ones(8), rtol=0.01, atol=0.01)


def test_the_gan_has_two_players_from_its_step_on(trainer, stage_config):
    judges = {"periods": [2], "period_channels": [4, 4], "fft_sizes": [256],
              "spectrum_channels": 4}  # fmt: skip
    config = stage_config("vocoder", options={"gan_from_step": 2, "discriminators": judges})
    own = trainer(config)
    own.run(max_steps=5)
    rows = RunLog(own.folder / "log.jsonl").rows()
    assert "judges/loss" not in rows[1]
    assert "judges/loss" in rows[2]
    assert "features" in rows[4]


def test_dac_begins_with_its_codebooks_in_use_and_an_input_that_keeps_its_size(
    trainer, stage_config
):
    own = trainer(stage_config("dac"))
    own.run(max_steps=0)
    model, waves = own.task.generator.eval(), own.waves[:, None, : 40 * 256]
    codes = model.encode(waves).audio_codes
    assert min(len(row.unique()) for row in codes.transpose(0, 1).flatten(1)) > 4
    assert 0.03 < model.encoder(waves).std() < 3.0


def test_dac_is_written_as_transformers_keeps_models(trainer, stage_config, tmp_path):
    from transformers import DacModel

    from semanticodec.training.dac import write_pretrained

    own = trainer(stage_config("dac"))
    own.run(max_steps=2)
    write_pretrained(own.folder / "weights.safetensors", tmp_path / "written")
    read = DacModel.from_pretrained(tmp_path / "written", dtype=torch.float32).eval()
    with own.average.applied():
        expected = own.task.generator.eval().decode(audio_codes=torch.zeros(1, 9, 8).long())
    made = read.decode(audio_codes=torch.zeros(1, 9, 8).long())
    torch.testing.assert_close(made.audio_values, expected.audio_values, rtol=0.02, atol=1e-3)


def test_the_codec_stage_can_do_without_acoustic_tokens(trainer, front, stage_config):
    config = stage_config("codec", name="deaf", options={"use_acoustic": False})
    own = trainer(config, front)
    own.run(max_steps=1)
    values = own.validate()
    assert values["mel_l1_shuffled"] == pytest.approx(values["mel_l1_estimate"])


def test_the_semantic_codebook_can_learn_too(trainer, front, stage_config):
    config = stage_config("codec", name="learned", options={"learn_semantic": True})
    own = trainer(config, front)
    own.run(max_steps=0)
    before = own.task.net.semantic.centroids.clone()
    own.run(max_steps=4)
    assert not torch.equal(own.task.net.semantic.centroids, before)
    assert own.task.adapt.weight.abs().max() > 0
    assert math.isfinite(own.validate()["mel_l1_estimate"])


def test_the_vocoder_can_hear_decoded_mels(trainer, cache, front, stage_config):
    config = stage_config("vocoder", options={"decoded_share": 1.0})
    own = trainer(config, front)
    own.run(max_steps=2)
    assert "mel_l1_through_vae" in own.validate()


def test_sounds_curves_and_tensorboard_are_written(trainer, front, stage_config):
    pytest.importorskip("tensorboard")
    voice = stage_config("vocoder")
    trainer(voice, front).run(max_steps=1)
    own = trainer(stage_config("codec", name="codec-heard", tensorboard=True), front)
    own.run(max_steps=1)
    assert (own.folder / "audio" / "0-sample.wav").is_file()
    assert list((own.folder / "tensorboard").iterdir())
    assert draw(own.folder).is_file()


def test_what_a_run_did_not_train_is_the_shipped_model_s(trainer, front, stage_config, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(front, run, ignore=shutil.ignore_patterns("vocoder", "codec-*"))
    trainer(stage_config("codec", name="codec-100"), run).run(max_steps=1)
    model = load_mini(100, folder=run)
    shipped = load_vocoder(find_weights(run, "vocoder"))
    assert torch.equal(model.vocoder.head.weight, shipped.head.weight)
    assert model.config.audiomae.width == 16  # its own


def test_a_run_is_evaluated_end_to_end(trainer, front, cache, stage_config, monkeypatch):
    for config in (stage_config("vocoder"), stage_config("codec", name="codec-100")):
        trainer(config, front).run(max_steps=1)
    monkeypatch.setattr(evaluation, "make_visqol", lambda: None)
    result = evaluation.evaluate(front, cache, per_domain=1, seconds=1.0)
    assert set(result) == {"vocoder", "autoencoder", "100 tokens/s fast", "100 tokens/s quality"}
    assert all(math.isfinite(values["mel_l1"]["mean"]) for values in result.values())
