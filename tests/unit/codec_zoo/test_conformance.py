"""The conformance suite passes a good adapter and catches every planted fault."""

import pytest

from codec_zoo.base import CodecError
from codec_zoo.conformance import Check, ids_to_check, run_conformance
from codec_zoo.conformance import subject as subject_module

# What each fault must trigger, at the highest point. Other checks may fail as well.
FAULTS = {
    "DropsLastFrameShort": {"keeps length", "codes the end"},
    "DropsLastFramePadded": {"codes the end"},
    "DropsIncompleteFrame": {"codes the end"},
    "HoldsLastValue": {"codes the end"},
    "EightEarly": {"delay as declared"},
    "ThreeLate": {"delay as declared"},
    "EnvelopeLate": {"delay as declared"},
    "RemembersOnSelf": {"decodes from payload alone"},
    "RemembersOnClass": {"decodes from payload alone"},
    "RemembersByPayload": {"decodes from payload alone"},
    "RemembersOnSelfByPayload": {"decodes from payload alone"},
    "ReturnsConstant": {"decodes from payload alone"},
    "ReturnsOtherClip": {"decodes what was encoded"},
    "DeclaresHalfBitrate": {"bitrate as declared"},
    "HidesInOverhead": {"bitrate as declared"},
    "WrongCodebooks": {"codes match codebooks"},
    "EmbedsNothing": {"shows its inside"},
    "EmbedsDouble": {"shows its inside"},
    "LosesAStream": {"shows its inside"},
    "KeepsItsCodes": {"shows its inside"},
    "RandomEncoder": {"deterministic"},
    "RandomDecoder": {"deterministic"},
    "SeedNotDeclared": {"deterministic"},
    "BatchEncodesOtherwise": {"batch equals single"},
    "BatchDecodesOtherwise": {"batch equals single"},
    "QualityFalls": {"quality follows bitrate"},
    "Normalises": {"keeps level"},
    "NanOnSilence": {"keeps silence"},
    "WritesIntoInput": {"leaves its input alone"},
    "TakesStereo": {"takes its channels only"},
    "NeedsHalfASecond": {"takes one sample"},
    "Drifts": {"takes long input"},
    "RaisesOnDamage": {"survives damage"},
    "DiesOnDamage": {"survives damage"},
    "HangsOnDamage": {"survives damage"},
    "RandomSpec": {"describes itself"},
    "GivesDouble": {"keeps length"},
}


def failed(checks: list[Check]) -> dict[str, str]:
    return {check.name: check.message for check in checks if check.status == "failed"}


@pytest.mark.parametrize("name", ["Good", "SeedDeclared"])
def test_a_good_adapter_passes_everything(planted: str, name: str) -> None:
    checks = run_conformance(f"{planted}:{name}", longest_s=12)
    assert failed(checks) == {}
    assert {check.codec_id.partition("@")[2] for check in checks} == {"80kbps", "128kbps"}
    skipped = {check.name for check in checks if check.status == "skipped"}
    assert skipped == {"codes match codebooks", "shows its inside"}


@pytest.mark.parametrize("name", FAULTS)
def test_planted_fault_is_caught(planted: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if name == "HangsOnDamage":
        monkeypatch.setattr(subject_module, "START_S", 3.0)
    found = failed(run_conformance(f"{planted}:{name}@128kbps", longest_s=12))
    assert FAULTS[name] <= set(found), found
    assert all(found.values())


def test_what_shows_its_inside_as_promised_passes(planted: str) -> None:
    checks = run_conformance(f"{planted}:Shows@128kbps", longest_s=6)
    (inside,) = [check for check in checks if check.name == "shows its inside"]
    assert inside.status == "passed"
    assert inside.message == "320 token streams, embeds all, takes other codes"


def test_messages_say_what_was_found(planted: str) -> None:
    found = failed(run_conformance(f"{planted}:EightEarly@128kbps", longest_s=6))
    assert "-8.0 samples (-0.50 ms) by waveform" in found["delay as declared"]
    found = failed(run_conformance(f"{planted}:DropsLastFrameShort@128kbps", longest_s=6))
    assert "4799 samples came back as 4479" in found["keeps length"]
    assert "about the last 320 are lost" in found["codes the end"]
    found = failed(run_conformance(f"{planted}:DeclaresHalfBitrate@128kbps", longest_s=6))
    assert "declared 64" in found["bitrate as declared"]


def test_what_would_take_too_long_is_skipped_with_the_time(planted: str) -> None:
    checks = run_conformance(f"{planted}:Good@128kbps", longest_s=1e9)
    (long,) = [check for check in checks if check.name == "takes long input"]
    assert long.status == "skipped"
    assert "run with more patience" in long.message


def test_unknown_codec_raises() -> None:
    with pytest.raises(CodecError, match="did you mean opus"):
        run_conformance("opsu@6kbps")


def test_a_family_stands_for_its_lowest_and_highest_point() -> None:
    assert ids_to_check("mp3") == ("mp3@16kbps", "mp3@128kbps")
    assert ids_to_check("opus:vbr=on") == ("opus@6kbps:vbr=on", "opus@64kbps:vbr=on")
    assert ids_to_check("g722") == ("g722@64kbps",)
    assert ids_to_check("passthrough") == ("passthrough",)
