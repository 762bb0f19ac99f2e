"""Every registered codec keeps the contract, at its lowest and its highest operating point."""

import pytest

from codec_zoo.conformance import ids_to_check, run_conformance
from codec_zoo.registry import BUILTIN, codec_class, parse_codec_id

IDS = [codec_id for family in BUILTIN for codec_id in ids_to_check(family)]


@pytest.mark.parametrize("codec_id", IDS)
def test_conformance(codec_id: str) -> None:
    reason = codec_class(parse_codec_id(codec_id).family).unavailable_reason()
    if reason is not None:
        pytest.skip(reason)
    checks = run_conformance(codec_id)
    if all(check.status == "skipped" for check in checks):
        pytest.skip(checks[0].message)  # needs weights, or options of the user's own
    failed = [f"{check.name}: {check.message}" for check in checks if check.status == "failed"]
    assert not failed, "\n".join(failed)
