"""Parts of a run join into the whole, through folders or Parquet, and unlike parts do not."""

import pandas as pd
import pytest

from bench.audio import Domain
from bench.cli import main
from bench.clips import Clip
from bench.errors import BenchError, Reason, Status, UsageError
from bench.plan import Plan, PlannedClip, PlannedCodec, coding_key
from bench.results import CodecInfo, MetricInfo, MixedFingerprintsError, Results
from bench.shards import export, merge, open_shard
from bench.store import Coding, Score, Store

CODECS = (CodecInfo("a@6kbps", "a", "neural", "fa"), CodecInfo("b@6kbps", "b", "neural", "fb"))
METRICS = (MetricInfo("stoi", "m1"), MetricInfo("wer", "m2", higher_is_better=False))


def make_run(folder, clips, *, codecs=CODECS, metrics=METRICS, fails=(), prefix="h"):
    """Write the store of a run over ``clips``; those in ``fails`` have no value."""
    plan = Plan(
        tuple(PlannedCodec(info) for info in codecs),
        tuple(PlannedClip(Clip(n, "set", Domain.SPEECH, folder / n), prefix + n) for n in clips),
        metrics,
    )
    store = Store(folder, create=True)
    store.add_plan(plan.as_dict(), {"started": "2026-01-01", "seed": 0})
    for clip in plan.clips:
        for codec in plan.codecs:
            key = coding_key(codec, clip)
            store.add([Coding(key, Status.OK, measured_kbps=6.5, payload_bytes=9, duration_s=1.0)])
            store.add(scores=[score(key, info, clip.clip.id, fails) for info in metrics])
    store.close()
    return folder


def score(key, info, clip, fails):
    if clip in fails:
        return Score(key, info.fingerprint, Status.FAILED, Reason.TIMEOUT, "too long")
    value = sum(map(ord, key.codec_fingerprint + clip + info.name)) / 7
    return Score(key, info.fingerprint, Status.OK, value=value, detail='{"words": 3}')


@pytest.fixture
def whole(tmp_path):
    return Results.load(make_run(tmp_path / "whole", ["1", "2", "3", "4"])).rows


@pytest.mark.parametrize("exported", [(), ("one",), ("one", "two")])
def test_parts_give_the_rows_of_the_whole(tmp_path, whole, exported):
    make_run(tmp_path / "one", ["1", "3"])
    make_run(tmp_path / "two", ["2", "4"])
    places = {name: str(tmp_path / name) for name in ("one", "two")}
    for name in exported:
        places[name] = f"file://{tmp_path}/parquet/{name}"
        export(tmp_path / name, places[name])
    assert merge(list(places.values()), tmp_path / "out") == (8, 16)
    joined = Results.load(tmp_path / "out").rows
    order = ["codec", "clip", "metric"]
    pd.testing.assert_frame_equal(
        whole.sort_values(order, ignore_index=True), joined.sort_values(order, ignore_index=True)
    )


def test_a_value_is_kept_before_a_failure(tmp_path):
    make_run(tmp_path / "one", ["1", "2"], fails=["2"])
    make_run(tmp_path / "two", ["1", "2"], fails=["1"])
    merge([str(tmp_path / "one"), str(tmp_path / "two")], tmp_path / "out")
    rows = Results.load(tmp_path / "out").rows
    scores = rows[rows["metric"].isin(["stoi", "wer"])]
    assert set(scores["status"]) == {"ok"}
    assert len(scores) == 8


def test_reconstructions_come_along(tmp_path):
    for name in ("one", "two"):
        audio = make_run(tmp_path / name, [name]) / "audio" / "fa" / f"{name}.flac"
        audio.parent.mkdir(parents=True)
        audio.write_text(name)
    merge([str(tmp_path / "one"), str(tmp_path / "two")], tmp_path / "out")
    found = sorted(path.read_text() for path in (tmp_path / "out" / "audio").rglob("*.flac"))
    assert found == ["one", "two"]


def test_a_codec_that_was_missing_in_one_part_is_known_by_the_other(tmp_path):
    absent = CodecInfo("b@6kbps", "b", "neural", "unavailable:b@6kbps", unavailable_reason="no b")
    make_run(tmp_path / "one", ["1"], codecs=(CODECS[0], absent))
    make_run(tmp_path / "two", ["2"])
    merge([str(tmp_path / "one"), str(tmp_path / "two")], tmp_path / "out")
    results = Results.load(tmp_path / "out")
    assert results.codecs["b@6kbps"].fingerprint == "fb"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"metrics": (METRICS[0], MetricInfo("wer", "other"))}, "wer has fingerprint m2 in"),
        ({"codecs": (CODECS[0], CodecInfo("b@6kbps", "b", "neural", "new"))}, "b@6kbps has finger"),
        ({"prefix": "changed"}, "set/1 has clip_hash h1 in"),
    ],
)
def test_unlike_parts_are_refused_in_one_line(tmp_path, changes, message, capsys):
    make_run(tmp_path / "one", ["1", "2"])
    make_run(tmp_path / "two", ["1", "3"], **changes)
    places = [str(tmp_path / "one"), str(tmp_path / "two")]
    with pytest.raises(MixedFingerprintsError, match=message):
        merge(places, tmp_path / "out")
    assert main(["merge", *places, "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert "measure one of them again" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_what_is_no_shard_is_refused(tmp_path):
    make_run(tmp_path / "one", ["1"])
    with pytest.raises(BenchError, match=r"no shard at .*absent: FileNotFoundError"):
        merge([str(tmp_path / "one"), str(tmp_path / "absent")], tmp_path / "out")
    with pytest.raises(BenchError, match="no shard at nonsense://x"):
        open_shard("nonsense://x")
    with pytest.raises(UsageError, match="holds a run already"):
        merge([str(tmp_path / "one"), str(tmp_path / "one")], tmp_path / "one")
    export(tmp_path / "one", str(tmp_path / "parquet"))
    (tmp_path / "parquet" / "scores.parquet").write_bytes(b"PAR1 nothing")
    with pytest.raises(BenchError, match=r"cannot read .*scores\.parquet"):
        merge([str(tmp_path / "one"), str(tmp_path / "parquet")], tmp_path / "out")
    with pytest.raises(BenchError, match="no results in"):
        Results.load(tmp_path / "out")


def test_a_run_is_measured_in_parts(tmp_path, capsys):
    options = ["--codecs", "passthrough", "--metrics", "si-sdr", "--limit", "1", "--no-report"]
    for part in ("1/2", "2/2"):
        place = str(tmp_path / part[0])
        assert main(["run", *options, "--shard", part, "--out", place, "--jobs", "1"]) == 0
    assert main(["export", str(tmp_path / "2"), str(tmp_path / "p")]) == 0
    out = tmp_path / "out"
    assert main(["merge", str(tmp_path / "1"), str(tmp_path / "p"), "--out", str(out)]) == 0
    assert "3 codings and 3 scores of 2 shards" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["run", "--shard", "3/2"])
