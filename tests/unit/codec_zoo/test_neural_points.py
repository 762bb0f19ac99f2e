"""What neural codecs say of themselves without weights: points, bitrates, and why they are missing.

The published figures: EnCodec, arXiv 2210.13438 (and MusicGen, 2306.05284, for 32 kHz); DAC's
README; Mimi, 2410.00037, table 1; X-Codec, 2408.17175; X-Codec 2, 2502.04128; NeuCodec, 2509.09550;
WavTokenizer, 2408.16532, table 1; SNAC's README.
"""

import subprocess
import sys

import pytest

from codec_zoo import CodecUnavailableError, create, huggingface
from codec_zoo.base import CodecError
from codec_zoo.conformance import ids_to_check
from codec_zoo.huggingface import HubModel
from codec_zoo.neural import NeuralCodec
from codec_zoo.registry import BUILTIN, codec_class, default_ids
from codec_zoo.small_models import MODELS

# Codec id -> published kbps, decimals of the publication, tokens per second.
PUBLISHED = {
    "encodec-24khz@1.5kbps": (1.5, 6, 150),
    "encodec-24khz@3kbps": (3, 6, 300),
    "encodec-24khz@6kbps": (6, 6, 600),
    "encodec-24khz@12kbps": (12, 6, 1200),
    "encodec-24khz@24kbps": (24, 6, 2400),
    "encodec-48khz@3kbps": (3, 6, 300),
    "encodec-48khz@6kbps": (6, 6, 600),
    "encodec-48khz@12kbps": (12, 6, 1200),
    "encodec-48khz@24kbps": (24, 6, 2400),
    "encodec-32khz@2.2kbps": (2.2, 6, 200),
    "dac-16khz@12cb": (6, 6, 600),
    "dac-24khz@32cb": (24, 6, 2400),
    "dac-44khz@9cb": (7.75, 2, 775.1953125),  # "8 kbps" by its name
    "mimi@8cb": (1.1, 6, 100),
    "mimi@32cb": (4.4, 6, 400),
    "xcodec@0.5kbps": (0.5, 6, 50),
    "xcodec@1kbps": (1, 6, 100),
    "xcodec@1.5kbps": (1.5, 6, 150),
    "xcodec@2kbps": (2, 6, 200),
    "xcodec@4kbps": (4, 6, 400),
    "xcodec2": (0.8, 6, 50),
    "neucodec": (0.8, 6, 50),
    "wavtokenizer": (0.48, 6, 40),
    "snac-24khz": (0.98, 2, 82.03125),
    "snac-32khz": (1.9, 1, 156.25),
    "snac-44khz": (2.6, 1, 215.33203125),
}
NEURAL = [family for family in MODELS if family in BUILTIN]
#: No commit of their weights is known to us: they run from a folder only.
FROM_A_FOLDER_ONLY = {"neucodec", "wavtokenizer"}


@pytest.fixture(autouse=True)
def weights_at_hand(monkeypatch, request):
    """Let codecs be built: their constructor and spec need no weights."""
    if "real_weights" not in request.fixturenames:
        monkeypatch.setattr(HubModel, "missing_reason", lambda _: None)
        monkeypatch.setattr("codec_zoo.neural.missing_package", lambda _: None)
        monkeypatch.setattr("codec_zoo.neural.version", lambda _: "0")


@pytest.fixture
def real_weights():
    cached = huggingface.hub_answers
    cached.cache_clear()
    yield
    cached.cache_clear()


@pytest.mark.parametrize("codec_id", PUBLISHED)
def test_nominal_bitrate_is_the_published_one(codec_id):
    kbps, decimals, tokens = PUBLISHED[codec_id]
    spec = create(codec_id).spec
    assert round(spec.nominal_kbps, decimals) == kbps
    assert spec.token_rate == tokens
    assert spec.codec_id == codec_id


#: Family -> codebooks, bits of a code, frames per second, all published.
BY_CODEBOOKS = {
    "dac-16khz": (12, 10, 50),
    "dac-24khz": (32, 10, 75),
    "dac-44khz": (9, 10, 44100 / 512),
    "mimi": (32, 11, 12.5),
}


def test_every_point_has_a_published_bitrate():
    points = {codec_id for family in NEURAL for codec_id in default_ids(family)}
    assert {name for name in points - set(PUBLISHED) if name.split("@")[0] not in BY_CODEBOOKS} == (
        set()
    )


@pytest.mark.parametrize("family", BY_CODEBOOKS)
def test_every_number_of_codebooks(family):
    most, bits, frame_rate = BY_CODEBOOKS[family]
    for count in range(1, most + 1):
        spec = create(f"{family}@{count}cb").spec
        assert spec.nominal_kbps == pytest.approx(count * bits * frame_rate / 1000)
        assert len(spec.codebook_sizes) == count


def test_every_usual_point_is_ordered_and_known():
    for family in NEURAL:
        rates = [create(codec_id).spec.nominal_kbps for codec_id in default_ids(family)]
        assert rates == sorted(set(rates))


@pytest.mark.parametrize(
    ("codec_id", "message"),
    [
        ("encodec-24khz", "takes a point in kbps, got no point"),
        ("encodec-24khz@4kbps", "takes 1.5kbps, 3kbps, 6kbps, 12kbps, 24kbps, got '4kbps'"),
        ("encodec-48khz@1.5kbps", "takes 3kbps, 6kbps, 12kbps, 24kbps"),
        ("dac-44khz@10cb", "takes 1cb to 9cb"),
        ("dac-44khz@0cb", "takes 1cb to 9cb"),
        ("dac-44khz@8kbps", "takes 1cb to 9cb"),
        ("mimi", "got no point"),
        ("xcodec@3kbps", "takes 0.5kbps, 1kbps, 1.5kbps, 2kbps, 4kbps"),
        ("xcodec2@1kbps", "no operating points"),
        ("snac-24khz@1kbps", "no operating points"),
        ("wavtokenizer@40tps", "no operating points"),
        ("mimi@8cb:dtype=fp8", "takes dtype fp32 or bf16"),
        ("encodec-48khz@6kbps:dtype=bf16", "takes dtype fp32 only"),
        ("mimi@8cb:together=0", "takes together=1 to 9999"),
        ("mimi@8cb:seed=1", "unexpected keyword argument 'seed'"),
    ],
)
def test_other_points_are_refused(codec_id, message):
    with pytest.raises(CodecError, match=message):
        create(codec_id)


@pytest.mark.parametrize("family", [name for name in NEURAL if name not in FROM_A_FOLDER_ONLY])
def test_weights_are_pinned(family):
    found = codec_class(family)
    assert issubclass(found, NeuralCodec)
    assert len(found.released.commit) == 40
    assert int(found.released.commit, 16)
    spec = create(ids_to_check(family)[0]).spec
    assert spec.weights_hash == found.released.commit
    assert spec.params["weights"] == found.released.repository


def test_precision_is_part_of_the_identity():
    fine, coarse = create("mimi@8cb").spec, create("mimi@8cb:dtype=bf16").spec
    assert coarse.codec_id == "mimi@8cb:dtype=bf16"
    assert fine.fingerprint != coarse.fingerprint


@pytest.mark.usefixtures("real_weights")
def test_no_network_gives_one_line_at_once(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    asked = []
    ask = huggingface._ask_hub
    monkeypatch.setattr(huggingface, "_ask_hub", lambda answers: (asked.append(1), ask(answers)))
    for family in NEURAL:
        package = codec_class(family).package
        with pytest.raises(CodecUnavailableError) as caught:
            create(ids_to_check(family)[0])
        line = str(caught.value)
        assert "\n" not in line
        missing = "is pinned yet" if family in FROM_A_FOLDER_ONLY else "does not answer"
        assert missing in line or f"package {package} is missing" in line
    assert len(asked) == 1  # a dead network is waited for once, not once a codec


@pytest.mark.usefixtures("real_weights")
def test_offline_is_respected(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface, "hub_answers", lambda: pytest.fail("asked the network"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    model = HubModel("owner/name", "0" * 40)
    assert model.missing_reason() == (
        "no weights: owner/name is not in the Hugging Face cache and HF_HUB_OFFLINE is set; "
        "or name a folder with path="
    )


def test_listing_imports_neither_torch_nor_transformers():
    code = (
        "import sys\n"
        "from codec_zoo.registry import codec_class\n"
        f"for family in {NEURAL!r}: print(codec_class(family).summary)\n"
        "assert not {'torch', 'transformers', 'snac'} & set(sys.modules), 'dear imports'\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
