"""Scores in a short text notation, written as MIDI and played by FluidSynth.

A voice is a line of tokens ``pitch*beats``: ``C4*1`` a note, ``C4+E4+G4*2`` a chord, ``R*0.5``
a rest, ``Bb3`` and ``F#5`` altered. A drum line is a string of sixteenths, see ``drum_line``.
"""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile as sf

from .clip import CorpusError, Signal
from .dsp import Rng, seeded

RATE = 44100  # Hz, the rate of the sound font's own samples
TICKS = 960  # per beat
SOUND_FONT_VARIABLE = "CODECBENCH_SOUNDFONT"
SOUND_FONT = Path("/usr/share/sounds/sf2/FluidR3_GM.sf2")  # where Debian puts it
STEPS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
HITS = {"X": 122, "x": 100, "o": 72, "g": 38}  # drum strokes and their velocities
DRUM_CHANNEL = 9


@dataclass(frozen=True)
class Note:
    """One note: times in beats, MIDI pitch (60 is middle C) and velocity."""

    start: float
    beats: float
    pitch: int
    velocity: int


@dataclass(frozen=True)
class Part:
    """An instrument with its notes."""

    program: int  # General MIDI program, from 0
    notes: Sequence[Note]
    position: int = 64  # 0 left, 127 right
    volume: int = 100
    drums: bool = False


def pitch_of(name: str) -> int:
    """Return the MIDI number of a name such as ``"F#5"``.

    Example:
        >>> pitch_of("C4"), pitch_of("Bb3")
        (60, 58)
    """
    match = re.fullmatch(r"([A-G])([#b]?)(\d)", name)
    if match is None:
        raise ValueError(f"expected a pitch such as F#5, got {name!r}")
    letter, accidental, octave = match.groups()
    return 12 * (int(octave) + 1) + STEPS[letter] + {"#": 1, "b": -1, "": 0}[accidental]


def line(score: str, velocity: int = 90, legato: float = 0.95, start: float = 0.0) -> list[Note]:
    """Read one voice; each note sounds for ``legato`` of its written length."""
    notes, now = [], start
    for token in score.split():
        names, beats = token.split("*")
        if names != "R":
            for name in names.split("+"):
                notes.append(Note(now, float(beats) * legato, pitch_of(name), velocity))
        now += float(beats)
    return notes


def drum_line(key: int, pattern: str) -> list[Note]:
    """Read a row of sixteenths, ``.`` for a rest and the signs of ``HITS`` for strokes."""
    strokes = enumerate(pattern.replace(" ", ""))
    return [Note(0.25 * i, 0.2, key, HITS[sign]) for i, sign in strokes if sign in HITS]


def humanised(note: Note, rng: Rng, beats: float = 0.012) -> Note:
    """Return the note a little early or late and a little softer or louder."""
    start = max(0.0, note.start + beats * rng.standard_normal())
    velocity = int(np.clip(note.velocity + 4 * rng.standard_normal(), 1, 127))
    return Note(start, note.beats, note.pitch, velocity)


def _variable_length(value: int) -> bytes:
    out = [value & 0x7F]
    while value := value >> 7:
        out.append(value & 0x7F | 0x80)
    return bytes(reversed(out))


def _events(parts: Sequence[Part], rng: Rng) -> list[tuple[int, int, bytes]]:
    """Return (tick, order, message); at one tick set-up comes first, then note ends."""
    events = []
    for index, part in enumerate(parts):
        channel = DRUM_CHANNEL if part.drums else index
        assert part.drums or index != DRUM_CHANNEL
        setup = [(0xC0, part.program), (0xB0, 7, part.volume), (0xB0, 10, part.position)]
        events += [(0, 0, bytes([kind | channel, *values])) for kind, *values in setup]
        for note in part.notes:
            played = humanised(note, rng)
            begin = round(played.start * TICKS)
            end = max(begin + 1, round((played.start + played.beats) * TICKS))
            events.append((begin, 2, bytes([0x90 | channel, played.pitch, played.velocity])))
            events.append((end, 1, bytes([0x80 | channel, played.pitch, 0])))
    return sorted(events)


def midi_bytes(parts: Sequence[Part], tempo_bpm: float, name: str) -> bytes:
    """Return a format-0 Standard MIDI File; ``name`` seeds the players' liberties."""
    tempo = round(60e6 / tempo_bpm).to_bytes(3, "big")
    track = b"\x00\xff\x51\x03" + tempo
    now = 0
    for tick, _, message in _events(parts, seeded(name)):
        track += _variable_length(tick - now) + message
        now = tick
    track += b"\x00\xff\x2f\x00"
    header = b"MThd" + (6).to_bytes(4, "big") + bytes([0, 0, 0, 1]) + TICKS.to_bytes(2, "big")
    return header + b"MTrk" + len(track).to_bytes(4, "big") + track


def sound_font() -> Path:
    """Return the sound font's path, or raise ``CorpusError`` that says how to get it."""
    path = Path(os.environ.get(SOUND_FONT_VARIABLE, SOUND_FONT))
    if not path.is_file():
        raise CorpusError(
            f"music needs FluidR3_GM.sf2, not found at {path}; install it with:"
            f" apt-get install fluid-soundfont-gm, or set {SOUND_FONT_VARIABLE} to its path"
        )
    return path


def _fluidsynth(midi: Path, wav: Path, room: float) -> None:
    program = shutil.which("fluidsynth")
    if program is None:
        raise CorpusError(
            "music needs the program fluidsynth; install it with: apt-get install fluidsynth"
        )
    settings = {
        "synth.cpu-cores": 1,
        "synth.gain": 0.3,
        "synth.reverb.room-size": room,
        "synth.reverb.damp": 0.3,
        "synth.reverb.level": 0.5,
        "synth.chorus.active": 0,
    }
    options = [text for key, value in settings.items() for text in ("-o", f"{key}={value}")]
    target = ["-T", "wav", "-O", "float", "-r", str(RATE), "-F", str(wav)]
    command = [program, "-q", "-n", "-i", *options, *target, str(sound_font()), str(midi)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0 or not wav.exists():
        raise CorpusError(f"fluidsynth failed: {done.stderr.strip()}")


def play(
    name: str, parts: Sequence[Part], tempo_bpm: float, duration_s: float, room: float = 0.5
) -> Signal:
    """Return the stereo rendering ``[N, 2]`` of a score at ``RATE``, cut to ``duration_s``."""
    with tempfile.TemporaryDirectory() as folder:
        midi, wav = Path(folder) / "score.mid", Path(folder) / "score.wav"
        midi.write_bytes(midi_bytes(parts, tempo_bpm, name))
        _fluidsynth(midi, wav, room)
        signal, _ = sf.read(wav, always_2d=True)
    wanted = round(duration_s * RATE)
    return np.pad(signal, ((0, max(0, wanted - len(signal))), (0, 0)))[:wanted]
