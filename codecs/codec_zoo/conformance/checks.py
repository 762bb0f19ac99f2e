"""The checks: each takes a :class:`Subject` and returns one line of what it found.

A check raises ``CheckFailedError`` where the codec breaks the contract and ``CheckSkippedError``
where the check does not apply. Any other exception counts as a failure too.
"""

import json
from collections.abc import Callable
from dataclasses import asdict
from functools import lru_cache

import numpy as np

from codec_zoo.base import Codec, CodecError, Encoded, Wave, nominal_kbps
from codec_zoo.conformance import signals
from codec_zoo.conformance.inside import shows_its_inside
from codec_zoo.conformance.measures import (
    ENVELOPE_CORRELATED,
    Lag,
    envelope_lag,
    level_db,
    mel_distance_db,
    rms,
    waveform_lag,
)
from codec_zoo.conformance.subject import CheckFailedError, CheckSkippedError, Subject
from codec_zoo.registry import create

#: Largest difference between two decodings that count as equal (-80 dB; sums in another order).
SAME = 1e-4
#: Most that the last 5 ms of a steady sound may lie below its middle, dB. Real codecs reach 3.
TAIL_DB = -12.0
#: Share of the energy that must be coherent before a waveform's lag is believed.
FOLLOWS_WAVEFORM = 0.5
FOLLOWS_FOR_A_SECOND = 0.9
#: Tolerances of the delay: one twelfth of a millisecond or two samples where the waveform is
#: followed (Opus's low-rate mode is 0.07 ms late by itself), else 20 ms or one frame.
DELAY_MS = 1 / 12
DELAY_SAMPLES = 2.0
ENVELOPE_DELAY_MS = 20.0
#: Level: how far the output may be off, and how well it must follow a change of 20 dB.
GAIN_DB = 8.0
GAIN_CHANGE_DB = 6.0
SILENCE_DB = -50.0
#: Measured against nominal bitrate, as a share; the second for ``rate_control=vbr``.
BITRATE_TOLERANCE = 0.10
VBR_TOLERANCE = 0.50
#: By how much the next higher bitrate may be worse, dB of mel distance and as a share.
QUALITY_DB = 0.5
QUALITY_SHARE = 0.10
#: The rate of a clip that no codec here has, Hz, to see that conversion works.
CLIP_RATE = 44100

CheckFunction = Callable[[Subject], str]


def _same(a: Wave, b: Wave) -> bool:
    return a.shape == b.shape and float(np.max(np.abs(a - b), initial=0.0)) <= SAME


def _difference(a: Wave, b: Wave) -> str:
    if a.shape != b.shape:
        return f"shapes {list(a.shape)} and {list(b.shape)}"
    return f"up to {float(np.max(np.abs(a - b))):.2g} of full scale apart"


def _mono(wave: Wave) -> signals.Signal:
    return wave.mean(axis=0, dtype=np.float64)


# What the codec says about itself


def describes_itself(subject: Subject) -> str:
    """The spec has plausible fields, can be stored, and is the same in another instance."""
    spec = subject.spec
    if spec.kind not in ("neural", "classical", "anchor"):
        raise CheckFailedError(f"kind is {spec.kind!r}, expected neural, classical or anchor")
    for name in ("sample_rate", "channels", "frame_rate", "nominal_kbps"):
        value = getattr(spec, name)
        if value is not None and not value > 0:
            raise CheckFailedError(f"{name} is {value}, expected a positive number or None")
    if not spec.codec_id or not spec.implementation:
        raise CheckFailedError("codec_id or implementation is empty")
    json.dumps(asdict(spec))
    if subject.fresh().spec.fingerprint != spec.fingerprint:
        raise CheckFailedError("two instances have different fingerprints; is a field random?")
    rate = f"{spec.sample_rate} Hz" if spec.sample_rate else "any rate"
    return f"{spec.kind}, {rate}, {spec.implementation}"


def codes_match_codebooks(subject: Subject) -> str:
    """Codes lie inside their codebooks, and the codebooks imply the nominal bitrate."""
    spec = subject.spec
    if not spec.codebook_sizes:
        raise CheckSkippedError("the codec declares no codebooks")
    if spec.frame_rate is None or spec.nominal_kbps is None:
        raise CheckFailedError("codebook_sizes without frame_rate or nominal_kbps")
    implied = nominal_kbps(spec.frame_rate, spec.codebook_sizes)
    if abs(implied - spec.nominal_kbps) > 0.01 * implied:
        raise CheckFailedError(
            f"nominal_kbps is {spec.nominal_kbps:g}, but {len(spec.codebook_sizes)} codebooks at "
            f"{spec.frame_rate:g} Hz make {implied:g}"
        )
    (wave, encoded), _ = subject.two_clips
    codes = encoded.codes
    if codes is None or codes.ndim != 2 or len(codes) != len(spec.codebook_sizes):
        shape = "none" if codes is None else list(codes.shape)
        raise CheckFailedError(f"codes are {shape}, expected [{len(spec.codebook_sizes)}, T]")
    if codes.min() < 0 or (codes.max(axis=1) >= np.array(spec.codebook_sizes)).any():
        raise CheckFailedError(f"codes from {codes.min()} to {codes.max()} leave their codebooks")
    expected = wave.shape[1] / subject.sample_rate * spec.frame_rate
    # A codec may code the end in blocks of frames, as SemantiCodec does in columns of 0.16 s.
    if not expected - 1 <= codes.shape[1] <= expected + max(2, 0.2 * spec.frame_rate):
        raise CheckFailedError(f"{codes.shape[1]} frames of code, expected about {expected:.1f}")
    return f"{codes.shape[0]} codebooks, {implied:g} kbps"


def bitrate_as_declared(subject: Subject) -> str:
    """The payload of ten seconds costs the nominal bitrate; overhead is not where the code is."""
    wave = subject.wave(signals.mixture(subject.sample_rate, 10.0))
    encoded = subject.codec.encode(wave)
    measured = encoded.measured_kbps(10.0)
    overhead = encoded.overhead_bytes
    if not 0 <= overhead <= len(encoded.payload):
        raise CheckFailedError(f"overhead_bytes is {overhead} of {len(encoded.payload)}")
    nominal = subject.spec.nominal_kbps
    text = f"{measured:.3f} kbps measured and {overhead} bytes of framing in 10 s"
    if nominal is None:
        return f"{text}; no nominal bitrate"
    if overhead > len(encoded.payload) / 2:
        raise CheckFailedError(f"{text}: most of the payload is declared as overhead")
    variable = subject.spec.params.get("rate_control") == "vbr"
    tolerance = VBR_TOLERANCE if variable else BITRATE_TOLERANCE
    if abs(measured - nominal) > tolerance * nominal:
        raise CheckFailedError(f"{text}, declared {nominal:g} (tolerance {tolerance:.0%})")
    return f"{text}, declared {nominal:g}"


# The payload, and nothing but the payload


def decodes_from_payload_alone(subject: Subject) -> str:
    """The same payload gives the same audio in a fresh instance and in a fresh process."""
    (_, first), (_, second) = subject.two_clips
    if not isinstance(first.payload, bytes):
        raise CheckFailedError(f"the payload is {type(first.payload).__name__}, expected bytes")
    here = subject.audio(subject.codec.decode(first.payload))
    other = subject.audio(subject.codec.decode(second.payload))
    if _same(here, other):
        raise CheckFailedError(
            "the payloads of two different clips decode to the same audio; "
            "decode ignores its payload"
        )
    fresh = subject.audio(subject.fresh().decode(first.payload))
    if not _same(here, fresh):
        raise CheckFailedError(
            f"a fresh instance decodes the payload otherwise ({_difference(here, fresh)}); "
            "decode uses something that encode left behind"
        )
    (elsewhere,) = subject.elsewhere([first.payload])
    if elsewhere.wave is None:
        raise CheckFailedError(f"a fresh process cannot decode the payload: {elsewhere.text}")
    if not _same(here, elsewhere.wave):
        raise CheckFailedError(
            f"a fresh process decodes the payload otherwise ({_difference(here, elsewhere.wave)})"
        )
    return f"{len(first.payload)} bytes gave the same audio here and in a fresh process"


def decodes_what_was_encoded(subject: Subject) -> str:
    """Each of two clips is nearer to its own reconstruction than to that of the other."""
    clips = subject.two_clips
    decoded = [subject.audio(subject.codec.decode(encoded.payload)) for _, encoded in clips]
    table = [
        [mel_distance_db(_mono(wave), _mono(out), subject.sample_rate) for out in decoded]
        for wave, _ in clips
    ]
    own, crossed = table[0][0] + table[1][1], table[0][1] + table[1][0]
    if own >= crossed:
        raise CheckFailedError(
            f"reconstructions are nearer to another clip ({crossed / 2:.1f} dB) "
            f"than to their own ({own / 2:.1f} dB of mel distance)"
        )
    return f"mel distance {own / 2:.1f} dB to the own clip, {crossed / 2:.1f} dB to another"


def leaves_its_input_alone(subject: Subject) -> str:
    """Encode does not write into the array it is given."""
    wave = subject.speech(0.5).copy()
    before = wave.copy()
    subject.codec.encode(wave)
    if not np.array_equal(wave, before):
        raise CheckFailedError("encode changes the array it is given; copy it first")
    return "the input array is as it was"


def survives_damage(subject: Subject) -> str:
    """Cut, flipped and foreign payloads give a CodecError or audio; no crash, no hang."""
    payload = subject.codec.encode(subject.speech(0.5, seed=3)).payload
    cases = damaged(payload)
    outcomes = subject.elsewhere(list(cases.values()))
    for name, outcome in zip(cases, outcomes, strict=True):
        if outcome.kind in ("broke", "lost"):
            raise CheckFailedError(f"{name}: expected CodecError or audio, got {outcome.text}")
        if outcome.wave is not None:
            _audio_of_damage(subject, name, outcome.wave)
    refused = sum(outcome.kind == "refused" for outcome in outcomes)
    return f"of {len(outcomes)} damaged payloads {refused} were refused, the others gave audio"


def _audio_of_damage(subject: Subject, name: str, wave: Wave) -> None:
    try:
        subject.audio(wave)
    except CheckFailedError as error:
        raise CheckFailedError(f"{name}: {error}; raise CodecError instead") from error


def damaged(payload: bytes) -> dict[str, bytes]:
    """Return damaged forms of a payload by name."""
    rng = np.random.default_rng(0)
    cases = {
        "empty": b"",
        "first byte only": payload[:1],
        "first half": payload[: len(payload) // 2],
        "last byte missing": payload[:-1],
        "one byte too many": payload + b"\0",
        "all bits set": b"\xff" * len(payload),
        "random bytes": rng.bytes(len(payload)),
    }
    places = [0, 1, 2, *rng.integers(0, len(payload), size=6)]
    for place in sorted({int(place) for place in places if place < len(payload)}):
        flipped = bytearray(payload)
        flipped[place] ^= 1 << int(rng.integers(8))
        cases[f"a bit of byte {place} flipped"] = bytes(flipped)
    return cases


# Time: length, end, delay


def keeps_length(subject: Subject) -> str:
    """N samples give N samples, or up to one frame more."""
    for wave, out in subject.steady:
        expected, got = wave.shape[1], out.shape[1]
        if not expected <= got <= expected + subject.frame_samples:
            raise CheckFailedError(
                f"{expected} samples came back as {got}; expected {expected} to "
                f"{expected + subject.frame_samples}"
            )
    extra = max(out.shape[1] - wave.shape[1] for wave, out in subject.steady)
    return f"lengths {', '.join(map(str, subject.lengths))} kept, at most {extra} samples more"


def codes_the_end(subject: Subject) -> str:
    """The last 20 ms of a steady sound are as loud as its middle."""
    softest = min(_tail_level(subject, wave, out) for wave, out in subject.steady)
    return f"the last 20 ms are at {softest:+.1f} dB of the middle at worst"


def _tail_level(subject: Subject, wave: Wave, out: Wave) -> float:
    """Return the level of the softest 5 ms among the last 20 ms, dB relative to the middle."""
    step, count = round(0.005 * subject.sample_rate), wave.shape[1]
    mono = _mono(out)[:count]
    mono = np.pad(mono, (0, count - len(mono)))
    # Without each window's mean, so that holding the last value is no energy.
    windows = [mono[end - step : end] for end in range(count, step, -step)]
    levels = [level_db(window - window.mean()) for window in windows]
    softest = min(levels[:4]) - float(np.median(levels[len(levels) // 3 : 2 * len(levels) // 3]))
    if softest < TAIL_DB:
        missing = next((i for i, level in enumerate(levels) if level > min(levels[:4]) + 6), 4)
        raise CheckFailedError(
            f"of {count} samples about the last {missing * step} are lost: {softest:.0f} dB of the "
            "middle of a steady sound; is the last frame dropped or not padded before coding?"
        )
    return softest


def delay_as_declared(subject: Subject) -> str:
    """The output lags the input by ``spec.delay_samples``."""
    wave, out = subject.speech_4s
    lag, tolerance, how = _measured_lag(subject, _mono(wave), _mono(out))
    declared = subject.spec.delay_samples
    text = f"{lag.samples:+.1f} samples ({1000 * lag.samples / subject.sample_rate:+.2f} ms) {how}"
    if abs(lag.samples - declared) > tolerance:
        raise CheckFailedError(
            f"the output lags by {text}, spec.delay_samples is {declared} (tolerance "
            f"{tolerance:.1f}); cut or pad the output in decode"
        )
    return f"{text}, declared {declared}"


def _measured_lag(
    subject: Subject, reference: signals.Signal, degraded: signals.Signal
) -> tuple[Lag, float, str]:
    """Return the lag, how far off it may be in samples, and how it was measured."""
    rate = subject.sample_rate
    lag = waveform_lag(reference, degraded, rate)
    if lag.confidence >= FOLLOWS_WAVEFORM:
        tolerance = max(DELAY_SAMPLES, DELAY_MS / 1000 * rate)
        return lag, tolerance, f"by waveform ({lag.confidence:.0%} of the energy coherent)"
    lag = envelope_lag(reference, degraded, rate)
    if lag.confidence < ENVELOPE_CORRELATED:
        raise CheckSkippedError(
            "the output follows neither the waveform nor the envelope of the input "
            f"(correlation {lag.confidence:.2f})"
        )
    tolerance = max(ENVELOPE_DELAY_MS / 1000 * rate, subject.frame_samples)
    return lag, tolerance, f"by envelope only (correlation {lag.confidence:.2f})"


def takes_long_input(subject: Subject) -> str:
    """A very long input keeps its length, and its end lags no more than its beginning."""
    seconds, rate = subject.longest_s, subject.sample_rate
    if subject.speed * seconds > subject.patience_s:
        raise CheckSkippedError(
            f"{seconds:.0f} s of audio would take about {subject.speed * seconds:.0f} s; "
            "run with more patience"
        )
    unit = subject.speech(5.0)
    wave = np.tile(unit, (1, int(np.ceil(seconds / 5))))[:, : round(seconds * rate) + 1]
    out = subject.round_trip(wave)
    if not wave.shape[1] <= out.shape[1] <= wave.shape[1] + subject.frame_samples:
        raise CheckFailedError(f"{wave.shape[1]} samples came back as {out.shape[1]}")
    found = _drift(subject, _mono(wave), _mono(out))
    if found is None:
        return f"{seconds:.0f} s kept their length"
    drift, tolerance = found
    if abs(drift) > tolerance:
        raise CheckFailedError(
            f"after {seconds:.0f} s the output has drifted by {drift:.0f} samples; "
            "do chunks lose samples?"
        )
    return f"{seconds:.0f} s kept their length, drift {drift:+.1f} samples"


def _drift(
    subject: Subject, reference: signals.Signal, degraded: signals.Signal
) -> tuple[float, float] | None:
    """Return by how many samples the end lags more than the beginning, and the tolerance."""
    rate, count = subject.sample_rate, len(reference)

    def lags(lag: Callable[..., Lag], seconds: int) -> tuple[float, float]:
        span = min(count, seconds * rate)
        first, last = (
            lag(reference[start : start + span], degraded[start : start + span], rate)
            for start in (0, count - span)
        )
        return last.samples - first.samples, min(first.confidence, last.confidence)

    # Of a second each: over a longer stretch a drift would blur the very lag that shows it. So
    # short a stretch of a vocoder can look coherent by chance, hence the higher confidence.
    drift, confidence = lags(waveform_lag, 1)
    if confidence >= FOLLOWS_FOR_A_SECOND:
        return drift, 2 * max(DELAY_SAMPLES, DELAY_MS / 1000 * rate)
    drift, confidence = lags(envelope_lag, 5)
    if confidence >= ENVELOPE_CORRELATED:
        return drift, 2 * max(ENVELOPE_DELAY_MS / 1000 * rate, subject.frame_samples)
    return None


# Level, silence, extremes


def keeps_level(subject: Subject) -> str:
    """The output is as loud as the input, and 20 dB softer for an input 20 dB softer."""
    wave, out = subject.speech_4s
    gain = level_db(out) - level_db(wave)
    soft = wave[:, : 2 * subject.sample_rate] * np.float32(0.1)
    soft_gain = level_db(subject.round_trip(soft)) - level_db(soft)
    loud_gain = level_db(out[:, : soft.shape[1]]) - level_db(wave[:, : soft.shape[1]])
    if abs(gain) > GAIN_DB:
        raise CheckFailedError(f"the output is {gain:+.1f} dB off the input's level")
    if abs(soft_gain - loud_gain) > GAIN_CHANGE_DB:
        raise CheckFailedError(
            f"gain {loud_gain:+.1f} dB, but {soft_gain:+.1f} dB for an input 20 dB softer; "
            "is the waveform normalised and the level not sent?"
        )
    return f"gain {gain:+.1f} dB, {soft_gain:+.1f} dB for a soft input"


def keeps_silence(subject: Subject) -> str:
    """Digital silence comes back as near silence."""
    out = subject.round_trip(subject.wave(np.zeros(round(0.5 * subject.sample_rate))))
    level = level_db(out)
    if level > SILENCE_DB:
        raise CheckFailedError(
            f"silence comes back at {level:.0f} dBFS, expected below {SILENCE_DB}"
        )
    return f"silence comes back at {level:.0f} dBFS"


def takes_one_sample(subject: Subject) -> str:
    """A clip of a single sample is coded."""
    out = subject.round_trip(subject.wave(np.array([0.5])))
    if out.shape[1] > 1 + subject.frame_samples:
        raise CheckFailedError(f"one sample came back as {out.shape[1]}")
    return f"one sample came back as {out.shape[1]}"


def takes_its_channels_only(subject: Subject) -> str:
    """Several channels are kept apart; a number the codec does not take is refused."""
    channels = subject.spec.channels
    wave = np.concatenate([_mono(subject.speech(1.0))[None], _mono(subject.music(1.0))[None]])
    wave = wave.astype(np.float32)
    if channels == 1:
        return _refuses(subject, wave)
    wave = np.resize(wave, (channels or 2, wave.shape[1]))
    out = subject.round_trip(wave)
    if out.shape[0] != wave.shape[0]:
        raise CheckFailedError(f"{wave.shape[0]} channels came back as {out.shape[0]}")
    levels = [rms(a[: len(b)] - b[: len(a)]) for a, b in ((wave[0], out[0]), (wave[0], out[1]))]
    if subject.spec.deterministic and levels[0] > levels[1]:
        raise CheckFailedError("the first channel came back as the second")
    return f"{wave.shape[0]} channels are kept apart"


def _refuses(subject: Subject, wave: Wave) -> str:
    try:
        subject.codec.encode(wave)
    except CodecError:
        return f"one channel is taken, {wave.shape[0]} are refused"
    raise CheckFailedError(
        f"declares one channel but takes {wave.shape[0]}; begin encode with checked_wave"
    )


def takes_clips_of_other_rates(subject: Subject) -> str:
    """A stereo clip at 44.1 kHz goes to the codec's rate and channels and back."""
    left = signals.speech_like(CLIP_RATE, 1.0)
    right = signals.music_like(CLIP_RATE, 1.0)
    mono = (left + right) / 2
    back = _through(subject.codec, mono, CLIP_RATE)
    if len(back) < CLIP_RATE:
        raise CheckFailedError(f"{CLIP_RATE} samples came back as {len(back)}")
    distance = mel_distance_db(mono, back[:CLIP_RATE], CLIP_RATE)
    return f"a clip at {CLIP_RATE} Hz came back, mel distance {distance:.1f} dB"


def _through(codec: Codec, mono: signals.Signal, clip_rate: int) -> signals.Signal:
    """Return a mono clip through a codec of another rate, as the benchmark's runner does."""
    import soxr

    rate, channels = codec.spec.sample_rate or clip_rate, codec.spec.channels or 1
    wave = soxr.resample(mono, clip_rate, rate, quality="VHQ").astype(np.float32)
    out = codec.decode(codec.encode(np.repeat(wave[None], channels, axis=0)).payload)
    return soxr.resample(_mono(out), rate, clip_rate, quality="VHQ")


# The same again


def is_deterministic(subject: Subject) -> str:
    """The same input and seed give the same payload and audio; other seeds only if declared."""
    wave = subject.speech(1.0, seed=4)
    first, again = subject.codec.encode(wave), subject.fresh().encode(wave)
    if first.payload != again.payload:
        raise CheckFailedError(
            f"the same clip encodes to other bytes: {_bytes_apart(first, again)}"
        )
    audio = [subject.codec.decode(first.payload, seed=seed) for seed in (7, 7, 8)]
    if not _same(audio[0], audio[1]):
        raise CheckFailedError(
            f"the same payload and seed decode to other audio ({_difference(*audio[:2])})"
        )
    if subject.spec.deterministic and not _same(audio[0], audio[2]):
        raise CheckFailedError(
            f"another seed decodes to other audio ({_difference(audio[0], audio[2])}); "
            "declare deterministic=False in the spec"
        )
    return "same bytes, same audio" if subject.spec.deterministic else "same audio for a seed"


def _bytes_apart(a: Encoded, b: Encoded) -> str:
    if len(a.payload) != len(b.payload):
        return f"{len(a.payload)} and {len(b.payload)} bytes"
    apart = sum(x != y for x, y in zip(a.payload, b.payload, strict=True))
    return f"{apart} of {len(a.payload)} bytes differ"


def batch_equals_single(subject: Subject) -> str:
    """Three clips of different length give the same in a batch as alone."""
    waves = [subject.speech(0.5), subject.music(0.8), subject.speech(0.31, seed=5)]
    alone = [subject.codec.encode(wave) for wave in waves]
    batch = subject.codec.encode_batch(waves)
    if len(batch) != len(waves):
        raise CheckFailedError(f"encode_batch gave {len(batch)} results for {len(waves)} clips")
    for index, (one, many) in enumerate(zip(alone, batch, strict=True)):
        if one.payload != many.payload or one.overhead_bytes != many.overhead_bytes:
            apart = _bytes_apart(one, many)
            raise CheckFailedError(f"clip {index + 1} of a batch encodes otherwise: {apart}")
    payloads, seeds = [encoded.payload for encoded in alone], [1, 2, 3]
    pairs = zip(
        [subject.codec.decode(p, seed=s) for p, s in zip(payloads, seeds, strict=True)],
        subject.codec.decode_batch(payloads, seeds=seeds),
        strict=True,
    )
    for index, (single, several) in enumerate(pairs):
        if not _same(single, several):
            raise CheckFailedError(
                f"clip {index + 1} of a batch decodes otherwise than alone "
                f"({_difference(single, several)})"
            )
    return "three clips in a batch are the three clips alone"


# The family


def quality_follows_bitrate(subject: Subject) -> str:
    """No point of the family is worse than the one below it, by mel distance."""
    ids = subject.family_ids()
    if len(ids) < 2:
        raise CheckSkippedError("the codec has one operating point")
    specs = [create(codec_id).spec for codec_id in ids]
    rates = [spec.nominal_kbps for spec in specs if spec.nominal_kbps is not None]
    if rates != sorted(rates):
        raise CheckFailedError(f"points are not ordered by bitrate: {rates}")
    if len(rates) == len(ids) and len(set(rates)) < len(rates):
        raise CheckFailedError(f"two points have the same bitrate: {rates}")
    if subject.speed * 2 * len(ids) > subject.patience_s:
        raise CheckSkippedError(f"{len(ids)} points would take too long; run with more patience")
    distances = _family_distances(ids)
    points = [codec_id.partition("@")[2] for codec_id in ids]
    text = ", ".join(f"{p} {d:.2f}" for p, d in zip(points, distances, strict=True))
    for lower, higher, name in zip(distances, distances[1:], points[1:], strict=False):
        if higher > lower + max(QUALITY_DB, QUALITY_SHARE * lower):
            raise CheckFailedError(f"{name} is worse than the point below it (dB, 0 best): {text}")
    return f"mel distance in dB, 0 best: {text}"


@lru_cache(maxsize=64)
def _family_distances(ids: tuple[str, ...]) -> tuple[float, ...]:
    rate = 48000
    mono = signals.mixture(rate, 2.0)
    outs = [_through(create(codec_id), mono, rate) for codec_id in ids]
    return tuple(mel_distance_db(mono, out[: len(mono)], rate) for out in outs)


#: Every check by name, in the order in which somebody mending an adapter wants to read them.
CHECKS: dict[str, CheckFunction] = {
    "describes itself": describes_itself,
    "keeps length": keeps_length,
    "codes the end": codes_the_end,
    "delay as declared": delay_as_declared,
    "decodes what was encoded": decodes_what_was_encoded,
    "decodes from payload alone": decodes_from_payload_alone,
    "deterministic": is_deterministic,
    "batch equals single": batch_equals_single,
    "leaves its input alone": leaves_its_input_alone,
    "keeps level": keeps_level,
    "keeps silence": keeps_silence,
    "takes one sample": takes_one_sample,
    "takes long input": takes_long_input,
    "takes its channels only": takes_its_channels_only,
    "takes clips of other rates": takes_clips_of_other_rates,
    "bitrate as declared": bitrate_as_declared,
    "codes match codebooks": codes_match_codebooks,
    "shows its inside": shows_its_inside,
    "quality follows bitrate": quality_follows_bitrate,
    "survives damage": survives_damage,
}
