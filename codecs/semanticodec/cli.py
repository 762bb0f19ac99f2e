"""Command line: ``semanticodec encode | decode | info | convert | train``.

Data goes to files or standard output, talk to standard error. Exit codes: 0 all done, 1 some files
failed, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import glob
import io
import logging
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich import progress
from rich.console import Console

from semanticodec import audio, checkpoint
from semanticodec.codec import SemantiCodec
from semanticodec.config import OPERATING_POINTS
from semanticodec.decoding import Progress
from semanticodec.errors import CodecError
from semanticodec.hub import load_model
from semanticodec.memory import keep_freed_memory
from semanticodec.settings import PRESETS, Execution
from semanticodec.tokens import Tokens
from semanticodec.training import cli as training

STREAM = "-"
SUFFIX = ".smc"
FILES_TOGETHER = 8  # in the encoder, for which several windows cost little more than one
console = Console(stderr=True)


class UsageError(CodecError):
    """The command line asks for something that makes no sense."""


ERRORS = (CodecError, ValueError, OSError)  # end with one line

Writer = Callable[[str], None]  # takes a target
Work = Callable[[Sequence[str], Progress], list[Writer]]  # takes sources


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    options = parser().parse_args(arguments)
    logging.basicConfig(level=logging.DEBUG if options.verbose else logging.WARNING)
    keep_freed_memory()
    try:
        return options.command(options)
    except UsageError as error:
        console.print(f"semanticodec: {error}", style="red", markup=False)
        return 2
    except ERRORS as error:
        console.print(f"semanticodec: {error}", style="red", markup=False)
        return 1


def parser() -> argparse.ArgumentParser:
    """Return the command line's grammar."""
    top = argparse.ArgumentParser(prog="semanticodec", description=__doc__.split("\n")[0])
    top.add_argument("-v", "--verbose", action="store_true", help="log what happens")
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    _add_encode(commands)
    _add_decode(commands)
    info = commands.add_parser("info", help="say what .smc files or weights hold")
    info.add_argument("inputs", nargs="*", help=".smc files, weights; none: the operating points")
    info.set_defaults(command=run_info)
    convert = commands.add_parser("convert", help="write released weights as one safetensors file")
    _add_model(convert)
    convert.add_argument("-o", "--output", required=True, help="the .safetensors file to write")
    convert.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    convert.set_defaults(command=run_convert)
    train = commands.add_parser("train", help="train a stage of a model (docs/training.md)")
    training.add_arguments(train)
    train.set_defaults(command=training.run)
    return top


def _add_encode(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    encode = commands.add_parser(
        "encode",
        help="audio to .smc",
        epilog="example: semanticodec encode 'clips/*.wav' -o coded --token-rate 50",
    )
    _add_files(encode, "audio files or patterns; - is standard input")
    _add_model(encode)
    encode.add_argument("--entropy", action="store_true", help="compress the tokens losslessly")
    encode.add_argument("--per-channel", action="store_true", help="code each channel on its own")
    encode.add_argument("--seed", type=int, default=0, help="kept in the stream for the decoder")
    encode.set_defaults(command=run_encode)


def _add_decode(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    decode = commands.add_parser(
        "decode",
        help=".smc to audio",
        epilog="example: semanticodec decode coded/*.smc -o out --preset fast",
    )
    _add_files(decode, ".smc files or patterns; - is standard input")
    _add_model(decode)
    decode.add_argument("--preset", choices=sorted(PRESETS), help="default: the model's own")
    decode.add_argument("--steps", type=int, help="denoising steps, in place of the preset's")
    decode.add_argument("--guidance", type=float, help="guidance scale, in place of the preset's")
    decode.add_argument("--seed", type=int, help="of the noise; default: the stream's")
    decode.add_argument("--sample-rate", type=int, help="of the result, Hz; default: the original")
    decode.set_defaults(command=run_decode)


def _add_files(command: argparse.ArgumentParser, what: str) -> None:
    command.add_argument("inputs", nargs="+", help=what)
    command.add_argument(
        "-o", "--output", help="file, folder, or - for standard output; default: beside the input"
    )
    command.add_argument("-f", "--force", action="store_true", help="overwrite existing files")


def _add_model(command: argparse.ArgumentParser) -> None:
    command.add_argument("--weights", help="file, folder or Hugging Face id; default: the released")
    command.add_argument("--revision", help="of the Hugging Face repository")
    command.add_argument("--token-rate", type=int, default=100, help="25, 50 or 100")
    command.add_argument("--vocab", type=int, default=16384, help="semantic entries: 4096 to 32768")
    command.add_argument("--device", default="cpu")
    command.add_argument("--compat", choices=("released",), help="reproduce the released code")


def _codec(options: argparse.Namespace, **more: Any) -> SemantiCodec:
    return SemantiCodec.load(
        options.weights,
        options.token_rate,
        options.vocab,
        revision=options.revision,
        compat=options.compat,
        device=options.device,
        execution=Execution(),
        **more,
    )


def expand(patterns: Sequence[str]) -> list[str]:
    """Return the files of all patterns, in order, each once.

    Raises:
        UsageError: If a pattern fits no file.
    """
    found: dict[str, None] = {}
    for pattern in patterns:
        if pattern == STREAM or Path(pattern).exists():
            names = [pattern]
        else:
            names = sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207 (absolute patterns)
        if not names:
            raise UsageError(f"no file fits {pattern!r}")
        found.update(dict.fromkeys(names))
    return list(found)


def target(source: str, output: str | None, suffix: str, several: bool) -> str:
    """Return where the result of ``source`` goes.

    Raises:
        UsageError: If several results would go to one file.
    """
    if output == STREAM or (output is None and source == STREAM):
        if several:
            raise UsageError("several results cannot go to standard output")
        return STREAM
    if output is None:
        return str(Path(source).with_suffix(suffix))
    folder = Path(output)
    if folder.is_dir() or several or output.endswith("/"):
        if folder.exists() and not folder.is_dir():
            raise UsageError(f"{output} is a file, but there are several inputs")
        name = "stdin" if source == STREAM else Path(source).stem
        return str(folder / (name + suffix))
    return output


def _run_files(options: argparse.Namespace, suffix: str, work: Work, together: int = 1) -> int:
    """Treat all inputs, ``together`` at a time; return the exit code."""
    sources = expand(options.inputs)
    targets = [target(source, options.output, suffix, len(sources) > 1) for source in sources]
    if len(set(targets)) < len(targets):
        raise UsageError("several inputs have the same name; encode them to separate folders")
    if STREAM in sources:
        together = 1  # standard input cannot be read again because of another file
    pairs = list(zip(sources, targets, strict=True))
    failed = 0
    with progress.Progress(console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=len(pairs))
        for start in range(0, len(pairs), together):
            group = pairs[start : start + together]
            tell = partial(_advance, bar, task, len(group))
            failed += _run_group(dict(group), options.force, work, tell)
            bar.update(task, completed=start + len(group))
    return 1 if failed else 0


def _advance(bar: progress.Progress, task: progress.TaskID, files: int, share: float) -> None:
    bar.advance(task, share * files)


def _run_group(places: dict[str, str], force: bool, work: Work, tell: Progress) -> int:
    """Treat some inputs and write their targets; return how many failed."""
    errors: dict[str, Exception] = {
        source: CodecError(f"{place} exists; pass --force to overwrite it")
        for source, place in places.items()
        if place != STREAM and Path(place).exists() and not force
    }
    sources = [source for source in places if source not in errors]
    for source, result in zip(sources, _each(work, sources, tell), strict=True):
        try:
            _finish(result, places[source])
        except ERRORS as error:
            errors[source] = error
    for source, reason in errors.items():
        console.print(f"{source}: {reason}", style="red", markup=False)
    return len(errors)


def _each(work: Work, sources: Sequence[str], tell: Progress) -> list[Writer | Exception]:
    """Return what became of each source; if one stops all, they are tried one by one."""
    if not sources:
        return []
    try:
        return [*work(sources, tell)]
    except ERRORS as error:
        if len(sources) == 1:
            return [error]
    return [result for source in sources for result in _each(work, [source], tell)]


def _finish(result: Writer | Exception, place: str) -> None:
    if isinstance(result, Exception):
        raise result
    if place != STREAM:
        Path(place).parent.mkdir(parents=True, exist_ok=True)
    result(place)


def _read(source: str) -> bytes:
    return sys.stdin.buffer.read() if source == STREAM else Path(source).read_bytes()


def _write(place: str, data: bytes) -> None:
    if place == STREAM:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    else:
        Path(place).write_bytes(data)


def run_encode(options: argparse.Namespace) -> int:
    """Encode audio files."""
    codec = _codec(options)

    def work(sources: Sequence[str], _tell: Progress) -> list[Writer]:
        origins = [io.BytesIO(_read(name)) if name == STREAM else name for name in sources]
        seeds = [options.seed] * len(sources)
        coded = codec.encode_batch(origins, per_channel=options.per_channel, seeds=seeds)
        streams = [tokens.to_bytes(entropy=options.entropy) for tokens in coded]
        return [partial(_write, data=data) for data in streams]

    return _run_files(options, SUFFIX, work, FILES_TOGETHER)


def run_decode(options: argparse.Namespace) -> int:
    """Decode ``.smc`` files."""
    codec = _codec(
        options,
        settings=options.preset,
        ddim_sample_step=options.steps,
        cfg_scale=options.guidance,
    )

    def work(sources: Sequence[str], tell: Progress) -> list[Writer]:
        (source,) = sources
        tokens = Tokens.from_bytes(_read(source))
        if tokens.damaged:
            spans = ", ".join(f"{part.start}-{part.stop}" for part in tokens.damaged)
            console.print(f"{source}: damaged, positions {spans} are concealed", markup=False)
        rate = options.sample_rate or tokens.sample_rate
        wave = codec.decode(tokens, sample_rate=rate, seed=options.seed, progress=tell)[0]
        return [partial(_write_audio, wave=wave, sample_rate=rate)]

    return _run_files(options, ".wav", work)


def _write_audio(place: str, wave: audio.Wave, sample_rate: int) -> None:
    if place != STREAM:
        audio.write(place, wave, sample_rate)
        return
    buffer = io.BytesIO()
    audio.write(buffer, wave, sample_rate)
    _write(STREAM, buffer.getvalue())


def run_info(options: argparse.Namespace) -> int:
    """Print what streams or weights hold; without inputs, the operating points."""
    if not options.inputs:
        print("token rate  semantic entries  kbit/s")
        for (rate, size), config in OPERATING_POINTS.items():
            print(f"{rate:10d}  {size:16d}  {config.nominal_kbps:6.4f}")
        return 0
    failed = 0
    for source in expand(options.inputs):
        try:
            print(f"{source}: {_describe(source)}")
        except ERRORS as error:
            failed += 1
            console.print(f"{source}: {error}", style="red", markup=False)
    return 1 if failed else 0


def _describe(source: str) -> str:
    if source.endswith(".safetensors") or Path(source).is_dir():
        model = load_model(source)
        config = model.config
        weights = sum(value.numel() for value in model.parameters()) / 1e6
        return (
            f"{config.name}, {config.token_rate:g} tokens/s, codebooks {config.codebook_sizes}, "
            f"{config.nominal_kbps:.4f} kbit/s, {weights:.1f} M parameters"
        )
    data = _read(source)
    tokens = Tokens.from_bytes(data)
    header = tokens.header
    kbps = 8 * len(data) / 1000 / max(header.duration_s, 1e-9)
    return (
        f"{header.model_id}, {header.token_rate} tokens/s, semantic entries "
        f"{header.semantic_vocab_size}, {header.duration_s:.2f} s at {header.sample_rate} Hz, "
        f"{header.channels} channel(s), seed {header.seed}, {len(data)} bytes, {kbps:.3f} kbit/s"
        + (f", {len(tokens.damaged)} damaged part(s)" if tokens.damaged else "")
    )


def run_convert(options: argparse.Namespace) -> int:
    """Write weights in our own format."""
    if not options.output.endswith(".safetensors"):
        raise UsageError(f"the output must end in .safetensors, got {options.output}")
    model = load_model(
        options.weights, options.token_rate, options.vocab, revision=options.revision
    )
    digest = checkpoint.save(model, Path(options.output), getattr(torch, options.dtype))
    console.print(f"{options.output}: sha256 {digest}", markup=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
