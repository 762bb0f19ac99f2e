"""Music played by FluidSynth: two public-domain tunes, the rest our own."""

from collections.abc import Sequence

from .clip import Signal
from .midi import Note, Part, drum_line, line, pitch_of, play

PIANO, ORGAN, NYLON_GUITAR, DRIVE_GUITAR, BASS, E_PIANO = 0, 19, 24, 29, 33, 4
STRINGS, CELLOS, CHOIR = 48, 42, 52
TRUMPET, TROMBONE, HORN = 56, 57, 60
OBOE, BASSOON, CLARINET, FLUTE = 68, 70, 71, 73
KICK, SNARE, CLOSED_HAT, OPEN_HAT, CRASH, RIDE = 36, 38, 42, 46, 49, 51
LOW_TOM, MID_TOM, HIGH_TOM = 45, 47, 50


def mono(signal: Signal) -> Signal:
    """Return the mean of both channels."""
    return signal.mean(axis=1)


def entertainer() -> Signal:
    """Opening strain of Scott Joplin's "The Entertainer" (1902), solo piano."""
    right = line(
        "D5*0.25 D#5*0.25 E5*0.25 E5+C6*0.5 E5*0.25 E5+C6*0.5 E5*0.25 E5+C6*1.5"
        " C5+C6*0.25 D5+D6*0.25 D#5+D#6*0.25 E5+E6*0.25 C5+C6*0.25 D5+D6*0.25 E5+E6*0.5"
        " B4+B5*0.25 D5+D6*0.5 C5+E5+C6*1",
        velocity=88,
        legato=0.85,
    )
    left = line(
        "R*0.5 C2+C3*0.5 G3+C4+E4*0.5 Bb1+Bb2*0.5 G3+C4+E4*0.5"
        " A1+A2*0.5 A3+C4+F4*0.5 Ab1+Ab2*0.5 Ab3+C4+F4*0.5"
        " G1+G2*0.5 G3+C4+E4*0.5 G1+G2*0.5 F3+G3+B3*0.5 C3+G3+C4+E4*0.5 G2*0.5 C2*1",
        velocity=70,
        legato=0.6,
    )
    return mono(play("entertainer", [Part(PIANO, right + left)], 92, 6.2))


def bach_prelude() -> Signal:
    """First bars of Bach's C major prelude (BWV 846, 1722), on a nylon-string guitar."""
    bars = [("C3", "E3", "G3", "C4", "E4"), ("C3", "D3", "A3", "D4", "F4")]
    notes = []
    for half in range(4):
        tones = bars[half // 2]
        for step, index in enumerate([0, 1, 2, 3, 4, 2, 3, 4]):
            # The two low strings ring on to the end of the half bar.
            hold = 2.0 - 0.25 * step if step < 2 else 0.45
            velocity = 92 if index == 0 else 74 + 3 * index
            notes.append(Note(2.0 * half + 0.25 * step, hold, pitch_of(tones[index]), velocity))
    return mono(play("prelude", [Part(NYLON_GUITAR, notes)], 88, 5.7, room=0.3))


def string_chorale() -> Signal:
    """Four-part cadence of our own in D minor for string ensemble."""
    voices = [
        (STRINGS, "D5*1 F5*1 E5*0.5 D5*0.5 C#5*1 D5*2.2", 28),
        (STRINGS, "A4*1 Bb4*1 A4*1 A4*0.5 G4*0.5 F#4*2.2", 52),
        (STRINGS, "F4*1 G4*1 E4*0.5 F4*0.5 E4*1 A3*2.2", 78),
        (CELLOS, "D3*1 G2*0.5 Bb2*0.5 A2*2 D2+D3*2.2", 100),
    ]
    parts = [Part(program, line(score, 84, 1.0), position) for program, score, position in voices]
    return mono(play("chorale", parts, 72, 5.0, room=0.75))


def brass_fanfare() -> Signal:
    """Fanfare of our own in B flat for two trumpets, horn and trombone."""
    scores = [
        (
            TRUMPET,
            "F4*0.5 Bb4*0.75 Bb4*0.25 Bb4*0.5 D5*0.5 F5*1.5 Eb5*0.5 D5*0.5 C5*0.5 D5*0.5"
            " Bb4*0.5 C5*0.5 F5*2.5",
        ),
        (
            TRUMPET,
            "F4*0.5 F4*0.75 F4*0.25 F4*0.5 Bb4*0.5 D5*1.5 C5*0.5 Bb4*0.5 A4*0.5 Bb4*0.5"
            " G4*0.5 A4*0.5 D5*2.5",
        ),
        (
            HORN,
            "R*0.5 D4*0.75 D4*0.25 D4*0.5 F4*0.5 Bb4*1.5 A4*0.5 F4*0.5 F4*0.5 F4*0.5 Eb4*0.5"
            " F4*0.5 Bb4*2.5",
        ),
        (TROMBONE, "R*0.5 Bb2*1 Bb2*0.5 Bb2*0.5 Bb3*1 F3*1 G3*1 Eb3*1 F3*0.5 Bb2*2.5"),
    ]
    parts = [Part(program, line(score, 102, 0.88)) for program, score in scores]
    return mono(play("fanfare", parts, 118, 5.0, room=0.6))


def greensleeves() -> Signal:
    """First phrase of "Greensleeves" (16th century), own setting for wind quartet."""
    scores = [
        (
            FLUTE,
            "A4*1 C5*2 D5*1 E5*1.5 F5*0.5 E5*1 D5*2 B4*1 G4*1.5 A4*0.5 B4*1 C5*2 A4*2",
            92,
        ),
        (OBOE, "R*1 E4*3 G4*2 G4*1 G4*2 D4*1 E4*2 D4*1 E4*4", 66),
        (
            CLARINET,
            "R*1 A3*1 E4*1 A4*1 C4*1 G4*1 C5*1 B3*1 D4*1 G4*1 E4*1 B3*1 E4*1 A3*1 E4*1 C4*2",
            66,
        ),
        (BASSOON, "R*1 A2*3 C3*3 G2*3 E2*3 A2*4", 76),
    ]
    parts = [Part(program, line(score, level, 0.97)) for program, score, level in scores]
    return mono(play("greensleeves", parts, 178, 5.7, room=0.6))


def groove(bars: Sequence[tuple[int, str]]) -> Part:
    """Return a drum kit part from rows of sixteenths."""
    notes = [note for key, pattern in bars for note in drum_line(key, pattern)]
    return Part(0, notes, drums=True, volume=115)


def drum_solo() -> Signal:
    """Drum kit alone: a syncopated beat, a fill over the toms and a last crash."""
    rows = [
        (KICK, "X..x..o...x..... X..x..x.....o... X......."),
        (SNARE, "....X..g.g..X..g ....X..gx....... ........"),
        (CLOSED_HAT, "x.o.x.o.x.o.x.o. x.o.x.o......... ........"),
        (OPEN_HAT, "..............x. ................ ........"),
        (HIGH_TOM, "................ .........xo..... ........"),
        (MID_TOM, "................ ...........xo... ........"),
        (LOW_TOM, "................ .............oxX ........"),
        (CRASH, "X............... ................ X......."),
    ]
    return mono(play("drums", [groove(rows)], 108, 5.3, room=0.3))


def band() -> Signal:
    """A whole band in E minor, stereo: drums, bass, electric piano and overdriven lead."""
    kit = groove(
        [
            (KICK, "X.....x.X..x.... X.....x.X....... X......."),
            (SNARE, "....X..g....X... ....X..g....XoxX ........"),
            (CLOSED_HAT, "x.o.x.o.x.o.x.o. x.o.x.o.x.o..... ........"),
            (CRASH, "X............... ................ X......."),
        ]
    )
    low = line(
        "E2*0.75 E2*0.25 G2*0.5 E2*0.5 A2*0.5 B2*0.5 D3*0.5 B2*0.5"
        " C2*0.75 C2*0.25 E2*0.5 G2*0.5 D2*0.5 D2*0.5 F#2*0.5 A2*0.5 E2*2",
        velocity=104,
        legato=0.8,
    )
    chords = line(
        "R*0.5 G3+B3+D4*0.5 R*0.75 G3+B3+E4*0.75 R*0.5 A3+D4+F#4*1"
        " R*0.5 G3+C4+E4*0.5 R*0.75 G3+C4+E4*0.75 A3+D4+F#4*1.5 G3+B3+E4*2",
        velocity=78,
    )
    lead = line(
        "B4*0.75 D5*0.25 E5*1 R*0.25 G5*0.25 F#5*0.25 E5*0.25 D5*0.5 B4*0.5"
        " C5*0.5 E5*0.5 G5*1 F#5*0.5 D5*0.5 A5*1 B5*2",
        velocity=96,
    )
    parts = [
        Part(BASS, low, 64, 105),
        Part(E_PIANO, chords, 20, 100),
        Part(DRIVE_GUITAR, lead, 100, 72),
        kit,
    ]
    return play("band", parts, 122, 4.7, room=0.4)


def organ_choir() -> Signal:
    """Sustained church organ under a choir pad, three chords of our own."""
    organ = line("D2+D3+A3+F#4*2 G2+D3+B3+G4*2 D2+D3+A3+F#4*2.5", 80, 1.0)
    choir = line("F#4+A4+D5*2 G4+B4+D5*1 G4+B4+E5*1 F#4+A4+D5*2.5", 84, 1.0)
    parts = [Part(ORGAN, organ, volume=84), Part(CHOIR, choir, volume=110)]
    return mono(play("organ", parts, 74, 5.1, room=0.85))
