"""Decode in a fresh process that has never seen the encoder.

``python -m codec_zoo.conformance.isolation CODEC_ID FOLDER`` decodes ``FOLDER/000.payload``, ... to
``000.npy`` or ``000.error``, one after another, so that a crash or a hang shows how far it came.
"""

import os
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from codec_zoo.base import CodecError, Wave
from codec_zoo.registry import create


@dataclass(frozen=True)
class Outcome:
    """What came of one payload in the other process.

    Attributes:
        kind: ``audio``, ``refused`` (a CodecError, as the contract asks), ``broke`` (any other
            exception) or ``lost`` (the process died or hung, here or earlier).
        text: The error's last line; empty for audio.
        wave: The waveform ``[C, N]`` for audio.
    """

    kind: Literal["audio", "refused", "broke", "lost"]
    text: str = ""
    wave: Wave | None = None


def decode_elsewhere(
    codec_id: str, payloads: Sequence[bytes], *, timeout_s: float
) -> list[Outcome]:
    """Decode payloads, seed 0, in a fresh process; one outcome each.

    The other process gets this one's import path, so it finds the same modules.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for index, payload in enumerate(payloads):
            (folder / f"{index:03}.payload").write_bytes(payload)
        ending = _run(codec_id, folder, timeout_s)
        return [_read(folder, index, ending) for index in range(len(payloads))]


def _run(codec_id: str, folder: Path, timeout_s: float) -> str:
    """Return how the process ended, for payloads it did not answer."""
    command = [sys.executable, "-m", "codec_zoo.conformance.isolation", codec_id, str(folder)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, timeout=timeout_s, check=False
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {timeout_s:.0f} s"
    last = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["no message"]
    return f"the process ended with code {done.returncode}: {last[0]}"


def _read(folder: Path, index: int, ending: str) -> Outcome:
    audio, error = folder / f"{index:03}.npy", folder / f"{index:03}.error"
    if audio.exists():
        return Outcome("audio", wave=np.load(audio))
    if error.exists():
        kind, _, text = error.read_text().partition("\n")
        return Outcome("refused" if kind == "refused" else "broke", text)
    return Outcome("lost", ending)


def _decode_folder(codec_id: str, folder: Path) -> None:
    codec = create(codec_id)
    for source in sorted(folder.glob("*.payload")):
        partial = source.with_suffix(".part")
        try:
            wave = codec.decode(source.read_bytes(), seed=0)
        except CodecError as error:
            partial.write_text(f"refused\n{error}")
            partial.rename(source.with_suffix(".error"))
        except Exception:  # the whole point is to report whatever an adapter throws
            partial.write_text(f"broke\n{traceback.format_exc().strip().splitlines()[-1]}")
            partial.rename(source.with_suffix(".error"))
        else:
            with partial.open("wb") as file:
                np.save(file, np.asarray(wave), allow_pickle=False)
            partial.rename(source.with_suffix(".npy"))


if __name__ == "__main__":
    _decode_folder(sys.argv[1], Path(sys.argv[2]))
