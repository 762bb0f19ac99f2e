"""Draw spectrograms as small images that can be compared with each other.

Conventions: ``[rows, columns]``, row 0 is the highest frequency, the frequency axis is mel-spaced
from 0 Hz to a top frequency, levels are dB of power. Axes and labels are not part of the image:
the page draws them, in the reader's own colours and font.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from numpy.typing import NDArray
from PIL import Image
from scipy.fft import rfft

#: Raised when the images change, so that cached ones are drawn again.
VERSION = 1
ROWS, COLUMNS = 144, 640
RANGE_DB = 80.0
COLORMAP = "magma"
TICKS_HZ = (250, 500, 1000, 2000, 4000, 8000, 16000)
_WINDOW_S = 0.043
_FLOOR_POWER = 1e-12
_FRAMES_AT_ONCE = 1024

Grid = NDArray[np.float64]


@dataclass(frozen=True)
class Tick:
    """A label of the frequency axis.

    Attributes:
        label: For example ``4k``.
        height: From 0 (0 Hz) to 1 (the top frequency).
    """

    label: str
    height: float


def mel(hz: float | Grid) -> Grid:
    """Return mel for Hz (O'Shaughnessy's formula, as HTK has it)."""
    return 2595.0 * np.log10(1.0 + np.asarray(hz, dtype=np.float64) / 700.0)


def hertz(mels: Grid) -> Grid:
    """Return Hz for mel, the inverse of :func:`mel`."""
    return 700.0 * (10.0 ** (mels / 2595.0) - 1.0)


def axis_ticks(top_hz: float) -> list[Tick]:
    """Return the labels of a frequency axis that ends at ``top_hz``."""
    below = [hz for hz in TICKS_HZ if mel(hz) < 0.95 * mel(top_hz)]
    return [
        Tick(f"{hz // 1000}k" if hz >= 1000 else str(hz), float(mel(hz) / mel(top_hz)))
        for hz in below
    ]


def gradient() -> list[str]:
    """Return the colour scale as hex colours, from the quietest to the loudest."""
    levels = colormaps[COLORMAP](np.linspace(0, 1, 9), bytes=True)
    return [f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue, _ in levels]


def mel_spectrogram_db(mono: NDArray[np.float32], sample_rate: int, top_hz: float) -> Grid:
    """Return the spectrogram ``[ROWS, COLUMNS]`` of a mono signal ``[N]`` in dB.

    What lies above the signal's own Nyquist frequency is at the floor, about -120 dB.
    """
    size = 2 ** round(np.log2(_WINDOW_S * sample_rate))
    power = _column_power(mono, size)  # [COLUMNS, size // 2 + 1]
    rows = power @ _mel_weights(size, sample_rate, top_hz).T  # [COLUMNS, ROWS]
    return 10 * np.log10(rows.T[::-1] + _FLOOR_POWER)


def _column_power(mono: NDArray[np.float32], size: int) -> Grid:
    """Return the power spectrum of each column, the mean over enough frames to skip no sound."""
    per_column = max(1, -(-len(mono) // (COLUMNS * size // 2)))
    centres = (np.arange(COLUMNS * per_column) + 0.5) * len(mono) / (COLUMNS * per_column)
    padded = np.pad(mono, (size // 2, size))
    window = np.hanning(size) * 2 / size
    at_once = max(1, _FRAMES_AT_ONCE // per_column) * per_column
    blocks = [
        _frame_power(padded, centres[first : first + at_once], window)
        for first in range(0, len(centres), at_once)
    ]
    return np.concatenate(blocks).reshape(COLUMNS, per_column, -1).mean(axis=1)


def _frame_power(padded: NDArray[np.float32], centres: Grid, window: Grid) -> Grid:
    frames = padded[centres.astype(int)[:, None] + np.arange(len(window))]
    spectra = rfft(frames * window.astype(np.float32), axis=1)  # scipy keeps single precision
    return np.square(spectra.real) + np.square(spectra.imag)


def _mel_weights(size: int, sample_rate: int, top_hz: float) -> Grid:
    """Return triangles ``[ROWS, bins]``, mel-spaced, never narrower than one bin."""
    edges = hertz(np.linspace(0, float(mel(top_hz)), ROWS + 2))
    centre, width = edges[1:-1], np.diff(edges)
    bins = np.fft.rfftfreq(size, 1 / sample_rate)
    reach = np.maximum(width[1:], sample_rate / size)
    weights = np.maximum(0.0, 1.0 - np.abs(bins - centre[:, None]) / reach[:, None])
    return weights / np.maximum(weights.sum(axis=1, keepdims=True), 1.0)


def write_image(path: Path, levels_db: Grid, top_db: float) -> None:
    """Write a spectrogram as WebP: ``top_db`` is the brightest colour, ``RANGE_DB`` below black."""
    shares = np.clip((levels_db - top_db) / RANGE_DB + 1.0, 0.0, 1.0)
    pixels = colormaps[COLORMAP](shares, bytes=True)[:, :, :3]
    Image.fromarray(np.ascontiguousarray(pixels)).save(path, "WEBP", quality=72, method=2)
