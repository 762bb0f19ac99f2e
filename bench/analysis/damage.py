"""Damage on the way from encoder to decoder: flipped bits, lost frames, lost packets.

What is lost is replaced as the simplest receiver does: by the last that arrived, and at the very
beginning by the first that will.
"""

import numpy as np
from numpy.typing import NDArray

from codec_zoo.base import Codes
from codec_zoo.packets import PacketStream, unpack

#: A payload of packets has at least so many; one packet cannot be lost and concealed.
FEWEST_PACKETS = 2


def flip_bits(payload: bytes, rate: float, rng: np.random.Generator) -> bytes:
    """Return a payload in which each bit was flipped with a probability of ``rate``.

    Headers are bits like any other.
    """
    flips = np.packbits(rng.random(8 * len(payload)) < rate)
    return (np.frombuffer(payload, np.uint8) ^ flips).tobytes()


def lost(count: int, rate: float, mean_burst: float, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Return which of ``count`` units are lost, ``[count]``.

    Two states (Gilbert 1960), lost and received; ``mean_burst`` 1 / (1 - rate) makes each unit's
    loss independent of the one before.

    Args:
        count: Units sent.
        rate: Share lost in the long run, in [0, 1).
        mean_burst: Mean number of units lost in a row, at least 1.
        rng: Of the draws.

    Raises:
        ValueError: If no channel has that rate with such short bursts.
    """
    if not 0 <= rate < 1 or mean_burst < 1 or rate > mean_burst / (1 + mean_burst):
        raise ValueError(f"no channel loses {rate} of its units in bursts of {mean_burst}")
    stay_lost = 1 - 1 / mean_burst
    become_lost = rate / (mean_burst * (1 - rate))
    draws = rng.random(count)
    found = np.zeros(count, dtype=bool)
    state = False
    for index, draw in enumerate(draws):
        chance = rate if index == 0 else stay_lost if state else become_lost
        state = bool(draw < chance)
        found[index] = state
    return found


def independent_burst(rate: float) -> float:
    """Return the mean burst of a channel whose losses are independent of each other."""
    return 1 / (1 - rate)


def last_received(is_lost: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return for each unit which one a receiver plays, ``[count]``; all lost: the first.

    Example:
        >>> last_received(np.array([True, False, True, True, False])).tolist()
        [1, 1, 1, 1, 4]
    """
    index = np.arange(len(is_lost))
    if is_lost.all():
        return np.zeros_like(index)
    first = int(np.argmin(is_lost))
    return np.maximum(np.maximum.accumulate(np.where(is_lost, -1, index)), first)


def conceal_frames(codes: Codes, is_lost: NDArray[np.bool_], positions: int = 1) -> Codes:
    """Return codes ``[K, T]`` with the codes of each lost moment replaced.

    Args:
        codes: All codebooks of a moment are lost together.
        is_lost: ``[T / positions]``.
        positions: Neighbours along ``T`` that stand for one moment.
    """
    count = codes.shape[1] // positions
    moments = codes[:, : count * positions].reshape(len(codes), count, positions)
    played = moments[:, last_received(is_lost)].reshape(len(codes), -1)
    return np.concatenate([played, codes[:, count * positions :]], axis=1)


def packet_count(payload: bytes) -> int:
    """Return the number of packets in a payload; it must be one of packets (CodecError)."""
    return len(unpack(payload).packets)


def conceal_packets(payload: bytes, is_lost: NDArray[np.bool_]) -> bytes:
    """Return a payload of packets with each lost packet replaced."""
    stream = unpack(payload)
    packets = tuple(stream.packets[index] for index in last_received(is_lost))
    return PacketStream(packets, stream.samples, stream.extradata).pack()
