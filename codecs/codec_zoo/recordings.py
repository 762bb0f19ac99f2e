"""Recordings: a codec whose reconstructions are files that somebody else decoded.

For the audio that papers release, for binaries that run elsewhere, for another machine's output::

    recordings:folder=audio,codec=encodec_24k_6kbps,kbps=6
    recordings:folder=decoded,pattern={clip}_out.wav,kbps=2.4

Nothing is coded here, so nothing is measured: the bitrate is what ``kbps=`` declares, and the
payload is the file's name, all of it overhead (``Encoded.recorded``).
"""

# ruff: noqa: D102 - the methods of the contract are documented in base.Codec

import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Literal, get_args

import numpy as np

from codec_zoo.base import (
    Codec,
    CodecError,
    CodecSpec,
    CodecUnavailableError,
    Encoded,
    Option,
    Wave,
    checked_wave,
    format_codec_id,
)

#: Endings that are tried where the pattern has none, in this order.
SUFFIXES = (".flac", ".wav", ".ogg", ".opus", ".mp3", ".aif", ".aiff", ".au")
Kind = Literal["neural", "classical", "anchor"]


class MissingRecordingError(CodecError):
    """There is no file for a clip."""

    reason: ClassVar[str] = "missing_file"


class UnreadableRecordingError(CodecError):
    """A file is there and is not audio, or not like its neighbours."""

    reason: ClassVar[str] = "unreadable_audio"


class Recordings(Codec):
    """Files decoded by somebody else, found by the name of the clip.

    Args:
        point: Name of the codec that made the files, as ``codec=`` gives it.
        device: Not used.
        folder: Where the files are.
        pattern: Path below the folder; ``{codec}`` and ``{clip}`` are replaced. Without an
            ending, every audio ending is tried. Default ``{codec}/{clip}``, or ``{clip}`` where
            no codec is named.
        codec: Name of the codec that made the files.
        kbps: The bitrate they are declared to have.
        kind: ``neural``, ``classical`` or ``anchor``.
    """

    family = "recordings"
    summary = "files that somebody else decoded: recordings:folder=...,codec=...,kbps=..."
    kind = "neural"

    def __init__(
        self,
        point: str = "",
        *,
        device: str = "cpu",
        folder: str = "",
        pattern: str = "",
        codec: str = "",
        kbps: str = "",
        kind: str = "neural",
    ) -> None:
        self._name = codec or point
        self._pattern = pattern or ("{codec}/{clip}" if self._name else "{clip}")
        self._kbps = _declared_kbps(kbps)
        self._kind = _kind(kind)
        if "{clip}" not in self._pattern:
            raise CodecError(f"pattern={self._pattern!r} holds no {{clip}}; every clip has a file")
        if "{codec}" in self._pattern and not self._name:
            raise CodecError(f"pattern={self._pattern!r} holds {{codec}}; name it with codec=...")
        if not folder:
            raise CodecUnavailableError(
                "recordings has no audio of its own: recordings:folder=FOLDER,codec=NAME,kbps=RATE"
            )
        self._folder = Path(folder)
        if not self._folder.is_dir():
            raise CodecUnavailableError(f"no folder {folder} with recordings; check folder=")

    @property
    def spec(self) -> CodecSpec:
        return self._spec

    @cached_property
    def _spec(self) -> CodecSpec:
        options: dict[str, Option] = {"kbps": f"{self._kbps:g}"} if self._kbps else {}
        return CodecSpec(
            codec_id=format_codec_id(self.family, self._name, options),
            sample_rate=self._sample_rate(),
            channels=None,
            kind=self._kind,
            nominal_kbps=self._kbps,
            implementation="files decoded elsewhere; bitrate as declared",
            weights_hash=self._digest(),
        )

    def encode(self, wave: Wave) -> Encoded:
        raise CodecError("recordings are found by the clip's name; use encode_clips")

    def encode_clips(self, waves: Sequence[Wave], names: Sequence[str]) -> list[Encoded]:
        for wave in waves:
            checked_wave(wave, self.spec)
        return [self._encoded(name) for name in names]

    def _encoded(self, name: str) -> Encoded:
        payload = self._path_of(name).relative_to(self._folder).as_posix().encode()
        return Encoded(payload, overhead_bytes=len(payload), recorded=True)

    def decode(self, payload: bytes, *, seed: int = 0) -> Wave:
        path = self._path_in(payload)
        wave, rate = _read(path)
        if rate != self.spec.sample_rate:
            raise UnreadableRecordingError(
                f"{path.name} is at {rate} Hz, the first recording at {self.spec.sample_rate} Hz; "
                "expected one rate"
            )
        return wave

    def _path_in(self, payload: bytes) -> Path:
        """Return the file that a payload names, if it is one of ours."""
        try:
            path = (self._folder / payload.decode()).resolve()
            inside = path.is_relative_to(self._folder.resolve()) and path.is_file()
        except (UnicodeDecodeError, ValueError, OSError):
            inside = False
        if not inside:
            raise CodecError(f"the payload {payload[:40]!r} names no file in {self._folder}")
        return path

    def _path_of(self, name: str) -> Path:
        """Return the recording of a clip.

        Raises:
            MissingRecordingError: If there is none.
        """
        stem = self._filled().replace("{clip}", name)
        for suffix in ("", *SUFFIXES):
            path = self._folder / f"{stem}{suffix}"
            if path.is_file():
                return path
        raise MissingRecordingError(f"no recording {stem} in {self._folder} (any audio ending)")

    def _filled(self) -> str:
        return self._pattern.replace("{codec}", self._name)

    @cached_property
    def _files(self) -> tuple[Path, ...]:
        """Every file that the pattern may mean, sorted."""
        below = self._folder / Path(self._filled().partition("{clip}")[0] + "x").parent
        endings = {*SUFFIXES, Path(self._pattern).suffix.lower()} - {""}
        found = (path for path in below.rglob("*") if path.suffix.lower() in endings)
        return tuple(sorted(path for path in found if path.is_file()))

    def _digest(self) -> str:
        """Return a hash of the names and bytes of all recordings, so that new ones are new."""
        digest = hashlib.sha256(self._filled().encode())
        for path in self._files:
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            digest.update(f"{path.relative_to(self._folder).as_posix()}\0{content}\n".encode())
        return digest.hexdigest()

    def _sample_rate(self) -> int | None:
        """Return the rate of the first readable file; None where there is none."""
        import soundfile

        for path in self._files:
            try:
                return int(soundfile.info(path).samplerate)
            except soundfile.LibsndfileError:
                continue
        return None


def _read(path: Path) -> tuple[Wave, int]:
    """Return the samples ``[C, N]`` of a file and its rate, Hz."""
    import soundfile

    try:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise UnreadableRecordingError(f"{path.name} is not readable audio: {error}") from error
    if not np.isfinite(samples).all():
        raise UnreadableRecordingError(f"{path.name} holds NaN or infinity")
    return np.ascontiguousarray(samples.T), int(rate)


def _declared_kbps(text: str) -> float | None:
    try:
        kbps = float(text) if text else None
    except ValueError:
        kbps = -1.0
    if kbps is not None and not 0 < kbps < float("inf"):
        raise CodecError(f"recordings take kbps=NUMBER above 0, got {text!r}")
    return kbps


def _kind(text: str) -> Kind:
    for kind in get_args(Kind):
        if kind == text:
            return kind
    raise CodecError(f"recordings take kind= {', '.join(get_args(Kind))}; got {text!r}")
