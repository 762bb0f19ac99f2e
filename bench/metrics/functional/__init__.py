"""The maths below the metrics: arrays in, numbers out; no files, no resampling.

Conventions: waves are float32 ``[N]``, full scale is 1.0, ``(reference, degraded)`` in that order.
"""
