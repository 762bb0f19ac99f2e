"""The stages by name."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

from semanticodec.training.loop import Task
from semanticodec.training.settings import StageConfig

TASKS: Mapping[str, str] = {
    "autoencoder": "semanticodec.training.autoencoder:AutoencoderTask",
    "vocoder": "semanticodec.training.vocoder:VocoderTask",
    "audiomae": "semanticodec.training.audiomae:AudioMAETask",
    "codec": "semanticodec.training.codec:CodecTask",
    "dac": "semanticodec.training.dac:DacTask",
    "codec-paper": "semanticodec.training.codec_paper:PaperCodecTask",
}


def make_task(config: StageConfig, run: Path) -> Task:
    """Return the task of a configuration.

    Args:
        config: Which stage, and its sizes.
        run: Folder of the run, with the results of the stages before.

    Raises:
        ValueError: If there is no such stage.
    """
    if config.stage not in TASKS:
        raise ValueError(f"unknown stage {config.stage!r}; known: {sorted(TASKS)}")
    module, name = TASKS[config.stage].split(":")
    return getattr(import_module(module), name)(config, run)
