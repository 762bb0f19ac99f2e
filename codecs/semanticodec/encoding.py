"""Waveform to tokens: signals are cut into windows, and windows of all signals run together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

import torch
from torch import Tensor

from semanticodec.config import SemantiCodecConfig
from semanticodec.model import SemantiCodecModel
from semanticodec.settings import Execution, autocast_dtype


class WindowCutter:
    """Cuts a stream of samples into mel windows ``[frames, mels]``.

    Windows follow each other without overlap; a window's last frames reach 15 ms into the next.
    Only the last window of a signal is padded, and never is there one of padding alone. The signal
    is mirrored at its end as far as the frames reach that begin in it: without that the last
    25 ms would have no frame, and nothing would be decoded there.
    """

    def __init__(self, model: SemantiCodecModel) -> None:
        config = model.config
        self.frontend = model.frontend
        self.frames = config.audiomae.num_frames
        self.window = config.window_samples
        self.hop = config.frontend.hop_samples
        frontend = config.frontend
        self.reach = self.window + frontend.frame_samples - frontend.hop_samples
        self.buffer = torch.zeros(0, device=model.device)

    def push(self, samples: Tensor) -> Iterator[Tensor]:
        """Take samples ``[n]``; yield the windows that are complete."""
        self.buffer = torch.cat((self.buffer, samples))
        while len(self.buffer) >= self.reach:
            yield self.frontend.features(self.buffer[None, : self.reach], self.frames)[0]
            self.buffer = self.buffer[self.window :]

    def finish(self) -> Iterator[Tensor]:
        """Yield the last windows, mirrored at the signal's end and then zero-padded."""
        beyond = -len(self.buffer) % self.hop + self.reach - self.window
        mirrored = torch.cat((self.buffer, self.buffer.flip(0)[:beyond]))
        for start in range(0, len(self.buffer), self.window):
            part = mirrored[start : start + self.reach]
            missing = max(0, self.reach - self.window + self.hop - len(part))
            padded = torch.nn.functional.pad(part, (0, missing))  # at least one frame
            yield self.frontend.features(padded[None], self.frames)[0]
        self.buffer = self.buffer[:0]


def encode_windows(
    model: SemantiCodecModel, windows: Iterable[Tensor], execution: Execution
) -> Iterator[Tensor]:
    """Yield tokens ``[T, 2]`` of mel windows, several at a time: the LSTM likes company."""
    dtype = autocast_dtype(execution.encoder_dtype, model.device)
    iterator = iter(windows)
    while batch := list(islice(iterator, execution.encoder_windows)):
        with (
            torch.inference_mode(),
            torch.autocast(model.device.type, dtype=dtype, enabled=dtype is not None),
        ):
            tokens = model.tokenize(torch.stack(batch))
        yield from tokens


def num_positions(num_samples: int, config: SemantiCodecConfig) -> int:
    """Return the token positions of a signal: whole columns, as many as it touches."""
    columns = -(-num_samples // config.column_samples)
    return columns * config.grid[1]
