"""Music from our own synthesis: struck bars, a subtractive machine and a sung vowel line."""

import numpy as np
from scipy import signal as sps

from .clip import Signal
from .dsp import (
    add_reverb,
    band,
    colored_noise,
    drift,
    mix_at,
    modes,
    reverb_tail,
    seeded,
    sweep_filter,
    time_axis,
)
from .midi import line

RATE = 48000
# A free uniform bar (Fletcher and Rossing, "The Physics of Musical Instruments", chapter 2).
BAR_RATIOS = np.array([1.0, 2.756, 5.404, 8.933, 13.345])
VOWELS = {  # Hz; the first three after Peterson and Barney (1952), women's means
    "a": (850, 1220, 2810, 3800, 4950),
    "o": (590, 920, 2710, 3750, 4900),
    "u": (370, 950, 2670, 3700, 4900),
    "e": (610, 2330, 2990, 3900, 5000),
    "i": (310, 2790, 3310, 4100, 5100),
}
FORMANT_WIDTHS = np.array([80.0, 95.0, 130.0, 220.0, 300.0])
FORMANT_GAINS = np.array([1.0, 0.66, 0.5, 0.38, 0.22])


def frequency(pitch: float) -> float:
    """Return the frequency of a MIDI pitch, Hz, A4 = 440."""
    return 440.0 * 2 ** ((pitch - 69) / 12)


def _bar(pitch: int, velocity: int) -> Signal:
    """Return one glockenspiel bar: five bending modes, a torsional one and the mallet."""
    base = frequency(pitch)
    freqs = np.concatenate([base * BAR_RATIOS, [base * 3.94]])
    t60s = 3.2 * (1000 / freqs) ** 0.55
    hardness = velocity / 100
    gains = np.array([1.0, 0.55, 0.32, 0.2, 0.1, 0.12]) * hardness ** np.array([0, 1, 2, 3, 4, 2])
    tone = modes(3.0, RATE, freqs, t60s, gains)
    knock = band(seeded(f"mallet{pitch}").standard_normal(480), 2500, 9000, RATE)
    mix_at(tone, knock * np.geomspace(1, 1e-3, 480), 0, 0.08 * hardness)
    return tone * hardness


def glockenspiel() -> Signal:
    """A waltz of our own on a glockenspiel, in a small room."""
    upper = line(
        "G6*0.5 C7*0.5 E7*0.5 G7*0.5 F7*0.5 E7*0.5 D7*0.5 F7*0.5 A7*0.5 G7*0.5 E7*0.5 B6*0.5 C7*2",
        velocity=92,
    )
    lower = line("C6*1.5 E6*1.5 D6*1.5 G6*0.75 F6*0.75 E6+G6*2", velocity=74)
    out = np.zeros(round(5.4 * RATE))
    rng = seeded("glockenspiel")
    for note in upper + lower:
        start = 0.03 + note.start * 60 / 104 + 0.006 * rng.random()
        mix_at(out, _bar(note.pitch, note.velocity + int(rng.integers(-8, 9))), int(start * RATE))
    return add_reverb(out, reverb_tail(RATE, rng, 0.9), -16.0, RATE)


def sawtooth(freq_hz: Signal, rate: int) -> Signal:
    """Return a band-limited sawtooth of moving frequency (two-point PolyBLEP)."""
    step = freq_hz / rate
    phase = np.cumsum(step) % 1.0
    x = 2 * phase - 1
    rising, falling = phase < step, phase > 1 - step
    u = phase[rising] / step[rising]
    x[rising] -= 2 * u - u**2 - 1
    u = (phase[falling] - 1) / step[falling]
    x[falling] -= u**2 + 2 * u + 1
    return x


def _kick() -> Signal:
    t = time_axis(0.32, RATE)
    sweep = 46 + 190 * np.exp(-t / 0.022)
    body = np.sin(2 * np.pi * np.cumsum(sweep) / RATE) * np.exp(-t / 0.11)
    click = band(seeded("kick").standard_normal(len(t)), 1500, 7000, RATE) * np.exp(-t / 0.003)
    return np.tanh(1.8 * body) + 0.25 * click


def _hat(decay_s: float, seed: str) -> Signal:
    """Return a hi-hat: six inharmonic square waves and noise, high-passed."""
    t = time_axis(6 * decay_s, RATE)
    metal = sum(np.sign(np.sin(2 * np.pi * f * t)) for f in (2053, 3047, 3699, 4158, 5401, 8307))
    mixed = metal / 6 + 0.5 * seeded(seed).standard_normal(len(t))
    return band(mixed, 7000, 16000, RATE) * np.exp(-t / decay_s)


def _clap() -> Signal:
    t = time_axis(0.25, RATE)
    bursts = sum(np.where(t >= s, np.exp(-(t - s) / 0.006), 0) for s in (0, 0.011, 0.022))
    tail = np.where(t >= 0.03, np.exp(-(t - 0.03) / 0.05), 0)
    return band(seeded("clap").standard_normal(len(t)), 900, 4500, RATE) * (bursts + 0.6 * tail)


def _acid(count: int, beat_s: float) -> Signal:
    """Return a bass line of sixteenths with slides, its resonant low-pass opening and closing."""
    pattern = [33, 33, 45, 33, 36, 33, 43, 45, 33, 31, 33, 48, 45, 33, 40, 36]
    accents = [1, 0, 1, 0, 0, 1, 0, 0, 1, 0, 0, 1, 0, 0, 1, 0]
    sixteenth = beat_s / 4
    index = (np.arange(count) / RATE / sixteenth).astype(int)
    within = np.arange(count) / RATE - index * sixteenth
    pitch = np.array(pattern)[index % 16].astype(float)
    pitch = sps.lfilter([1 - 0.998], [1, -0.998], pitch - pitch[0]) + pitch[0]
    accent = np.array(accents)[index % 16]
    rise = np.sin(np.pi * np.arange(count) / count) ** 1.3
    cutoff = 180 * 2 ** (4.6 * rise + (0.9 + 0.9 * accent) * np.exp(-within / 0.05))
    gate = np.minimum(1, within / 0.003) * np.exp(-within / 0.16) * (0.75 + 0.4 * accent)
    gate *= np.clip((sixteenth - within) / 0.004, 0, 1)
    low, mid = sweep_filter(sawtooth(frequency(pitch), RATE) * gate, cutoff, 7.0, RATE)
    return np.tanh(1.6 * (low + 0.25 * mid))


def techno() -> Signal:
    """Electronic dance loop: resonant filter sweep over a sawtooth, kick, hats and clap."""
    beat_s = 60 / 132
    out = 0.55 * _acid(round(10 * beat_s * RATE), beat_s)
    for beat in range(10):
        at = round(beat * beat_s * RATE)
        out[at : at + 9000] *= 1 - 0.5 * np.linspace(1, 0, len(out[at : at + 9000]))
        mix_at(out, _kick(), at, 0.9)
        mix_at(out, _hat(0.05, f"open{beat}"), at + round(0.5 * beat_s * RATE), 0.4)
        for quarter in (0.25, 0.75):
            mix_at(out, _hat(0.018, f"closed{beat}"), at + round(quarter * beat_s * RATE), 0.18)
        if beat % 2:
            mix_at(out, _clap(), at, 0.5)
    return out


def _glottal_source(pitch: Signal, rng: np.random.Generator) -> Signal:
    """Return differentiated Rosenberg pulses and breath noise that follows the flow."""
    phase = np.cumsum(frequency(pitch) / RATE) % 1.0
    opening, closing = 0.42, 0.18
    flow = np.where(phase < opening, 0.5 - 0.5 * np.cos(np.pi * phase / opening), 0.0)
    shut = (phase >= opening) & (phase < opening + closing)
    flow[shut] = np.cos(0.5 * np.pi * (phase[shut] - opening) / closing)
    pulse = np.diff(flow, prepend=flow[0]) * RATE / 2000
    breath = band(rng.standard_normal(len(pitch)), 1200, 11000, RATE)
    return pulse + 0.05 * breath * (0.3 + flow)


def _sung_pitch(melody: list[tuple[float, float]], count: int, rng: np.random.Generator) -> Signal:
    """Return the pitch curve: portamento between notes, a vibrato that grows, a little drift."""
    target = np.empty(count)
    vibrato = np.empty(count)
    at = 0
    for pitch, seconds in melody:
        end = min(count, at + round(seconds * RATE))
        target[at:end] = pitch
        vibrato[at:end] = np.clip((np.arange(end - at) / RATE - 0.2) / 0.4, 0, 1)
        at = end
    target[at:], vibrato[at:] = target[at - 1], 1
    glide = sps.filtfilt(*sps.butter(2, 7, fs=RATE), target)
    wave = np.sin(2 * np.pi * np.cumsum(5.4 + 0.5 * drift(count, RATE, 1, rng)) / RATE)
    return glide + 0.38 * vibrato * wave + 0.12 * (drift(count, RATE, 12, rng) - 0.5)


def vowel_song() -> Signal:
    """A wordless sung line: glottal pulses through five gliding formants, in a hall."""
    melody = [(62, 0.65), (65, 0.65), (69, 1.05), (67, 0.45), (65, 0.45), (64, 0.55), (62, 1.3)]
    vowels = ["u", "o", "a", "e", "i", "o", "a"]
    count = round(5.1 * RATE)
    rng = seeded("vowel song")
    source = _glottal_source(_sung_pitch(melody, count, rng), rng)
    times = np.cumsum([0] + [seconds for _, seconds in melody[:-1]])
    knots = np.repeat(times, 2) + np.tile([0.06, 0.4], len(times))
    voice = np.zeros(count)
    for i, (width, gain) in enumerate(zip(FORMANT_WIDTHS, FORMANT_GAINS, strict=True)):
        path = np.repeat([VOWELS[v][i] for v in vowels], 2).astype(float)
        centre = np.interp(np.arange(count) / RATE, knots, path)
        voice += (-1) ** i * gain * sweep_filter(source, centre, centre / width, RATE)[1]
    voice += 0.08 * band(source, 4500, 12000, RATE, 1)
    swell = np.interp(
        np.arange(count) / RATE, [0, 0.12, 1.3, 2.2, 3.8, 4.6, 4.85], [0, 0.6, 0.8, 1, 0.85, 0.6, 0]
    )
    voice *= swell * (0.92 + 0.08 * colored_noise(count, rng, 1.5, RATE, 4.0).clip(-2, 2) / 2)
    return add_reverb(voice / voice.std(), reverb_tail(RATE, rng, 1.6), -9.0, RATE, 0.025)
