"""Damage: as often as asked for, at the places it claims."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.analysis import damage
from codec_zoo import create


@pytest.mark.parametrize("rate", [0.001, 0.01, 0.3])
def test_bits_flip_at_their_rate(rate):
    payload = bytes(40_000)
    flipped = damage.flip_bits(payload, rate, np.random.default_rng(0))
    ones = int(np.unpackbits(np.frombuffer(flipped, np.uint8)).sum())
    assert len(flipped) == len(payload)
    assert ones == pytest.approx(320_000 * rate, abs=5 * (320_000 * rate) ** 0.5)


def test_what_flips_at_a_low_rate_flips_at_a_higher_one():
    low, high = (
        np.frombuffer(damage.flip_bits(bytes(5000), rate, np.random.default_rng(7)), np.uint8)
        for rate in (0.001, 0.01)
    )
    assert (low & high == low).all()
    assert low.any()


@pytest.mark.parametrize(("rate", "burst"), [(0.05, None), (0.2, None), (0.1, 5.0), (0.2, 3.0)])
def test_losses_have_their_rate_and_length(rate, burst):
    mean_burst = burst or damage.independent_burst(rate)
    is_lost = damage.lost(200_000, rate, mean_burst, np.random.default_rng(0))
    assert is_lost.mean() == pytest.approx(rate, rel=0.05)
    edges = np.diff(np.concatenate([[0], is_lost.astype(int), [0]]))
    lengths = np.flatnonzero(edges == -1) - np.flatnonzero(edges == 1)
    assert lengths.mean() == pytest.approx(mean_burst, rel=0.05)


@pytest.mark.parametrize(("rate", "burst"), [(1.0, 2.0), (0.1, 0.5), (0.9, 1.0), (-0.1, 2.0)])
def test_a_channel_that_cannot_be_is_refused(rate, burst):
    with pytest.raises(ValueError, match="no channel"):
        damage.lost(10, rate, burst, np.random.default_rng(0))


@given(st.lists(st.booleans(), min_size=1, max_size=40))
def test_a_receiver_plays_the_last_that_arrived(flags):
    is_lost = np.array(flags)
    played = damage.last_received(is_lost)
    for at, chosen in enumerate(played):
        arrived = [i for i in range(len(flags)) if not flags[i]]
        if not arrived:
            assert chosen == 0
        else:
            earlier = [i for i in arrived if i <= at]
            assert chosen == (max(earlier) if earlier else arrived[0])


def test_all_codebooks_of_a_lost_moment_go_together():
    codes = np.arange(12).reshape(2, 6)
    played = damage.conceal_frames(codes, np.array([False, True, True, False, True, False]))
    assert played.tolist() == [[0, 0, 0, 3, 3, 5], [6, 6, 6, 9, 9, 11]]


def test_bands_of_a_lost_moment_repeat_their_own():
    codes = np.arange(7)[None]  # two bands a moment, and half a moment behind
    played = damage.conceal_frames(codes, np.array([False, True, False]), positions=2)
    assert played.tolist() == [[0, 1, 0, 1, 4, 5, 6]]


def test_lost_packets_of_a_real_codec_are_replaced():
    codec = create("opus@12kbps")
    rate = codec.spec.sample_rate
    wave = 0.3 * np.sin(2 * np.pi * 440 * np.arange(rate) / rate)[None].astype(np.float32)
    payload = codec.encode(wave).payload
    count = damage.packet_count(payload)
    is_lost = np.zeros(count, dtype=bool)
    assert damage.conceal_packets(payload, is_lost) == payload
    is_lost[count // 2 :] = True
    assert codec.decode(damage.conceal_packets(payload, is_lost)).shape == wave.shape
