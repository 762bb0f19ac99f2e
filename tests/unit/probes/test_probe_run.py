"""Probing from start to end with codecs of which it is known what they keep."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import bench
from bench.audio import Audio
from bench.errors import UsageError
from bench.probes.logmel import log_mel_statistics
from bench.probes.run import probe
from codec_zoo.registry import codec_class

CODECS = [f"known_codecs:{name}" for name in ("Steps", "Noise", "Silent", "Bare")]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parents[1] / "analysis"))
        out = tmp_path_factory.mktemp("probes")
        yield out, probe(["made-sound"], CODECS, out=out, seeds=1)


def accuracy(analysis):
    table = analysis.tables["probes"].fillna({"stream": ""})
    keys = ["codec", "representation", "stream", "probe"]
    return table.set_index(keys)["accuracy"].rename(lambda name: name.split(":")[-1], level=0)


@pytest.mark.parametrize("kind", ["linear", "mlp"])
def test_what_keeps_content_is_far_above_noise_and_noise_is_at_chance(finished, kind):
    found = accuracy(finished[1])
    assert found["original", "log-mel", "", kind] > 0.9
    assert found["Steps", "embedding", "all", kind] > 0.6
    assert found["Steps", "reconstruction", "", kind] > 0.4
    for view in (("reconstruction", ""), ("embedding", "all")):
        assert found["Noise", view[0], view[1], kind] < 0.3  # of 8 classes
    assert found["Steps", "features", "", kind] >= found["Steps", "embedding", "first", kind]


def test_intervals_and_chance_stand_beside(finished):
    table = finished[1].tables["probes"]
    ok = table[table["status"] == "ok"]
    assert (ok["ci_low"] <= ok["accuracy"]).all()
    assert (ok["accuracy"] <= ok["ci_high"]).all()
    assert ok["chance"].between(0.05, 0.2).all()
    assert (ok["n"] == 64).all()


def test_an_embedding_stands_beside_its_features_clip_by_clip(finished):
    table = finished[1].tables["probes"]
    told = table[(table["representation"] == "embedding") & (table["status"] == "ok")]
    assert set(told["codec"]) == {"known_codecs:Steps", "known_codecs:Noise"}
    ceilings = table[table["representation"] == "features"].set_index(["codec", "probe"])
    for row in told.to_dict("records"):
        ceiling = ceilings["accuracy"][row["codec"], row["probe"]]
        assert row["difference"] == pytest.approx(row["accuracy"] - ceiling)
        assert row["diff_low"] <= row["difference"] <= row["diff_high"]
        assert 0 < row["p_value"] <= 1
    assert table[table["representation"] != "embedding"]["difference"].isna().all()


def test_features_of_the_shipped_model_tell_more_than_its_tokens(tmp_path):
    codec = "semanticodec-mini@25tps"
    if reason := codec_class("semanticodec-mini").unavailable_reason():
        pytest.skip(reason)
    table = probe(
        ["made-voice"], [codec], out=tmp_path, representations=["embedding", "features"], seeds=1
    ).tables["probes"]
    told = table[table["probe"] == "linear"].set_index(["representation", "stream"])
    tokens = told.loc["embedding", "all"]
    assert tokens["accuracy"] > 2 * tokens["chance"]
    assert tokens["difference"] < -0.2
    assert tokens["p_value"] < 0.05
    assert told["accuracy"]["features", ""] > 0.7


def test_a_failing_codec_has_no_accuracy_but_a_reason(finished):
    table = finished[1].tables["probes"]
    silent = table[(table["codec"] == "known_codecs:Silent") & (table["probe"] == "linear")]
    assert silent["accuracy"].isna().all()
    assert set(silent["reasons"]) == {"codec_error 64"}
    assert set(silent["status"]) == {"failed"}


def test_a_codec_without_embeddings_is_probed_by_what_it_decodes(finished):
    table = finished[1].tables["probes"]
    bare = table[table["codec"] == "known_codecs:Bare"]
    assert set(bare["representation"]) == {"reconstruction"}


def test_the_folder_is_what_the_report_takes(finished):
    folder = finished[0] / "analysis" / "probes"
    assert {path.name for path in folder.iterdir()} == {
        "probes.csv", "probe_tasks.csv", "accuracy.svg", "meta.json",
    }  # fmt: skip
    written = pd.read_csv(folder / "probes.csv")
    assert {"codec", "fingerprint", "seed", "version", "n"} <= set(written)


def test_a_second_run_encodes_nothing_and_finds_the_same(finished):
    import known_codecs

    known_codecs.Steps.encodings.clear()
    again = probe(["made-sound"], CODECS[:2], out=finished[0], seeds=1)
    assert known_codecs.Steps.encodings == []
    first = finished[1].tables["probes"]
    kept = first[first["codec"].isin([*CODECS[:2], "original"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(again.tables["probes"], kept, check_dtype=False)


def test_wrong_names_are_told(tmp_path):
    with pytest.raises(UsageError, match="did you mean embedding"):
        bench.probe(["made-sound"], ["noise"], out=tmp_path, representations=["embeding"])
    with pytest.raises(UsageError, match="did you mean made-sound"):
        bench.probe(["made-sounds"], ["noise"], out=tmp_path)


def test_level_tells_nothing():
    wave = np.random.default_rng(0).normal(0, 0.1, (1, 16000)).astype(np.float32)
    loud, soft = (log_mel_statistics(Audio(gain * wave, 16000)) for gain in (1.0, 0.1))
    np.testing.assert_allclose(loud, soft, atol=1e-4)
    assert np.isfinite(log_mel_statistics(Audio(np.zeros((1, 9), np.float32), 16000))).all()
