from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from semanticodec.training import data
from semanticodec.training.settings import CONFIGS


def clip(index: int, group: str, domain: str = "speech", source: str = "books") -> data.Clip:
    return data.Clip(f"{domain}/{index}.wav", domain, source, group, "CC0", 0, 48000)


def test_the_split_keeps_groups_together_in_every_source():
    clips = [clip(i, f"speaker{i % 20}") for i in range(200)]
    clips += [clip(i, f"piece{i % 7}", "music", "songs") for i in range(70)]
    done = data.split_clips(clips)
    sides = {}
    for item in done:
        sides.setdefault(item.group, set()).add(item.split)
    assert all(len(own) == 1 for own in sides.values())
    for source in ("books", "songs"):
        share = np.mean([c.split == "validation" for c in done if c.source == source])
        assert 0.08 < share < 0.2


def test_a_speaker_who_is_held_out_in_one_source_is_held_out_in_all():
    row = {"domain": "speech", "source": "a"}
    first = data._group({**row, "speaker_or_class": "vctk-p226"})
    other = data._group({**row, "source": "b", "speaker_or_class": "demo-vctk-p226-x"})
    assert first == other


def test_whole_sources_are_held_out_and_a_single_group_is_not():
    clips = [clip(i, "libri-1", source="librispeech-test-other") for i in range(3)]
    clips += [clip(i, "allison", source="prompts") for i in range(9)]
    splits = {c.source: c.split for c in data.split_clips(clips)}
    assert splits == {"librispeech-test-other": "validation", "prompts": "train"}


def test_the_split_does_not_change_when_another_source_comes():
    clips = [clip(i, f"speaker{i % 20}") for i in range(200)]
    before = {c.path: c.split for c in data.split_clips(clips)}
    more = [clip(i, f"x{i}", "music", "songs") for i in range(30)]
    after = {c.path: c.split for c in data.split_clips(clips + more)}
    assert all(after[path] == split for path, split in before.items())


def test_the_manifest_leaves_out_licences(tmp_path):
    path = tmp_path / "manifest.csv"
    path.write_text(
        "path,domain,source,licence,speaker_or_class\n"
        "a.wav,music,s,GPL-2+,x\nb.wav,music,s,CC0,x\n",
        encoding="utf-8",
    )
    assert [c.path for c in data.read_manifest(path, "GPL")] == ["b.wav"]


def test_the_cache_holds_any_rate_as_16_khz_mono(tmp_path):
    wave = np.stack([np.full(4800, 0.5), np.full(4800, 0.1)], 1)
    soundfile.write(tmp_path / "a.wav", wave, 48000)
    samples = data.decode(tmp_path / "a.wav")
    assert samples.shape == (1600,)
    assert abs(samples[800] / 32767 - 0.3) < 0.01


def test_an_unreadable_file_is_left_out(tmp_path, caplog):
    (tmp_path / "bad.wav").write_bytes(b"nothing")
    soundfile.write(tmp_path / "good.wav", np.zeros(1600), 16000)
    data.build_cache(tmp_path, data.read_folder(tmp_path), tmp_path / "cache")
    assert [c.path for c in data.AudioCache(tmp_path / "cache").clips] == ["good.wav"]


def test_no_cache_says_how_to_make_one(tmp_path):
    with pytest.raises(FileNotFoundError, match="train data"):
        data.AudioCache(tmp_path)


def order(cache, seed: int = 0) -> data.SegmentOrder:
    weights = {"speech": 0.5, "music": 0.25, "general": 0.25}
    return data.SegmentOrder(cache.split("train"), 8000, weights, (-6.0, 0.0), seed)


def test_an_epoch_has_the_domains_in_their_shares_and_every_segment_equally_often(cache):
    own = order(cache)
    epoch = own._epoch(0)
    shares = Counter(c.domain for c, _ in epoch)
    assert shares["speech"] == pytest.approx(0.5 * own.epoch_length, abs=1)
    for domain in shares:
        counts = Counter((c.path, start) for c, start in epoch if c.domain == domain)
        assert max(counts.values()) - min(counts.values()) <= 1


def test_the_order_is_a_function_of_the_number(cache):
    first = [order(cache)[n] for n in range(50)]
    again = order(cache)
    resumed = [again[n] for n in range(20, 50)]  # in the middle of an epoch
    assert resumed == first[20:]
    assert [order(cache, seed=1)[n] for n in range(50)] != first


def test_processes_share_a_batch_without_overlap(cache):
    alone = data.BatchReader(cache, order(cache), 4).batch(3)
    parts = [data.BatchReader(cache, order(cache), 2, rank, 2).batch(3) for rank in (0, 1)]
    assert np.array_equal(np.concatenate(parts), alone)


def test_validation_segments_are_never_of_the_training_side(cache):
    paths = {c.path for c in cache.split("train")}
    assert paths.isdisjoint(c.path for c in cache.split("validation"))
    assert data.validation_waves(cache, 4000, 2).shape == (3, 4000)


def test_the_split_of_the_small_model_is_the_recorded_one():
    root = Path(__file__).parents[4] / "shared" / "corpus"
    if not (root / "manifest.csv").is_file():
        pytest.skip("the training corpus is not beside the project")
    clips = data.split_clips(data.read_manifest(root / "manifest.csv", "GPL|GFDL"))
    recorded = (CONFIGS / "mini" / "validation.txt").read_text(encoding="utf-8").split("\n")[:-1]
    assert sorted(c.path for c in clips if c.split == "validation") == recorded
