"""``semanticodec train STAGE``: the command line of training.

``python -m semanticodec.training`` is the same, and what ``accelerate launch -m`` takes.
"""

from __future__ import annotations

import argparse
import logging
import math
from pathlib import Path

import yaml

EPILOG = """examples:
  semanticodec train data --manifest corpus/manifest.csv --cache cache
  semanticodec train vocoder --config mini/vocoder --cache cache --run runs/mini --max-minutes 20
  accelerate launch --num_processes 2 --cpu -m semanticodec.training codec \\
      --config mini/codec-100 --cache cache --run runs/mini
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command on a parser."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EPILOG
    parser.add_argument(
        "stage",
        choices=(
            "data",
            "autoencoder",
            "vocoder",
            "audiomae",
            "codebook",
            "codec",
            "codec-paper",
            "dac",
            "evaluate",
        ),
    )
    parser.add_argument("--config", help="YAML file, or one of ours such as mini/vocoder")
    parser.add_argument("--cache", type=Path, required=True, help="folder of the audio cache")
    parser.add_argument(
        "--run", type=Path, help="folder of the run; evaluate: without it, the shipped weights"
    )
    parser.add_argument("--init", type=Path, help="weights to start from, without a checkpoint")
    parser.add_argument("--max-minutes", type=float, default=math.inf, help="then save and stop")
    parser.add_argument("--max-steps", type=int, help="in place of the configuration's number")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides",
        help="change a value of the configuration, such as optim.lr=1e-4",
    )  # fmt: skip
    parser.add_argument("--manifest", type=Path, help="data: CSV of the corpus")
    parser.add_argument("--folder", type=Path, help="data: audio files, if there is no manifest")
    parser.add_argument("--exclude-licences", default="", help="data: regular expression")
    parser.add_argument("--workers", type=int, default=2, help="data: decoding processes")


def run(arguments: argparse.Namespace) -> int:
    """Do what the arguments ask for; return the exit status."""
    logging.getLogger("semanticodec").setLevel(logging.INFO)
    if arguments.stage == "data":
        return _make_cache(arguments)
    if arguments.stage == "evaluate":
        return _evaluate(arguments)
    if arguments.config is None or arguments.run is None:
        raise SystemExit("training needs --config and --run")
    from semanticodec.training import data
    from semanticodec.training.settings import load_config

    overrides = dict(item.split("=", 1) for item in arguments.overrides)
    config = load_config(
        arguments.config, {key: yaml.safe_load(value) for key, value in overrides.items()}
    )
    if config.stage != arguments.stage:
        raise SystemExit(f"{arguments.config} configures the stage {config.stage}")
    cache = data.AudioCache(arguments.cache)
    if config.stage == "codebook":
        from semanticodec.training.codebook import build_codebooks

        build_codebooks(config, cache, arguments.run)
        return 0
    return _train(config, cache, arguments)


def _train(config: object, cache: object, arguments: argparse.Namespace) -> int:
    from semanticodec.training.data import AudioCache
    from semanticodec.training.loop import Trainer
    from semanticodec.training.settings import StageConfig
    from semanticodec.training.stages import make_task

    assert isinstance(config, StageConfig)
    assert isinstance(cache, AudioCache)
    task = make_task(config, arguments.run)
    trainer = Trainer(task, config, cache, arguments.run / config.folder, init=arguments.init)
    trainer.run(arguments.max_minutes, arguments.max_steps)
    if trainer.accelerator.is_main_process:
        from semanticodec.training.curves import draw

        draw(trainer.folder)
    return 0


def _evaluate(arguments: argparse.Namespace) -> int:
    from semanticodec.mini import WEIGHTS
    from semanticodec.training.data import AudioCache
    from semanticodec.training.evaluate import evaluate

    folder = arguments.run or WEIGHTS
    result = evaluate(folder, AudioCache(arguments.cache))
    for name, values in result.items():
        means = {k: v["mean"] if isinstance(v, dict) else v for k, v in values.items()}
        logging.getLogger(__name__).info("%s: %s", name, means)
    return 0


def _make_cache(arguments: argparse.Namespace) -> int:
    from semanticodec.training import data

    if arguments.manifest is not None:
        root = arguments.manifest.parent
        clips = data.read_manifest(arguments.manifest, arguments.exclude_licences)
    elif arguments.folder is not None:
        root, clips = arguments.folder, data.read_folder(arguments.folder)
    else:
        raise SystemExit("the stage data needs --manifest or --folder")
    data.build_cache(root, clips, arguments.cache, arguments.workers)
    return 0


def main(argv: list[str] | None = None) -> int:
    """Run the command."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    parser = argparse.ArgumentParser(prog="semanticodec train", description=__doc__)
    add_arguments(parser)
    return run(parser.parse_args(argv))
