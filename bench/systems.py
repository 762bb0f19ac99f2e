"""The systems of SemantiCodec's comparison: their folders in the release, their rows in Table II.

The release's names give other bitrates than the paper for the same systems: its ``0_71`` is the
paper's 0.70 or 0.78, its ``1_43`` the paper's 1.40, its ``0_35`` the paper's 0.36 (0.35 by its own
arithmetic).
"""

import re
from dataclasses import dataclass, replace
from typing import Literal

#: "encodec_24k_1_5kbps" -> "1_5"
_RATE = re.compile(r"(\d+(?:[_.]\d+)?)_?kbps$")


@dataclass(frozen=True)
class System:
    """One system whose reconstructions were released.

    Attributes:
        name: Of its folder in the release.
        folder: Of its folder here.
        family: Points of one family make one curve.
        kbps: As the paper has it; None where there is none.
        published: Codec and variant in ``reports/reference``; empty where the paper has no row.
        aliases: Other names of the folder.
        kind: ``neural`` or ``anchor``.
    """

    name: str
    family: str
    kbps: float | None = None
    published: tuple[str, str] = ("", "")
    aliases: tuple[str, ...] = ()
    kind: Literal["neural", "anchor"] = "neural"
    folder: str = ""


_OFFICIAL_DAC = ("dac-16khz", "official")
_RETRAINED_DAC = ("dac-16khz", "retrained")
_ENCODEC = ("encodec-24khz", "")
_SEMANTICODEC = ("semanticodec", "")

#: In the order of Table II.
SYSTEMS = (
    System("groundtruth", "groundtruth", published=("groundtruth", ""), kind="anchor"),
    System("descript_codec_6kbps", "dac-16khz", 6.0, _OFFICIAL_DAC, ("dac_6kbps",)),
    System("encodec_24k_6kbps", "encodec-24khz", 6.0, _ENCODEC),
    System("encodec_24k_3kbps", "encodec-24khz", 3.0, _ENCODEC),
    System("encodec_24k_1_5kbps", "encodec-24khz", 1.5, _ENCODEC),
    System("hifi-codec-2kbps", "hifi-codec", 2.0, ("hifi-codec", "")),
    System("descript_codec_0_47kbps", "dac-retrained", 0.47, _RETRAINED_DAC, ("dac_0_47kbps",)),
    System("descript_codec_0_71kbps", "dac-retrained", 0.78, _RETRAINED_DAC, ("dac_0_71kbps",)),
    System("descript_codec_1_41kbps", "dac-retrained", 1.41, _RETRAINED_DAC, ("dac_1_41kbps",)),
    System(
        "semanticodec_0_35_kbps", "semanticodec", 0.35, _SEMANTICODEC, ("semanticodec_0_35kbps",)
    ),
    System(
        "semanticodec_0_71_kbps", "semanticodec", 0.70, _SEMANTICODEC, ("semanticodec_0_71kbps",)
    ),
    System(
        "semanticodec_1_43_kbps", "semanticodec", 1.40, _SEMANTICODEC, ("semanticodec_1_43kbps",)
    ),
)


def system_of(folder: str) -> System:
    """Return the system whose reconstructions a folder holds.

    An unknown name is a system of its own, its bitrate read from the name where it ends in one.

    Example:
        >>> system_of("dac_0_71kbps").kbps, system_of("mine_2_4kbps").kbps
        (0.78, 2.4)
    """
    for system in SYSTEMS:
        if folder in (system.name, *system.aliases):
            return replace(system, folder=folder)
    rate = _RATE.search(folder)
    kbps = float(rate[1].replace("_", ".")) if rate else None
    return System(
        folder, folder[: rate.start()].rstrip("_-") if rate else folder, kbps, folder=folder
    )
