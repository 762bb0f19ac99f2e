"""The catalog's validation, and how clips are named, hashed and chosen."""

import random
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from bench.audio import Domain
from bench.clips import Clip
from bench.datasets import Catalog, folder_dataset, load_catalog, select, with_options
from bench.errors import DatasetError, MeasureError, Reason, UsageError
from bench.loaders import Esc50
from bench.schema import MAX_YAML_BYTES

ENTRY = "mine:\n  title: T\n  license: CC0-1.0\n  loader: folder\n"
SOURCE = (
    ENTRY
    + "  sources:\n    - url: https://example.org/a.zip\n      checksum_source: the publisher\n"
)


def catalog_of(tmp_path: Path, text: str) -> Catalog:
    path = tmp_path / "datasets.yaml"
    path.write_text(text)
    return load_catalog(path)


def write_audio(path: Path, seconds: float = 0.1, level: float = 0.5) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.full(int(8000 * seconds), level, np.float32), 8000)
    return path


# --- our own catalog -----------------------------------------------------------------------------


def test_own_catalog_has_what_the_benchmark_promises():
    assert set(load_catalog()) == {
        "demo",
        "librispeech-test-clean",
        "libritts-test-clean",
        "musdb18-7s",
        "musdb18",
        "esc50",
        "audioset-eval",
        "semanticodec-eval",
        "semanticodec-samples",
        "codec-superb-tiny",
        "lyra-weights",
    }


@pytest.mark.parametrize("name", load_catalog())
def test_own_entries_say_where_they_come_from(name):
    dataset = load_catalog()[name]
    assert dataset.title
    assert dataset.license
    assert dataset.sources or dataset.supply or dataset.bundled
    assert dataset.bundled or dataset.homepage


def test_every_entry_is_documented():
    text = (Path(__file__).parents[2] / "docs/datasets.md").read_text()
    assert [name for name in load_catalog() if f"| `{name}` |" not in text] == []


def test_demo_is_whole():
    clips = load_catalog()["demo"].clips()
    assert {clip.domain for clip in clips} == set(Domain)
    assert all(clip.path.is_file() for clip in clips)
    assert all(clip.text for clip in clips if clip.domain is Domain.SPEECH)
    assert all(clip.duration_s is None for clip in clips)


def test_weights_are_no_clips(tmp_path):
    with pytest.raises(UsageError, match="lyra-weights holds no clips"):
        load_catalog()["lyra-weights"].clips(tmp_path)


# --- validation ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (ENTRY.replace("license", "licence"), r"mine: unknown key 'licence'; did you mean license"),
        (
            ENTRY.replace("folder", "foldr"),
            r"mine\.loader: unknown loader 'foldr'; did you mean fol",
        ),
        (ENTRY.replace("  loader: folder\n", ""), "the key 'loader' is missing"),
        (ENTRY.replace("  title: T\n", ""), "the key 'title' is missing"),
        (
            ENTRY.replace("title: T", "title: 3"),
            r"mine\.title: expected text, got int 3; put it in q",
        ),
        (
            ENTRY + "  language: no\n",
            r"mine\.language: expected text, got bool False; put it in quo",
        ),
        (
            ENTRY + "  sample_rate: 16k\n",
            r"mine\.sample_rate: expected a whole number, got str '16k",
        ),
        (ENTRY + "  sample_rate: true\n", r"sample_rate: expected a whole number, got bool True"),
        (ENTRY + "  sample_rate: 16\n", "expected a sample_rate in Hz, got 16"),
        (
            ENTRY + "  domain: speach\n",
            r"mine\.domain: unknown domain 'speach'; did you mean speech",
        ),
        (ENTRY + "  options: {pattern: x}\n", r"mine\.options: unknown key 'pattern'"),
        (ENTRY + "  options: {domain_by_prefix: [a]}\n", "domain_by_prefix: expected a mapping"),
        (
            ENTRY + "  options: {domain_by_prefix: {a_: b}}\n",
            r"domain_by_prefix\.a_: unknown domain",
        ),
        (
            ENTRY + "  options: 3\n",
            r"mine\.options: expected a mapping of names to values, got int",
        ),
        (ENTRY + "  root: a/../../b\n", r"expected a root without '\.\.'"),
        (ENTRY + "  sources: x\n", r"mine\.sources: expected a list, got str 'x'"),
        (ENTRY + "  title: U\n", "line 5: expected a plain key, once; got 'title'"),
        (ENTRY + ENTRY, "line 5: expected a plain key, once; got 'mine'"),
        (ENTRY.replace("mine", "Mine Own"), "expected a name of lower-case letters"),
        (ENTRY.replace("mine", "'..'"), "expected a name of lower-case letters"),
        ("mine: 3\n", "expected a mapping, got int"),
        ("- mine\n", "expected a mapping of names to values, got list"),
        ("1: {}\n", "expected a name as key, got int 1"),
        ("mine: {a: [\n", "line 2: "),
        ("mine: !!python/object/apply:os.system ['true']\n", "could not determine a constructor"),
        ("mine: &a [1]\nyours: *a\n", "line 2: aliases are refused"),
        ("mine: " + "[" * 50 + "]" * 50, "nested deeper than 20 levels"),
        ("{[1]: 2}", "expected a plain key, once"),
        ("mine: 2001-99-99\n", "is not YAML: month must be"),
    ],
)
def test_a_faulty_file_is_refused(tmp_path, text, message):
    with pytest.raises(DatasetError, match=message) as error:
        catalog_of(tmp_path, text)
    assert "datasets.yaml" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("", "expected sha256 or md5, or 'checksum: unverified'"),
        (f"sha256: {'A' * 64}", "expected 64 lower-case hexadecimal digits as sha256"),
        ("md5: abc", "expected 32 lower-case hexadecimal digits as md5"),
        (f"sha256: {'a' * 64}, checksum: unverified", "expected sha256 or md5, or"),
        ("checksum: trust-me", "expected sha256 or md5, or"),
        (f"sha256: {'a' * 64}, size_bytes: 0", "expected a size_bytes above 0"),
        ("checksum: unverified, file: ../x.zip", "expected a plain file name"),
        ("checksum: unverified, file: ..", "expected a plain file name"),
    ],
)
def test_a_faulty_source_is_refused(tmp_path, lines, message):
    text = f"{ENTRY}  sources: [{{url: 'https://a.org/x.zip', checksum_source: me, {lines}}}]\n"
    with pytest.raises(DatasetError, match=message):
        catalog_of(tmp_path, text)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("file:///etc/passwd", r"expected an http\(s\) URL"),
        ("ftp://a.org/x.zip", r"expected an http\(s\) URL"),
        ("https:///x.zip", r"expected an http\(s\) URL"),
        ("http://a.org/x.zip", "expected https where no checksum is known"),
        ("https://a.org/", "expected a plain file name, got ''"),
        ("https://a.org/a%2Fb.zip", "expected a plain file name"),
    ],
)
def test_a_faulty_url_is_refused(tmp_path, url, message):
    text = f"{ENTRY}  sources: [{{url: '{url}', checksum: unverified}}]\n"
    with pytest.raises(DatasetError, match=message):
        catalog_of(tmp_path, text)


@pytest.mark.parametrize("root", ["/tmp/elsewhere", "yours/audio"])
def test_downloads_stay_in_the_folder_of_their_dataset(tmp_path, root):
    text = f"{SOURCE}      md5: {'a' * 32}\n  root: {root}\n"
    with pytest.raises(DatasetError, match="expected a root inside the folder 'mine'"):
        catalog_of(tmp_path, text)


def test_a_checksum_needs_a_witness(tmp_path):
    text = SOURCE.replace("      checksum_source: the publisher\n", f"      md5: {'a' * 32}\n")
    with pytest.raises(DatasetError, match="expected checksum_source"):
        catalog_of(tmp_path, text)


def test_a_large_file_is_refused(tmp_path):
    with pytest.raises(DatasetError, match="is larger than"):
        catalog_of(tmp_path, "#" * (MAX_YAML_BYTES + 1))


def test_a_missing_or_binary_file_is_one_line(tmp_path):
    with pytest.raises(DatasetError, match=r"cannot read .*nowhere\.yaml: No such file"):
        load_catalog(tmp_path / "nowhere.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DatasetError, match="is not UTF-8"):
        load_catalog(tmp_path / "binary.yaml")


@given(st.binary(max_size=60) | st.text("a:{}[]-&*!'\" \n1,", max_size=60).map(str.encode))
def test_rubbish_never_escapes_as_another_error(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("yaml") / "datasets.yaml"
    path.write_bytes(data)
    with suppress(DatasetError):
        load_catalog(path)


# --- names and paths -----------------------------------------------------------------------------


def test_unknown_name_lists_the_nearest():
    with pytest.raises(UsageError, match="unknown dataset 'esc5'; did you mean esc50"):
        load_catalog()["esc5"]


def test_own_file_adds_names_and_overrides_none(tmp_path):
    extra = tmp_path / "my.yaml"
    extra.write_text(ENTRY)
    assert {"demo", "mine"} <= set(load_catalog(extra=extra))
    extra.write_text(ENTRY.replace("mine", "demo"))
    with pytest.raises(DatasetError, match="the dataset 'demo' is defined twice; rename yours"):
        load_catalog(extra=extra)


def test_the_data_folder_is_an_argument_or_a_variable(tmp_path, monkeypatch):
    write_audio(tmp_path / "mine/speech/a.wav")
    mine = catalog_of(tmp_path, ENTRY)["mine"]
    assert [clip.id for clip in mine.clips(tmp_path)] == ["speech/a"]
    monkeypatch.setenv("CODECBENCH_DATA", str(tmp_path))
    assert mine.clips() == mine.clips(tmp_path)


def test_what_is_not_there_says_how_to_get_it(tmp_path):
    with pytest.raises(DatasetError, match=r"esc50 is not at .*run_bench.py fetch esc50"):
        load_catalog()["esc50"].clips(tmp_path)
    with pytest.raises(DatasetError, match=r"audioset-eval is not at .*Put the 10 s segments"):
        load_catalog()["audioset-eval"].clips(tmp_path)
    (tmp_path / "mine").mkdir()
    with pytest.raises(DatasetError, match=r"mine: no clips in .*expected a folder that holds au"):
        catalog_of(tmp_path, ENTRY)["mine"].clips(tmp_path)


def test_find_takes_names_folders_and_manifests(tmp_path):
    catalog = load_catalog()
    write_audio(tmp_path / "own.v2/a.wav")
    (tmp_path / "own.csv").write_text("path\nown.v2/a.wav\n")
    assert catalog.find("demo") is catalog["demo"]
    assert catalog.find(str(tmp_path / "own.v2"), Domain.MUSIC).clips()[0].dataset == "own.v2"
    assert catalog.find(str(tmp_path / "own.csv"), Domain.MUSIC).clips()[0].dataset == "own"
    with pytest.raises(UsageError, match="no folder and no manifest at"):
        catalog.find(str(tmp_path / "nowhere"))
    with pytest.raises(UsageError, match="unknown dataset 'dem'; did you mean demo"):
        catalog.find("dem")
    with pytest.raises(UsageError, match="no folder and no manifest at"):
        folder_dataset(tmp_path / "nowhere")


def test_options_can_be_changed():
    dataset = with_options(load_catalog()["esc50"], folds=(1,))
    assert dataset.loader == Esc50(folds=(1,))
    with pytest.raises(UsageError, match="has no options"):
        with_options(load_catalog()["lyra-weights"], folds=(1,))


# --- clips ---------------------------------------------------------------------------------------


def clip(clip_id: str = "a", domain: Domain = Domain.SPEECH, **fields) -> Clip:
    return Clip(clip_id, "set", domain, Path(fields.pop("path", "a.wav")), **fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"clip_id": ""}, "id of 0 characters"),
        ({"clip_id": "a" * 201}, "id of 201 characters"),
        ({"clip_id": "../a"}, "no plain relative path"),
        ({"clip_id": "/a"}, "no plain relative path"),
        ({"clip_id": "a//b"}, "no plain relative path"),
        ({"clip_id": "a\\b"}, "no plain relative path"),
        ({"clip_id": "a\nb"}, "unprintable characters"),
        ({"clip_id": " a"}, "blanks around it"),
        ({"start_s": -1.0}, "starts at -1.0 s"),
        ({"start_s": float("nan")}, "starts at nan s"),
        ({"duration_s": 0.0}, "lasts 0.0 s"),
        ({"duration_s": float("inf")}, "lasts inf s"),
        ({"stream": -1}, "is in stream -1"),
    ],
)
def test_a_faulty_clip_is_refused(fields, message):
    with pytest.raises(DatasetError, match=message):
        clip(**fields)


def test_hash_covers_what_scores_depend_on_and_nothing_else(tmp_path):
    one = write_audio(tmp_path / "one.wav")
    same = write_audio(tmp_path / "elsewhere/same.wav")
    other = write_audio(tmp_path / "other.wav", level=0.4)
    base = clip(path=one)
    assert base.content_hash() == clip("b", path=same, label="x", speaker="y").content_hash()
    different = [
        clip(path=other),
        clip(path=one, text="hello"),
        clip(path=one, text=""),
        clip(path=one, start_s=1.0),
        clip(path=one, duration_s=1.0),
        clip(path=one, stream=1),
        clip(path=one, domain=Domain.MUSIC),
    ]
    assert len({base.content_hash(), *(each.content_hash() for each in different)}) == 8


def test_hash_notices_a_changed_file(tmp_path):
    path = write_audio(tmp_path / "a.wav")
    before = clip(path=path).content_hash()
    write_audio(path, level=0.3)
    assert clip(path=path).content_hash() != before


def test_whole_seconds_hash_like_numbers_read_from_a_table():
    assert clip(start_s=1).content_hash() == clip(start_s=1.0).content_hash()


def test_a_missing_file_has_a_stable_hash_and_fails_when_read(tmp_path):
    missing = clip(path=tmp_path / "missing.wav")
    assert missing.content_hash() == missing.content_hash()
    assert missing.content_hash() != clip(path=tmp_path / "gone.wav").content_hash()
    with pytest.raises(MeasureError) as error:
        missing.read()
    assert error.value.reason is Reason.MISSING_FILE
    assert clip(path=tmp_path).content_hash()  # a folder


def test_read_gives_the_segment(tmp_path):
    path = write_audio(tmp_path / "a.wav", seconds=1.0)
    assert clip(path=path, start_s=0.25, duration_s=0.5).read().samples.shape == (1, 4000)


# --- selection -----------------------------------------------------------------------------------


def clips_of(count: int) -> list[Clip]:
    domains = list(Domain)
    return [clip(f"c{i:03}", domains[i % 3]) for i in range(count)]


def test_selection_ignores_the_order_of_files():
    clips = clips_of(60)
    shuffled = clips.copy()
    random.Random(1).shuffle(shuffled)
    assert select(clips, limit=4) == select(shuffled, limit=4)


def test_limit_is_per_domain_and_small_ones_are_parts_of_large_ones():
    clips = clips_of(60)
    five, ten = select(clips, limit=5), select(clips, limit=10)
    assert len(five) == 15
    assert set(five) < set(ten)
    assert five == sorted(five, key=lambda each: each.id)
    assert select(clips, limit=999) == sorted(clips, key=lambda each: each.id)


def test_seed_chooses_others_and_no_limit_keeps_all():
    clips = clips_of(60)
    assert select(clips, limit=5, seed=1) != select(clips, limit=5, seed=2)
    assert select(clips, seed=1) == select(clips, seed=2)


def test_one_domain_is_chosen_as_among_all():
    clips = clips_of(60)
    speech = select(clips, limit=5, domains=["speech"])
    assert speech == [each for each in select(clips, limit=5) if each.domain is Domain.SPEECH]


def test_faulty_selections_are_refused():
    with pytest.raises(UsageError, match="expected a limit of 1 clip or more, got 0"):
        select([], limit=0)
    with pytest.raises(UsageError, match="unknown domain 'musik'; did you mean music"):
        select([], domains=["musik"])
