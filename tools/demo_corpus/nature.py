"""Sounds of weather, water and animals, by physical or procedural synthesis."""

from itertools import pairwise

import numpy as np

from .clip import Signal
from .dsp import (
    Rng,
    add_reverb,
    band,
    colored_noise,
    drift,
    mix_at,
    reverb_tail,
    ring,
    room_tone,
    seeded,
    sparse_impulses,
    sweep_filter,
    time_axis,
)

RATE = 48000
SPEED_OF_SOUND = 340.0  # m/s


def bubble(freq_hz: float, rise: float) -> Signal:
    """Return a bubble closing under water: a decaying tone of rising pitch.

    After van den Doel, "Physically based models for liquid sounds" (2005): the damping grows
    with the frequency, ``0.13 / radius + 0.0072 * radius**-1.5`` with ``radius = 3 / freq``.
    """
    radius = 3.0 / freq_hz
    damping = 0.13 / radius + 0.0072 * radius**-1.5
    t = time_axis(min(0.08, 6.0 / damping), RATE)
    phase = 2 * np.pi * freq_hz * (t + 0.5 * rise * damping * t**2)
    return np.sin(phase) * np.exp(-damping * t) * np.minimum(1.0, t / 0.0008)


def scatter_bubbles(count: int, density: Signal, rng: Rng) -> Signal:
    """Return bubbles at random times with a density per second, small ones most often."""
    out = np.zeros(count)
    for start in np.flatnonzero(rng.random(count) < density / RATE):
        freq = 900 * 8 ** rng.random() ** 1.2
        gain = min(rng.lognormal(-0.5, 0.7), 2.0)
        mix_at(out, bubble(freq, rng.uniform(0.0, 0.12)), start, gain)
    return out


def distant(x: Signal) -> Signal:
    """Return ``x`` as heard through some metres of air and a microphone: no top octave."""
    return band(x, None, 15500, RATE, 4)


def rain() -> Signal:
    """Steady rain on leaves and a puddle: drops as impacts, bubbles, and a distant bed."""
    rng = seeded("rain")
    count = round(4.1 * RATE)
    drops = np.zeros(count)
    for freq in np.geomspace(900, 11000, 60):
        hits = sparse_impulses(count, 27 * (freq / 3000) ** 0.3, RATE, rng)
        t60_s = 0.006 * (2000 / freq) ** 0.7
        drops += ring(hits, freq * rng.uniform(0.97, 1.03), t60_s, RATE) * (1500 / freq) ** 0.4
    puddle = scatter_bubbles(count, np.full(count, 38.0), rng)
    bed = band(colored_noise(count, rng, 1.0, RATE, 300.0), 250, 9000, RATE, 1)
    gusts = 0.8 + 0.4 * drift(count, RATE, 0.7, rng)
    out = gusts * (0.30 * drops / drops.std() + 0.55 * bed / bed.std())
    return distant(out + 0.45 * puddle / puddle.std())


def wind() -> Signal:
    """Wind howling around a corner: whistling resonances that rise with each gust."""
    rng = seeded("wind")
    count = round(4.5 * RATE)
    gust = drift(count, RATE, 0.55, rng) ** 1.3
    source = colored_noise(count, rng, 0.7, RATE)
    out = 0.5 * band(source, 40, 250, RATE, 1) * (0.3 + gust)
    for base, span, q, gain in ((310, 0.8, 16, 1.0), (455, 0.9, 26, 0.9), (790, 0.7, 22, 0.35)):
        sway = 0.12 * drift(count, RATE, 3.0, rng)
        freq = base * 2 ** (span * gust + sway)
        flow = np.clip(gust - 0.08, 0, None) ** 1.5 * (0.5 + drift(count, RATE, 4.0, rng))
        out += gain * 3.0 * flow * sweep_filter(source, freq, q, RATE)[1]
    rustle = band(rng.standard_normal(count), 2500, 8000, RATE, 1)
    return out + 0.02 * rustle * gust**2 * (0.4 + drift(count, RATE, 9.0, rng))


def _channel(rng: Rng) -> np.ndarray:
    """Return the points of a lightning channel, metres: a tortuous path from cloud to ground."""
    steps = rng.standard_normal((900, 3)) * [3.2, 3.2, 1.6]
    steps[:, 2] -= 2.6
    path = np.cumsum(steps, axis=0)
    wander = np.cumsum(rng.standard_normal((900, 3)), axis=0) * [5.0, 5.0, 0.0]
    path += wander - wander[-1]
    return path - path[-1] + [260.0, 120.0, 0.0]


def thunder() -> Signal:
    """Near lightning: every piece of the channel sends an N-wave, delayed by its distance.

    After Ribner and Roy, "Acoustics of thunder" (1982): pieces seen from the side are loud,
    pieces pointing at the listener weak, and the air takes the high end of the far ones.
    """
    rng = seeded("thunder")
    count = round(5.5 * RATE)
    points = _channel(rng)
    middle, along = (points[1:] + points[:-1]) / 2, np.diff(points, axis=0)
    distance = np.linalg.norm(middle, axis=1)
    cosine = (middle * along).sum(axis=1) / distance / np.linalg.norm(along, axis=1)
    arrival = ((distance - distance.min()) / SPEED_OF_SOUND + 0.12) * RATE
    strength = np.exp(-2.2 * cosine**2) / distance * rng.lognormal(0, 0.7, len(distance))
    out = np.zeros(count)
    edges = np.quantile(distance, np.linspace(0, 1, 9))
    for low, high in pairwise(edges):
        layer = np.zeros(count)
        chosen = (distance >= low) & (distance <= high)
        for at, gain in zip(arrival[chosen], strength[chosen], strict=True):
            length = rng.uniform(0.004, 0.016) * (1 + distance.min() / 900)
            wave = np.linspace(1, -1, int(length * RATE))
            mix_at(layer, wave, int(at), gain)
        air_hz = 7000 * (260 / (0.5 * (low + high))) ** 1.6
        out += band(layer, None, max(air_hz, 180), RATE, 1)
    tail = reverb_tail(RATE, rng, 3.2, damping=5.0)
    return add_reverb(out / out.std(), tail, -4.0, RATE, 0.08)


def _wave(count: int, crash_s: float, rng: Rng) -> Signal:
    """Return one breaking wave: swell, crash that brightens at once, and a fizzing run-out."""
    t = np.arange(count) / RATE - crash_s
    swell = np.exp(-((t / 0.9) ** 2)) * (t < 0) + np.exp(-t.clip(0) / 0.9) * (t >= 0)
    crash = np.where(t >= -0.1, np.clip((t + 0.1) / 0.18, 0, 1) * np.exp(-t.clip(0) / 0.65), 0)
    fizz = np.where(t >= 0.2, np.clip((t - 0.2) / 0.5, 0, 1) * np.exp(-(t - 0.2).clip(0) / 1.5), 0)
    roar = colored_noise(count, rng, 1.6, RATE, 60.0)
    white = rng.standard_normal(count)
    grain = 0.5 + 0.5 * drift(count, RATE, 22.0, rng)
    spray = band(white, 500, 6500, RATE, 1) * grain
    hiss = band(white, 3000, 11000, RATE, 1)
    foam = scatter_bubbles(count, 60 * fizz, rng)
    return 0.8 * roar * swell + 1.0 * spray * crash + 0.22 * hiss * fizz + 0.16 * foam * fizz


def sea() -> Signal:
    """Waves on a beach: one crash, its foam running out, and the next one coming in."""
    rng = seeded("sea")
    count = round(4.4 * RATE)
    bed = colored_noise(count, rng, 1.8, RATE, 40.0)
    return distant(_wave(count, 0.9, rng) + 0.7 * _wave(count, 3.6, rng) + 0.12 * bed)


def chirp(
    freqs_hz: list[float], duration_s: float, overtone: float = 0.1, am_hz: float = 0.0
) -> Signal:
    """Return one bird note: a tone gliding through ``freqs_hz``, a weak octave above it.

    Args:
        freqs_hz: Frequencies at equal steps in time.
        duration_s: Length.
        overtone: Strength of the second harmonic.
        am_hz: Rate of a rasping amplitude modulation, 0 for none.
    """
    t = time_axis(duration_s, RATE)
    path = np.interp(t, np.linspace(0, duration_s, len(freqs_hz)), freqs_hz)
    smooth = np.hanning(int(0.006 * RATE))
    padded = np.pad(path, len(smooth), mode="edge")
    path = np.convolve(padded, smooth / smooth.sum(), "same")[len(smooth) : len(smooth) + len(t)]
    phase = 2 * np.pi * np.cumsum(path) / RATE
    envelope = np.sin(np.pi * (t / duration_s) ** 0.7) ** 1.2
    if am_hz:
        envelope *= 0.6 + 0.4 * np.sin(2 * np.pi * am_hz * t)
    return envelope * (np.sin(phase) + overtone * np.sin(2 * phase))


def _blackbird(rng: Rng) -> list[tuple[float, Signal]]:
    """Return a mellow fluted phrase that ends in a scratchy twitter."""
    phrase = [
        ([1900, 2300, 2250], 0.22),
        ([2500, 2100, 1850], 0.2),
        ([2050, 2050, 2700], 0.26),
        ([2350, 1750, 2200], 0.24),
    ]
    notes, now = [], 0.0
    for freqs, length in phrase:
        notes.append((now, chirp(freqs, length, 0.06)))
        now += length + rng.uniform(0.03, 0.09)
    for _ in range(5):
        top = rng.uniform(4500, 7500)
        notes.append((now, 0.4 * chirp([top, top * 0.7, top * 1.1, top * 0.8], 0.05, 0.2, 130)))
        now += rng.uniform(0.055, 0.08)
    return notes


def _chaffinch(rng: Rng) -> list[tuple[float, Signal]]:
    """Return an accelerating, falling rattle with a flourish at its end."""
    notes, now = [], 0.0
    for i in range(11):
        top = 6300 - 260 * i + rng.uniform(-80, 80)
        notes.append((now, chirp([top, top * 0.62, top * 0.55], 0.065, 0.12)))
        now += 0.125 - 0.004 * i
    notes.append((now, chirp([2700, 3300, 5200, 3900], 0.13, 0.15)))
    notes.append((now + 0.15, chirp([5600, 3000, 2600], 0.12, 0.15)))
    return notes


def _great_tit() -> list[tuple[float, Signal]]:
    """Return the two-note "tea-cher" call, four times."""
    pair = [(0.0, chirp([4900, 4750], 0.11, 0.05)), (0.15, chirp([3550, 3600, 3500], 0.16, 0.05))]
    return [(0.37 * i + at, note) for i in range(4) for at, note in pair]


def birds() -> Signal:
    """Dawn in a garden: a blackbird, a chaffinch and a great tit, near and far."""
    rng = seeded("birds")
    count = round(4.7 * RATE)
    flock = [
        (0.15, 1.0, _blackbird(rng)),
        (1.6, 0.5, _chaffinch(rng)),
        (0.7, 0.14, _great_tit()),
        (3.1, 0.85, _blackbird(rng)),
        (3.0, 0.2, _great_tit()),
    ]
    out = np.zeros(count)
    for start, gain, notes in flock:
        for at, note in notes:
            mix_at(out, note, int((start + at) * RATE), gain)
    tail = reverb_tail(RATE, rng, 0.8, damping=2.5)
    return add_reverb(out, tail, -17.0, RATE, 0.03) + room_tone(count, RATE, rng, -52.0)
