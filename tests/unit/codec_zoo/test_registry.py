import subprocess
import sys
from importlib.metadata import EntryPoint

import pytest

from codec_zoo import registry
from codec_zoo.base import Codec, CodecError
from codec_zoo.registry import (
    BUILTIN,
    CodecId,
    codec_class,
    create,
    default_ids,
    families,
    parse_codec_id,
)


@pytest.mark.parametrize("family", BUILTIN)
def test_builtin_families_describe_themselves(family: str) -> None:
    found = codec_class(family)
    assert found.family == family
    assert found.kind in ("neural", "classical", "anchor")
    assert found.summary
    assert "\n" not in found.summary
    assert len(set(found.points)) == len(found.points)


def test_listing_imports_nothing_heavy() -> None:
    program = (
        "import sys; from codec_zoo.registry import *; "
        "[codec_class(f).points for f in families()]; "
        "heavy = {'av', 'torch', 'scipy', 'transformers', 'soxr', 'bench'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def use_entry_points(monkeypatch: pytest.MonkeyPatch, **targets: str) -> None:
    found = [
        EntryPoint(name.replace("_", "-"), target, registry.ENTRY_POINT_GROUP)
        for name, target in targets.items()
    ]
    monkeypatch.setattr(registry, "entry_points", lambda group: found)


def test_entry_points_add_codecs(monkeypatch: pytest.MonkeyPatch, planted: str) -> None:
    use_entry_points(monkeypatch, outside_codec=f"{planted}:Good")
    assert families()["outside-codec"] == f"{planted}:Good"
    assert isinstance(create("outside-codec@80kbps"), Codec)
    assert default_ids("outside-codec") == ("outside-codec@80kbps", "outside-codec@128kbps")


def test_an_entry_point_may_not_take_a_name(monkeypatch: pytest.MonkeyPatch, planted: str) -> None:
    use_entry_points(monkeypatch, opus=f"{planted}:Good")
    with pytest.raises(CodecError, match=r"'opus' is registered twice: by codec_zoo.classical"):
        families()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("passthrough", CodecId("passthrough", "", {})),
        ("opus@6kbps", CodecId("opus", "6kbps", {})),
        ("opus@6kbps:vbr=on,a=b", CodecId("opus", "6kbps", {"vbr": "on", "a": "b"})),
        ("opus:vbr=on", CodecId("opus", "", {"vbr": "on"})),
        ("x:path=a/b.c=d", CodecId("x", "", {"path": "a/b.c=d"})),
        ("my_codec:MyCodec", CodecId("my_codec:MyCodec", "", {})),
        ("a.b:MyCodec@6kbps:x=1", CodecId("a.b:MyCodec", "6kbps", {"x": "1"})),
    ],
)
def test_codec_ids_are_taken_apart(text: str, expected: CodecId) -> None:
    assert parse_codec_id(text) == expected


def test_a_class_is_taken_from_any_module(planted: str) -> None:
    assert codec_class(f"{planted}:Good").family == "good"


@pytest.mark.parametrize(
    ("codec_id", "message"),
    [
        ("opsu@6kbps", "did you mean opus"),
        ("not a codec", "is not a codec id"),
        ("opus@6kbps:frame_ms", "is not key=value"),
        ("planted_codecs:RATE", "is not a codec_zoo.base.Codec"),
        ("planted_codecs:Missing", "is not a codec_zoo.base.Codec"),
        ("nowhere:Missing", "no module 'nowhere' .* PYTHONPATH"),
    ],
)
def test_wrong_ids_say_what_is_wrong(planted: str, codec_id: str, message: str) -> None:
    with pytest.raises(CodecError, match=message):
        create(codec_id)
