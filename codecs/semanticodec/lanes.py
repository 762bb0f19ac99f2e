"""Lanes: threads that each run windows of their own.

On a CPU two windows in two threads finish earlier than one after the other with two threads inside
every layer: layers have parts that do not divide, and threads wait for each other after each.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from threading import Barrier
from typing import TypeVar

import torch

Part = TypeVar("Part")
Result = TypeVar("Result")


def rounds(count: int, size: int, lanes: int) -> Iterator[list[slice]]:
    """Divide ``count`` windows into rounds of equal slices that run side by side.

    A slice has at most ``size`` windows. As long as there are enough windows every lane has one;
    the few that are left over share the threads of all lanes.
    """
    start = 0
    while start < count:
        left = count - start
        length = max(1, min(size, left // lanes))
        used = min(lanes, left)
        yield [slice(start + lane * length, start + (lane + 1) * length) for lane in range(used)]
        start += used * length


def side_by_side(work: Callable[[Part], Result], parts: Sequence[Part]) -> list[Result]:
    """Return ``work`` of every part, each in a lane with its share of torch's threads.

    With fewer threads than parts, the parts run one after the other.
    """
    total = torch.get_num_threads()
    if len(parts) < 2 or total < len(parts):
        return [work(part) for part in parts]
    modes = _Modes()

    def run(part: Part) -> Result:
        with modes.entered():
            return work(part)

    return list(_pool(len(parts), total // len(parts), total, os.getpid()).map(run, parts))


class _Modes:
    """What torch keeps for each thread, as it was in the one that made this."""

    def __init__(self) -> None:
        self.inference = torch.is_inference_mode_enabled()
        self.gradients = torch.is_grad_enabled()
        self.dtype = torch.get_autocast_dtype("cpu")
        self.autocast = torch.is_autocast_enabled("cpu")

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Be in the same modes here."""
        with (
            torch.inference_mode(self.inference),
            torch.set_grad_enabled(self.gradients),
            torch.autocast("cpu", dtype=self.dtype, enabled=self.autocast),
        ):
            yield


@cache
def _pool(lanes: int, share: int, total: int, _process: int) -> ThreadPoolExecutor:
    """Return the lanes of this process; kept, since oneDNN's own caches are a thread's own."""
    started = Barrier(lanes + 1)

    def start() -> None:
        torch.get_num_threads()  # torch's first look here would undo what was set before it
        torch.set_num_threads(share)
        started.wait()

    pool = ThreadPoolExecutor(lanes, "lane", initializer=start)
    for _ in range(lanes):
        pool.submit(int)
    started.wait()
    torch.set_num_threads(total)  # threads to come take what was set last in any thread
    return pool
