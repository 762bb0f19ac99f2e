"""Sounds of people, objects and machines, by physical or procedural synthesis."""

import numpy as np
from scipy import signal as sps

from .clip import Signal
from .dsp import (
    Rng,
    add_reverb,
    band,
    colored_noise,
    drift,
    mix_at,
    modes,
    reverb_tail,
    ring,
    room_tone,
    seeded,
    sparse_impulses,
    time_axis,
)

RATE = 48000
SPEED_OF_SOUND = 340.0  # m/s


def footsteps() -> Signal:
    """Six steps on gravel: each a burst of stone contacts at heel and toe over a dull thump."""
    rng = seeded("gravel")
    count = round(4.2 * RATE)
    t = np.arange(count) / RATE
    density, thump = np.zeros(count), np.zeros(count)
    for step in range(6):
        at = 0.18 + 0.63 * step + rng.uniform(-0.02, 0.02)
        weight = rng.uniform(0.8, 1.2)
        for delay, rise, fall, strength in ((0.0, 0.012, 0.045, 1.0), (0.13, 0.05, 0.07, 0.75)):
            x = (t - at - delay).clip(0)
            density += weight * strength * (1 - np.exp(-x / rise)) * np.exp(-x / fall)
        mix_at(thump, modes(0.25, RATE, [62, 118], [0.12, 0.07], [1, 0.5], 0.004), int(at * RATE))
    stones = np.zeros(count)
    for freq in np.geomspace(700, 12000, 64):
        hits = sparse_impulses(count, 44 * density, RATE, rng) * np.sqrt(density)
        t60_s = 0.011 * (2500 / freq) ** 0.6
        stones += ring(hits, freq * rng.uniform(0.97, 1.03), t60_s, RATE) * (2500 / freq) ** 0.3
    grind = band(rng.standard_normal(count), 1500, 6000, RATE, 1) * density
    out = stones / stones.std() + 0.5 * grind / grind.std() + 0.9 * thump / thump.std() * 0.35
    return 0.2 * out + room_tone(count, RATE, rng, -62.0)


def _split_modes(base: float, ratios: list[float], t60s: list[float], rng: Rng) -> Signal:
    """Return a round body's ring: each mode is a pair a little apart in frequency, so it beats."""
    freqs = base * np.repeat(ratios, 2) * (1 + rng.normal(0, 0.0009, 2 * len(ratios)))
    gains = np.repeat(np.arange(1, len(ratios) + 1) ** -0.7, 2) * rng.uniform(0.4, 1, len(freqs))
    return modes(2.6, RATE, freqs, np.repeat(t60s, 2), gains)


def _pan_lid(rng: Rng) -> Signal:
    """Return a steel plate: dense modes (spacing of a thin plate), high ones die first."""
    freqs = np.sort(rng.uniform(280, 11500, 70))
    t60s = 1.9 * (1 + freqs / 2200) ** -0.8 * rng.uniform(0.6, 1.3, len(freqs))
    gains = rng.lognormal(0, 0.6, len(freqs)) * (1 + freqs / 3500) ** -1.2
    return modes(2.6, RATE, freqs, t60s, gains / 4)


def _knock(rng: Rng, low: float, high: float) -> Signal:
    """Return the click of the contact itself."""
    t = time_axis(0.01, RATE)
    return band(rng.standard_normal(len(t)), low, high, RATE) * np.exp(-t / 0.0012)


def _coin(rng: Rng) -> list[tuple[float, Signal]]:
    """Return a coin dropped on stone: bounces that come faster, then a settling whirr."""
    ratios, t60s = np.array([1, 1.73, 2.33, 3.91, 4.11]), np.array([0.5, 0.35, 0.3, 0.16, 0.12])
    hits, at, gap, strength = [], 0.0, 0.27, 1.0
    while gap > 0.012:
        gains = strength * np.array([1, 0.8, 0.6, 0.4, 0.3]) * rng.uniform(0.5, 1, 5)
        hits.append((at, modes(0.6, RATE, 4150 * ratios, t60s, gains, 0.0001)))
        at, gap, strength = at + gap, gap * 0.84, strength * 0.86
    return hits


def impacts() -> Signal:
    """Struck things on a kitchen table: wine glass, cup, pan lid, steel bar, glass, coin."""
    rng = seeded("impacts")
    glass, glass_t60s = [1.0, 2.32, 4.25, 6.63, 9.38], [1.9, 1.3, 0.8, 0.45, 0.25]
    cup, cup_t60s = [1.0, 1.52, 2.43, 3.9], [0.16, 0.13, 0.1, 0.07]
    bar, bar_t60s = [1.0, 2.756, 5.404, 8.933], [1.4, 0.9, 0.5, 0.3]
    events = [
        (0.08, 0.5, _split_modes(1180, glass, glass_t60s, rng)),
        (0.75, 0.5, _split_modes(1960, cup, cup_t60s, rng)),
        (1.1, 0.6, _pan_lid(rng)),
        (2.1, 0.45, _split_modes(870, bar, bar_t60s, rng)),
        (2.75, 0.35, _split_modes(1240, glass, glass_t60s, rng)),
    ]
    events += [(3.05 + at, 0.3, hit) for at, hit in _coin(rng)]
    out = room_tone(round(4.9 * RATE), RATE, rng, -80.0)
    for at, gain, body in events:
        mix_at(out, body, int(at * RATE), gain)
        mix_at(out, _knock(rng, 900, 9000), int(at * RATE), 0.3 * gain)
    return add_reverb(out, reverb_tail(RATE, rng, 0.45, damping=1.5), -17.0, RATE)


def _firing_pulses(rpm: Signal, load: Signal, rng: Rng) -> Signal:
    """Return one impulse per firing of a four-cylinder engine, no two quite equal."""
    turns = np.cumsum(rpm / 60 * 2 / RATE)
    firings = np.flatnonzero(np.diff(np.floor(turns), prepend=0) > 0)
    cylinder = np.array([1.0, 0.86, 1.08, 0.93])[np.arange(len(firings)) % 4]
    out = np.zeros(len(rpm))
    out[firings] = cylinder * rng.normal(1, 0.08, len(firings)) * (0.35 + 0.65 * load[firings])
    return out


def engine() -> Signal:
    """A car engine: idle, two blips of the throttle, back to idle."""
    rng = seeded("engine")
    count = round(4.7 * RATE)
    t = np.arange(count) / RATE
    throttle = np.interp(
        t, [0, 0.9, 1.0, 1.7, 1.8, 2.5, 2.6, 3.4, 3.5], [0, 0, 1, 1, 0, 0, 1, 1, 0]
    )
    target = 820 + 4000 * throttle * np.where(t > 2.2, 1.15, 0.85)
    # The flywheel follows the throttle slowly up and more slowly down.
    rpm = sps.lfilter([1 - 0.99996], [1, -0.99996], target - 820) + 820
    rpm = rpm * (1 + 0.015 * (drift(count, RATE, 4.0, rng) - 0.5))
    load = sps.lfilter([1 - 0.9996], [1, -0.9996], throttle * 0.85) + 0.15
    pulses = _firing_pulses(rpm, load, rng)
    blowdown = np.exp(-time_axis(0.03, RATE) / 0.0028) - np.exp(-time_axis(0.03, RATE) / 0.0006)
    burst = sps.fftconvolve(pulses, blowdown)[:count]
    rough = burst * (1 + 0.5 * band(rng.standard_normal(count), 300, 5000, RATE, 1))
    pipe = np.zeros(round(0.0062 * RATE) + 2)
    pipe[0], pipe[-2], pipe[-1] = 1.0, 0.31, 0.31  # an open end reflects with inverted sign
    exhaust = sps.lfilter([1.0], pipe, rough)
    muffled, open_ = band(exhaust, 25, 650, RATE, 1), band(exhaust, 25, 3200, RATE, 1)
    intake = band(colored_noise(count, rng, 0.5, RATE), 300, 2500, RATE, 1)
    gate = burst / burst.max()
    valves = ring(np.roll(pulses, 300), 3100, 0.006, RATE) + ring(pulses, 5200, 0.004, RATE)
    out = muffled + load * open_
    out += out.std() * (0.2 * intake * load * (0.4 + gate) + 0.05 * intake * gate)
    return out + 0.012 * valves * np.std(out) / (valves.std() + 1e-12) * 8


def _tick(rng: Rng, freqs: tuple[float, ...], strength: float) -> Signal:
    """Return one beat of an escapement: three contacts within 14 ms, ringing metal and wood."""
    out = np.zeros(int(0.16 * RATE))
    wood = modes(0.1, RATE, [215, 390, 610], [0.09, 0.07, 0.05], [0.5, 0.4, 0.25], 0.0006)
    for delay, gain in ((0.0, 0.45), (0.0045, 1.0), (0.0125, 0.7)):
        at = int((delay + rng.normal(0, 0.00015)) * RATE)
        metal = modes(0.1, RATE, freqs, [0.05, 0.04, 0.03, 0.02], rng.uniform(0.3, 1, 4), 0.00008)
        mix_at(out, metal + 0.7 * wood, at, gain * strength)
        mix_at(out, _knock(rng, 1500, 12000), at, 0.8 * gain * strength)
    return out


def clock() -> Signal:
    """A mantel clock in a silent room: tick, gap, tock, gap, then one stroke of its bell."""
    rng = seeded("clock")
    count = round(5.6 * RATE)
    out = np.zeros(count)
    for beat in range(9):
        freqs = (2240.0, 3460.0, 5180.0, 8100.0) if beat % 2 else (2510.0, 3820.0, 5650.0, 9050.0)
        at = 0.25 + 0.5 * beat + (0.012 if beat % 2 else 0.0)
        mix_at(out, _tick(rng, freqs, 1.0 if beat % 2 else 0.8), int(at * RATE), 0.3)
    strike = np.array([523, 1318, 2480, 3990, 5720, 7610])
    chime = modes(1.4, RATE, strike, 2.2 * (500 / strike) ** 0.6, [0.6, 1, 0.6, 0.35, 0.2, 0.1])
    mix_at(out, chime, int(4.32 * RATE), 0.28)
    tail = reverb_tail(RATE, rng, 0.35)
    return add_reverb(out, tail, -20.0, RATE) + room_tone(count, RATE, rng, -78.0)


def _key(rng: Rng, wide: bool, release: bool) -> Signal:
    """Return one stroke of a keyboard: the contact, the plate and the hollow case under it."""
    count = 9 if wide else 6
    scale = (0.6 if wide else 1.0) * (1.35 if release else 1.0)
    freqs = scale * np.sort(rng.uniform(500, 5200, count))
    t60s = rng.uniform(0.015, 0.05, count) * (1.6 if wide else 1.0)
    out = modes(0.12, RATE, freqs, t60s, rng.uniform(0.3, 1, count), 0.0002)
    mix_at(out, modes(0.12, RATE, [165 * scale, 320], [0.06, 0.04], [1.2, 0.6], 0.001), 0)
    mix_at(out, _knock(rng, 1200, 13000), 0, 1.2)
    return out * (0.35 if release else 1.0) * rng.lognormal(0, 0.2)


def keyboard() -> Signal:
    """Typing on a mechanical keyboard: two words, a space bar, a pause, three more words."""
    rng = seeded("keyboard")
    count = round(5.0 * RATE)
    out = np.zeros(count)
    now = 0.15
    for sign in "these keys are old  and loud":
        wide = sign == " "
        mix_at(out, _key(rng, wide, False), int(now * RATE), 0.3)
        mix_at(out, _key(rng, wide, True), int((now + rng.uniform(0.06, 0.1)) * RATE), 0.3)
        now += rng.uniform(0.1, 0.19) + (0.28 if wide else 0.0) * rng.random()
    tail = reverb_tail(RATE, rng, 0.25)
    return add_reverb(out, tail, -18.0, RATE) + room_tone(count, RATE, rng, -72.0)


def _wail(t: Signal) -> Signal:
    """Return the phase of a wailing siren at the times it was sent, in cycles."""
    fine = np.arange(-1.0, 8.0, 0.0005)
    cycle = (fine / 2.6 + 0.2) % 1.0
    climb = np.where(cycle < 0.4, cycle / 0.4, (1 - cycle) / 0.6)
    freq = 620 * 2 ** (1.15 * (0.5 - 0.5 * np.cos(np.pi * climb)))
    return np.interp(t, fine, np.cumsum(freq) * 0.0005)


def _passing(t: Signal, side_m: float) -> tuple[Signal, Signal]:
    """Return (siren, distance) of a car passing at 24 m/s, heard ``side_m`` off its line."""
    speed, middle = 24.0, 2.3
    sent = t.copy()
    for _ in range(12):  # the time of sending solves sent + distance(sent) / c = t
        distance = np.hypot(speed * (sent - middle), side_m)
        sent = t - distance / SPEED_OF_SOUND
    phase = 2 * np.pi * _wail(sent)
    horn = [1.0, 0.55, 0.62, 0.3, 0.28, 0.15, 0.1, 0.06, 0.03]
    tone = sum(gain * np.sin((k + 1) * phase + 0.7 * k) for k, gain in enumerate(horn))
    return tone / distance, distance


def siren() -> Signal:
    """A siren driving past from left to right, stereo, with Doppler shift and street echoes."""
    rng = seeded("siren")
    t = time_axis(4.5, RATE)
    direct, distance = _passing(t, 9.0)
    echoes = [_passing(t, side)[0] for side in (26.0, 38.0)]
    along = np.sign(t - 2.3) * np.sqrt(np.clip(distance**2 - 81.0, 0, None))
    angle = (np.tanh(along / 14) + 1) * np.pi / 4
    tyres = band(colored_noise(len(t), rng, 0.6, RATE, 100.0), 150, 2500, RATE, 2) * 0.35 / distance
    tail = reverb_tail(RATE, rng, 1.1, damping=3.0)
    out = []
    for level, echo in zip((np.cos(angle), np.sin(angle)), echoes, strict=True):
        out.append(add_reverb(level * (direct + tyres) + 0.5 * echo, tail, -14.0, RATE))
    return np.stack(out, axis=1)


def _clapper(count: int, rng: Rng) -> Signal:
    """Return one person clapping: own rate, own hands, own place in the hall."""
    begin, rate_hz = 0.05 + 2.2 * rng.random() ** 1.5, rng.uniform(3.0, 5.2)
    hand, q = rng.uniform(700, 2400), rng.uniform(0.9, 1.8)
    distance = rng.uniform(1.0, 6.0)
    out = np.zeros(count)
    at = begin
    while at < count / RATE:
        t = time_axis(0.05, RATE)
        noise = rng.standard_normal(len(t)) * np.exp(-t / rng.uniform(0.004, 0.009))
        noise *= np.minimum(1, t / 0.0006)
        low, high = hand * 2 ** (-0.5 / q), min(hand * 2 ** (1.2 / q), 15000)
        clap = band(noise, low, high, RATE, 1)
        mix_at(out, clap, int(at * RATE), rng.lognormal(0, 0.25))
        at += rng.normal(1, 0.05) / rate_hz
    return band(out, None, 13000 / distance**0.5, RATE, 2) / distance


def applause() -> Signal:
    """A small audience begins to clap: single hands first, then a crowd in a hall."""
    rng = seeded("applause")
    count = round(4.3 * RATE)
    crowd = sum(_clapper(count, rng) for _ in range(45))
    tail = reverb_tail(RATE, rng, 1.2, damping=2.5)
    return add_reverb(crowd, tail, -5.0, RATE, 0.02)
