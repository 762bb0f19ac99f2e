"""Tokens kept, where it is known how many must be."""

import numpy as np
import pandas as pd
import pytest

from bench.analysis.generations import generation_rows
from bench.analysis.stability import PERTURBATIONS, Perturbation, kept, stability_rows


def shares(subject, heard, cache, quiet):
    table = pd.DataFrame(stability_rows(subject, heard, cache, quiet))
    return table.set_index(["perturbation", "amount", "stream"])["mean"]


def test_kept_is_counted_by_stream(subject):
    before = np.array([[0, 1, 2, 3], [5, 5, 5, 5]])
    after = np.array([[0, 1, 9, 9], [5, 5, 5, 6]])
    found = kept(subject("Steps"), before, after[:, :3])
    assert found == {"cb0": pytest.approx(2 / 3), "cb1": 1.0, "total": pytest.approx(5 / 6)}


def test_gain_moves_the_level_and_not_the_pitch(subject, heard, cache, quiet):
    found = shares(subject("Steps"), heard, cache, quiet)
    for gain in (6.0, -6.0):  # two steps of 3 dB
        assert found["gain", gain, "cb1"] == 1.0
        assert found["gain", gain, "cb0"] < 0.2
    assert found["noise", 40.0, "total"] >= found["noise", 30.0, "total"]
    assert found["shift", 1.0, "total"] >= found["shift", 5.0, "total"]


def test_half_a_frame_is_that_of_the_codec(subject):
    assert Perturbation("shift-half-frame", None).label(subject("Steps")) == pytest.approx(5.0)


@pytest.mark.parametrize("perturbation", PERTURBATIONS, ids=str)
def test_perturbations_are_of_their_size(perturbation, subject, heard):
    steps, wave = subject("Steps"), heard[0].audio.samples
    changed = perturbation.apply(wave, 16000, steps)
    amount = perturbation.label(steps)
    if perturbation.name.startswith("shift"):
        np.testing.assert_array_equal(changed, wave[:, round(16 * amount) :])
    elif perturbation.name == "gain":
        np.testing.assert_allclose(changed, wave * 10 ** (amount / 20), rtol=1e-6)
    else:
        error = np.mean((changed - wave) ** 2)
        assert 10 * np.log10(np.mean(wave**2) / error) == pytest.approx(amount, abs=0.2)


def test_planted_loss_shows_in_every_generation(subject, heard, cache, quiet):
    def quality_and_kept(name):
        quality, tokens = generation_rows(subject(name), heard, ["level-difference"], cache, quiet)
        level = pd.DataFrame(quality).groupby("generation")["mean"].mean()
        table = pd.DataFrame(tokens)
        return level, table[table["stream"] == "cb0"].set_index("amount")["mean"]

    fading, fading_kept = quality_and_kept("Fades")
    steady, steady_kept = quality_and_kept("Steps")
    assert fading.diff().dropna().to_numpy() == pytest.approx(-3.0, abs=0.4)
    assert abs(steady.diff().dropna().to_numpy()).max() < 0.4
    assert fading_kept[2] < 0.2
    assert steady_kept[5] > 0.8
