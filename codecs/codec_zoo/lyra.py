"""Lyra v2 (Google, 2022): SoundStream for speech at 16 kHz, run from its own TFLite files.

Every 20 ms an encoder turns 320 samples into 64 features, a residual quantizer of up to 46 stages
turns them into 4-bit codes, and a generator turns what the codes stand for into 320 samples:
Zeghidour et al., "SoundStream: an end-to-end neural audio codec", 2021, arXiv 2107.03312.

The project releases three bitrates: 16, 30 and 46 stages (3.2, 6 and 9.2 kbps). The quantizer
takes any smaller number too; those points work and are nobody's product: their spec says
``released: false``.
"""

# ruff: noqa: D102 - the methods of the contract are documented in base.Codec

import hashlib
import os
from functools import cached_property, lru_cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codec_zoo.base import (
    Codec,
    CodecError,
    CodecSpec,
    CodecUnavailableError,
    Encoded,
    Wave,
    checked_wave,
    format_codec_id,
    nominal_kbps,
    parse_number,
)
from codec_zoo.packets import PacketStream, unpack

SAMPLE_RATE = 16000
FRAME_SAMPLES = 320
FRAME_RATE = SAMPLE_RATE / FRAME_SAMPLES
#: Stages of the quantizer, entries of each, and what the quantizer gives for a stage not used.
MAX_STAGES = 46
CODEBOOK_SIZE = 16
UNUSED = -1
RELEASED_STAGES = (16, 30, 46)
ENCODER, QUANTIZER, GENERATOR = "soundstream_encoder.tflite", "quantizer.tflite", "lyragan.tflite"
FILES = (ENCODER, QUANTIZER, GENERATOR)
PACKAGE = "ai_edge_litert"
REMEDY = "pip install 'codecbench[lyra]'"

Codes = NDArray[np.int64]


def default_folder() -> Path:
    """Return where ``run_bench.py fetch lyra-weights`` puts the three files."""
    return Path(os.environ.get("CODECBENCH_DATA") or "datasets") / "lyra-weights"


def missing_reason(folder: Path) -> str | None:
    """Return what is missing to run Lyra from ``folder`` (one line with the remedy), or None."""
    if find_spec(PACKAGE) is None:
        return f"lyra needs the package ai-edge-litert: {REMEDY}"
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        return (
            f"no {', '.join(missing)} in {folder}: run_bench.py fetch lyra-weights, "
            "or name their folder with path="
        )
    return None


class Lyra(Codec):
    """Lyra v2 at any number of quantizer stages; speech, mono.

    The payload is the codes of all frames at 4 bits each without gaps, behind the number of
    samples. The networks keep state from frame to frame; every clip begins with fresh ones.

    Args:
        point: Bitrate, a multiple of 0.2 kbps up to 9.2 (one stage is 4 bits, 50 times a second).
        device: Not used: TFLite runs on the CPU, here on one thread.
        path: Folder of the three ``.tflite`` files; where ``fetch`` puts them by default.
    """

    family = "lyra"
    summary = "Lyra v2 (SoundStream) for speech at 16 kHz; 1, 1.4 and 2 kbps are not released rates"
    points = ("1kbps", "1.4kbps", "2kbps", "3.2kbps", "6kbps", "9.2kbps")
    kind = "neural"
    embed_streams = ("all", "first")
    carries_codes = True

    @classmethod
    def unavailable_reason(cls) -> str | None:
        return missing_reason(default_folder())

    def __init__(self, point: str = "", *, device: str = "cpu", path: str = "") -> None:
        kbps = parse_number(type(self), point, "kbps")
        per_stage = nominal_kbps(FRAME_RATE, [CODEBOOK_SIZE])
        self._stages = round(kbps / per_stage)
        is_whole = abs(self._stages * per_stage - kbps) < 1e-6
        if not is_whole or not 1 <= self._stages <= MAX_STAGES:
            raise CodecError(
                f"lyra takes a multiple of {per_stage:g} kbps up to "
                f"{MAX_STAGES * per_stage:g}, got {point!r}"
            )
        self._folder = Path(path) if path else default_folder()
        reason = missing_reason(self._folder)
        if reason is not None:
            raise CodecUnavailableError(reason)

    @property
    def spec(self) -> CodecSpec:
        return self._spec

    @cached_property
    def _spec(self) -> CodecSpec:
        released = self._stages in RELEASED_STAGES
        rate = nominal_kbps(FRAME_RATE, self._codebooks)
        note = "" if released else f", unreleased rate: {self._stages} of {MAX_STAGES} stages"
        return CodecSpec(
            codec_id=format_codec_id(self.family, f"{rate:g}kbps"),
            sample_rate=SAMPLE_RATE,
            channels=1,
            kind="neural",
            nominal_kbps=rate,
            frame_rate=FRAME_RATE,
            codebook_sizes=self._codebooks,
            implementation=f"Lyra v2 model files, ai-edge-litert {version('ai-edge-litert')}{note}",
            params={"stages": self._stages, "released": released},
            weights_hash=_weights_hash(self._folder),
        )

    @property
    def _codebooks(self) -> tuple[int, ...]:
        return (CODEBOOK_SIZE,) * self._stages

    def encode(self, wave: Wave) -> Encoded:
        wave = checked_wave(wave, self.spec)
        network, quantize = self._network(ENCODER), self._quantizer("encode")
        stages = np.int32(self._stages)
        frames = [
            quantize(input_frames=network(frame), num_quantizers=stages)["output_0"].ravel()
            for frame in _frames(wave)
        ]
        codes = np.stack(frames, axis=1)[: self._stages].astype(np.int64)  # [K, T]
        packed = pack_codes(codes)
        payload = PacketStream((packed,), wave.shape[1]).pack()
        return Encoded(payload, overhead_bytes=len(payload) - len(packed), codes=codes)

    def decode(self, payload: bytes, *, seed: int = 0) -> Wave:
        stream = unpack(payload)
        frames = -(-stream.samples // FRAME_SAMPLES)
        codes = unpack_codes(b"".join(stream.packets), self._stages, frames)
        indices = np.full((frames, MAX_STAGES, 1, 1), UNUSED, dtype=np.int32)
        indices[:, : self._stages, 0, 0] = codes.T
        network, dequantize = self._network(GENERATOR), self._quantizer("decode")
        blocks = [network(dequantize(encoding_indices=one)["output_0"]) for one in indices]
        wave = np.concatenate(blocks, axis=1)[:, : stream.samples]
        return np.ascontiguousarray(wave, dtype=np.float32)

    def embed(self, codes: Codes, stream: str = "all") -> NDArray[np.float32]:
        if stream not in self.embed_streams:
            return super().embed(codes, stream)
        stages = 1 if stream == "first" else self._stages
        indices = np.full((codes.shape[1], MAX_STAGES, 1, 1), UNUSED, dtype=np.int32)
        indices[:, :stages, 0, 0] = codes[:stages].T
        dequantize = self._quantizer("decode")
        frames = [dequantize(encoding_indices=one)["output_0"].ravel() for one in indices]
        return np.stack(frames, axis=1)

    def features(self, wave: Wave) -> NDArray[np.float32]:
        wave = checked_wave(wave, self.spec)
        network = self._network(ENCODER)
        return np.stack([network(frame).ravel() for frame in _frames(wave)], axis=1)

    def with_codes(self, payload: bytes, codes: Codes) -> bytes:
        samples = unpack(payload).samples
        wanted = (self._stages, -(-samples // FRAME_SAMPLES))
        if codes.shape != wanted:
            raise CodecError(f"{self.spec.codec_id}: expected codes {wanted}, got {codes.shape}")
        return PacketStream((pack_codes(codes),), samples).pack()

    def _network(self, name: str) -> "_Network":
        """Return one of the two networks with state, in its first state."""
        return _Network(self._folder / name)

    def _quantizer(self, signature: str) -> Any:
        """Return one direction of the quantizer, which has no state."""
        return self._quantizer_interpreter.get_signature_runner(signature)

    @cached_property
    def _quantizer_interpreter(self) -> Any:
        return _interpreter(self._folder / QUANTIZER)


class _Network:
    """A network that keeps state from call to call, in its first state.

    ``reset_all_variables`` does not bring the first state back (measured with ai-edge-litert 2.3:
    the second clip's codes differ, though nothing is reported), so every clip loads the network
    anew, which takes some 5 ms.
    """

    def __init__(self, path: Path) -> None:
        self._interpreter = _interpreter(path)
        self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]["index"]
        self._output = self._interpreter.get_output_details()[0]["index"]

    def __call__(self, frame: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return what the network makes of its next frame."""
        self._interpreter.set_tensor(self._input, frame)
        self._interpreter.invoke()
        out: NDArray[np.float32] = self._interpreter.get_tensor(self._output)
        return out


def _frames(wave: Wave) -> NDArray[np.float32]:
    """Return ``[1, N]`` as frames ``[T, 1, FRAME_SAMPLES]``, the last one filled with zeros."""
    missing = -wave.shape[1] % FRAME_SAMPLES
    return np.pad(wave[0], (0, missing)).reshape(-1, 1, FRAME_SAMPLES)


def pack_codes(codes: Codes) -> bytes:
    """Return codes ``[K, T]`` at 4 bits each, frame after frame, low stages first."""
    flat = codes.T.ravel().astype(np.uint8)
    flat = np.append(flat, np.zeros(len(flat) % 2, dtype=np.uint8))
    return (flat[0::2] << 4 | flat[1::2]).tobytes()


def unpack_codes(packed: bytes, stages: int, frames: int) -> Codes:
    """Undo :func:`pack_codes`; return ``[stages, frames]``.

    Raises:
        CodecError: If there are more or fewer bytes than that takes, or the spare bits are set.
    """
    count = stages * frames
    if len(packed) != (count + 1) // 2:
        raise CodecError(
            f"{frames} frames of {stages} codes take {(count + 1) // 2} bytes, the payload holds "
            f"{len(packed)}; it is damaged, or of another bitrate"
        )
    pairs = np.frombuffer(packed, dtype=np.uint8)
    flat = np.stack([pairs >> 4, pairs & 15], axis=1).ravel()
    if flat[count:].any():
        raise CodecError("the bits behind the last code are set; the payload is damaged")
    return flat[:count].reshape(frames, stages).T.astype(np.int64)


def _interpreter(path: Path) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    try:
        return Interpreter(model_path=str(path), num_threads=1)
    except (ValueError, RuntimeError) as error:
        raise CodecUnavailableError(
            f"{path} is no TFLite model: {error}; run_bench.py fetch lyra-weights"
        ) from error


def _weights_hash(folder: Path) -> str:
    facts = [(folder / name).stat() for name in FILES]
    return _hash_of_version(folder, tuple((fact.st_size, fact.st_mtime_ns) for fact in facts))


@lru_cache(maxsize=8)
def _hash_of_version(folder: Path, versions: tuple[tuple[int, int], ...]) -> str:
    digest = hashlib.sha256()
    for name in FILES:
        digest.update(hashlib.sha256((folder / name).read_bytes()).digest())
    return digest.hexdigest()
