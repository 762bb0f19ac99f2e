"""Music: eight pieces through a sound font and three from our own synthesis."""

from . import midi, scores, synths
from .clip import Clip

FONT = "played by FluidSynth (LGPL-2.1, program only) with the sound font FluidR3_GM (MIT)"
OWN = "own synthesis, numpy and scipy only; own score"

CLIPS = [
    Clip(
        "music_piano_entertainer", "music", midi.RATE, scores.entertainer,
        "Solo piano, ragtime", f"Scott Joplin, The Entertainer (1902, public domain); {FONT}",
        level_db=-20.0, fade_out_s=0.4,
    ),
    Clip(
        "music_guitar_prelude", "music", midi.RATE, scores.bach_prelude,
        "Plucked nylon-string guitar, broken chords",
        f"J. S. Bach, Prelude BWV 846 (1722, public domain); {FONT}", fade_out_s=0.3,
    ),
    Clip(
        "music_strings_chorale", "music", midi.RATE, scores.string_chorale,
        "String ensemble, four-part cadence", f"own score; {FONT}",
        level_db=-24.0, fade_out_s=0.4,
    ),
    Clip(
        "music_brass_fanfare", "music", midi.RATE, scores.brass_fanfare,
        "Brass quartet, fanfare", f"own score; {FONT}", level_db=-19.0, fade_out_s=0.3,
    ),
    Clip(
        "music_winds_greensleeves", "music", midi.RATE, scores.greensleeves,
        "Wind quartet: flute, oboe, clarinet, bassoon",
        f"Greensleeves (16th century, public domain), own setting; {FONT}", fade_out_s=0.3,
    ),
    Clip(
        "music_drums_groove", "music", midi.RATE, scores.drum_solo,
        "Drum kit alone: beat, fill and crash", f"own score; {FONT}",
        level_db=-21.0, fade_out_s=0.4,
    ),
    Clip(
        "music_band_mix", "music", midi.RATE, scores.band,
        "Full band, stereo: drums, bass, electric piano, overdriven lead guitar",
        f"own score; {FONT}", level_db=-22.0, fade_out_s=0.4,
    ),
    Clip(
        "music_organ_choir", "music", midi.RATE, scores.organ_choir,
        "Sustained church organ and choir pad", f"own score; {FONT}",
        level_db=-24.0, fade_out_s=0.5,
    ),
    Clip(
        "music_glockenspiel_waltz", "music", synths.RATE, synths.glockenspiel,
        "Glockenspiel: sparse, very high, long inharmonic decays", OWN, level_db=-25.0,
        fade_out_s=0.4,
    ),
    Clip(
        "music_techno_sweep", "music", synths.RATE, synths.techno,
        "Electronic dance loop with a sweeping resonant filter", OWN, level_db=-19.0,
    ),
    Clip(
        "music_vowel_song", "music", synths.RATE, synths.vowel_song,
        "Wordless female singing voice with vibrato, in a hall", OWN, level_db=-22.0,
        fade_out_s=0.3,
    ),
]  # fmt: skip
