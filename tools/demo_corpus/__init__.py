"""Recipes of the bundled demo corpus: one ``Clip`` per file, grouped by domain.

Signals are float64 arrays shaped ``[N]`` (mono) or ``[N, 2]`` (stereo), full scale is 1.0,
and every random number comes from a generator seeded by a name (``dsp.seeded``).
"""
