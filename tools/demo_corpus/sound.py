"""General sound: twelve scenes from nature, objects and machines, numpy and scipy only."""

from . import nature, things
from .clip import Clip

OWN = "own procedural synthesis, numpy and scipy only: "

CLIPS = [
    Clip(
        "sound_rain_puddle", "sound", nature.RATE, nature.rain,
        "Steady rain, single drops and puddle bubbles: dense noise-like texture",
        OWN + "Poisson impacts, bubble model, shaped noise", level_db=-32.0, fade_out_s=0.15,
    ),
    Clip(
        "sound_wind_howl", "sound", nature.RATE, nature.wind,
        "Wind howling around a corner: tonal noise gliding in pitch",
        OWN + "noise through moving resonances", level_db=-25.0, fade_out_s=0.15,
    ),
    Clip(
        "sound_steps_gravel", "sound", things.RATE, things.footsteps,
        "Six footsteps on gravel: bursts of tiny transients with gaps",
        OWN + "stone contacts as Poisson impacts on small resonators", level_db=-25.0,
    ),
    Clip(
        "sound_impacts_kitchen", "sound", things.RATE, things.impacts,
        "Wine glass, cup, pan lid, steel bar and a bouncing coin: ringing transients",
        OWN + "modal synthesis", level_db=-27.0, fade_out_s=0.15,
    ),
    Clip(
        "sound_engine_rev", "sound", things.RATE, things.engine,
        "Four-cylinder engine, idle and two revs: harmonic, rapidly gliding",
        OWN + "firing pulses through an exhaust pipe model", level_db=-23.0, fade_out_s=0.15,
    ),
    Clip(
        "sound_birds_dawn", "sound", nature.RATE, nature.birds,
        "Blackbird, chaffinch and great tit: high gliding tones over quiet",
        OWN + "frequency-modulated calls and reverberation", level_db=-26.0, fade_out_s=0.1,
    ),
    Clip(
        "sound_clock_bell", "sound", things.RATE, things.clock,
        "Mantel clock: ticks with near silence between them, one bell stroke",
        OWN + "modal synthesis", level_db=-28.0, fade_out_s=0.15,
    ),
    Clip(
        "sound_keyboard_typing", "sound", things.RATE, things.keyboard,
        "Typing on a mechanical keyboard: irregular clicks and a pause",
        OWN + "modal synthesis", level_db=-28.0,
    ),
    Clip(
        "sound_thunder_crack", "sound", nature.RATE, nature.thunder,
        "Near thunder: a crack and a long low rumble, high crest factor",
        OWN + "N-waves along a random lightning channel", level_db=-20.0, fade_out_s=0.4,
    ),
    Clip(
        "sound_sea_waves", "sound", nature.RATE, nature.sea,
        "Waves breaking on a beach: noise of moving brightness",
        OWN + "shaped noise and bubble model", level_db=-30.0, fade_out_s=0.15,
    ),
    Clip(
        "sound_siren_passing", "sound", things.RATE, things.siren,
        "Siren driving past, stereo: strong harmonics with Doppler shift and echoes",
        OWN + "harmonic synthesis with exact propagation delay", level_db=-24.0, fade_out_s=0.2,
    ),
    Clip(
        "sound_applause_hall", "sound", things.RATE, things.applause,
        "Small audience beginning to clap in a hall: transients growing into noise",
        OWN + "forty-five clappers and reverberation", level_db=-30.0, fade_out_s=0.25,
    ),
]  # fmt: skip
