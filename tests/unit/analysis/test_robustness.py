"""Damage that is planted shows in the right curve."""

import numpy as np
import pandas as pd
import pytest

from bench.analysis.long_audio import long_audio_rows
from bench.analysis.robustness import Damage, damaged, robustness_rows
from bench.analysis.run import robustness

METRIC = "known_codecs:EnvelopeError"
DAMAGES = (
    Damage("bit-flip", (0.001, 0.02, 0.1)),
    Damage("loss", (0.1, 0.5)),
    Damage("loss-burst", (0.1, 0.4)),
)


def curve(rows, kind):
    table = pd.DataFrame(rows)
    own = table[table["damage"].isin([kind, "none"])]
    return own.groupby("rate")["mean"].mean()


@pytest.fixture
def rows(subject, heard, cache, quiet):
    return robustness_rows(subject("Steps"), heard, [METRIC], DAMAGES, cache, quiet, 2)


@pytest.mark.parametrize("kind", ["loss", "loss-burst"])
def test_quality_falls_as_more_is_lost(rows, kind):
    values = curve(rows, kind)
    assert values.index[0] == 0.0
    assert values.notna().all()
    assert (values.diff().dropna() > 0).all(), values  # a distance: more is worse


def test_flipped_bits_cost_quality_or_the_clip_and_failures_are_typed(rows):
    table = pd.DataFrame(rows)
    flips = table[table["damage"] == "bit-flip"].set_index(["rate", "domain"])
    assert flips.loc[0.1, "decoded"].mean() < 1  # the length was hit
    lost = flips[flips["n_failed"] > 0]
    assert lost["reasons"].str.fullmatch(r"codec_error \d|length_mismatch \d").all()
    clean = table[table["damage"] == "none"]["mean"].mean()
    assert flips.loc[0.02, "mean"].dropna().min() > clean


def test_undamaged_is_the_codec_as_it_is(rows):
    clean = pd.DataFrame(rows).query("damage == 'none'")
    assert (clean["decoded"] == 1).all()
    assert (clean["n_failed"] == 0).all()


def test_frames_are_lost_together_and_the_length_is_kept(subject, heard):
    steps = subject("Steps")
    encoded = steps.codec.encode(heard[0].audio.samples)
    sent = {
        "payload": np.frombuffer(encoded.payload, np.uint8),
        "codes": encoded.codes,
        "duration_s": np.array(0.6),
    }
    payload = damaged(steps, sent, DAMAGES[1], 0.5, np.random.default_rng(0))
    codes, samples = steps.codec._unpack(payload)
    assert samples == 9600
    assert codes.shape == encoded.codes.shape
    moved = (codes != encoded.codes).any(axis=0)
    assert 0.1 < moved.mean() < 0.6


def test_a_codec_with_nothing_to_lose_is_skipped(subject, heard, cache, quiet):
    rows = robustness_rows(subject("Bare"), heard, [METRIC], DAMAGES, cache, quiet)
    table = pd.DataFrame(rows).set_index("damage")
    assert set(table.loc["loss", "status"]) == {"skipped"}
    assert table.loc["loss", "reasons"].str.contains("not_for_codec").all()
    assert set(table.loc["none", "status"]) == {"ok"}


def test_scores_are_kept(subject, heard, cache, quiet, rows):
    counted = subject("Steps").codec.encodings
    counted.clear()
    again = robustness_rows(subject("Steps"), heard, [METRIC], DAMAGES, cache, quiet, 2)
    assert counted == []
    pd.testing.assert_frame_equal(pd.DataFrame(again), pd.DataFrame(rows))


def test_a_codec_that_loses_its_place_shows_in_a_long_file(subject, heard, cache, quiet):
    def long(name):
        rows = long_audio_rows(subject(name), heard, [METRIC], cache, quiet)
        return pd.DataFrame(rows).set_index("domain").loc["speech"]

    steady, counting = long("Steps"), long("Counts")
    assert steady["tokens_kept"] == 1.0
    assert steady["difference_mean"] == pytest.approx(0, abs=1e-9)
    assert counting["tokens_kept"] < 0.9
    assert counting["difference_mean"] > 0.05


def test_clips_of_several_rates_are_not_for_a_codec_of_any_rate(heard, cache, quiet):
    from bench.analysis.subjects import subjects

    (anchor,) = subjects(["passthrough"])
    (row, _) = long_audio_rows(anchor, heard, [METRIC], cache, quiet)
    assert (row["status"], row["reasons"]) == ("skipped", "not_for_codec 1")


def test_a_wrong_metric_is_told_before_anything_is_coded(clips, tmp_path):
    from bench.errors import UsageError

    with pytest.raises(UsageError, match="did you mean stoi"):
        robustness(clips, ["known_codecs:Steps"], out=tmp_path, metrics=["stoy"])
    assert not list(tmp_path.glob("analysis"))
