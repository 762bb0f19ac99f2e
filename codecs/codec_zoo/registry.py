"""Find codecs by name without importing what they need."""

import re
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from importlib.metadata import entry_points

from codec_zoo.base import Codec, CodecError, CodecUnavailableError

#: Family -> "module:Class". One line adds a codec; entry points of the group below add others.
BUILTIN: dict[str, str] = {
    "passthrough": "codec_zoo.anchors:Passthrough",
    "pcm": "codec_zoo.anchors:Pcm",
    "lowpass": "codec_zoo.anchors:LowPass",
    "mulaw": "codec_zoo.anchors:MuLaw",
    "noise": "codec_zoo.anchors:Noise",
    "opus": "codec_zoo.classical:Opus",
    "mp3": "codec_zoo.classical:Mp3",
    "aac": "codec_zoo.classical:Aac",
    "amr-nb": "codec_zoo.classical:AmrNb",
    "g722": "codec_zoo.classical:G722",
    "g723-1": "codec_zoo.classical:G7231",
    "g726": "codec_zoo.classical:G726",
    "codec2": "codec_zoo.codec2:Codec2",
    "lyra": "codec_zoo.lyra:Lyra",
    "encodec-24khz": "codec_zoo.encodec:Encodec24",
    "encodec-48khz": "codec_zoo.encodec:Encodec48",
    "encodec-32khz": "codec_zoo.encodec:Encodec32",
    "dac-16khz": "codec_zoo.dac:Dac16",
    "dac-24khz": "codec_zoo.dac:Dac24",
    "dac-44khz": "codec_zoo.dac:Dac44",
    "dac-mini": "codec_zoo.dac_mini:DacMini",
    "mimi": "codec_zoo.mimi:Mimi",
    "snac-24khz": "codec_zoo.snac:Snac24",
    "snac-32khz": "codec_zoo.snac:Snac32",
    "snac-44khz": "codec_zoo.snac:Snac44",
    "xcodec": "codec_zoo.xcodec:Xcodec",
    "xcodec2": "codec_zoo.xcodec2:Xcodec2",
    "neucodec": "codec_zoo.neucodec:NeuCodec",
    "wavtokenizer": "codec_zoo.wavtokenizer:WavTokenizer",
    "semanticodec": "codec_zoo.semanticodec:SemantiCodecAdapter",
    "semanticodec-mini": "codec_zoo.semanticodec:SemantiCodecMini",
    "recordings": "codec_zoo.recordings:Recordings",
}
ENTRY_POINT_GROUP = "codecbench.codecs"

# The family may be "package.module:Class"; options begin at a colon behind the point.
_CODEC_ID = re.compile(
    r"(?P<family>[\w.-]+(?::[A-Z]\w*)?)(?:@(?P<point>[^:]*))?(?::(?P<options>.*))?"
)


def families() -> dict[str, str]:
    """Return every known family and where its class lives, built-in ones first.

    Raises:
        CodecError: If an outside package claims a name that is taken.
    """
    found = dict(BUILTIN)
    for entry in entry_points(group=ENTRY_POINT_GROUP):
        if entry.name in found:
            raise CodecError(
                f"codec name {entry.name!r} is registered twice: "
                f"by {found[entry.name]} and by {entry.value}"
            )
        found[entry.name] = entry.value
    return found


def codec_class(family: str) -> type[Codec]:
    """Return the class of a family.

    A ``module:Class`` path is taken as it is, so that an unregistered adapter can be tried.

    Raises:
        CodecError: If the name is unknown (with the nearest ones) or is not a codec.
        ModuleNotFoundError: If a package is missing that the codec's module imports at its top.
    """
    target = family if ":" in family else families().get(family)
    if target is None:
        near = get_close_matches(family, families(), n=3, cutoff=0.4)
        hint = f"did you mean {', '.join(near)}?" if near else f"known: {', '.join(families())}"
        raise CodecError(f"unknown codec {family!r}; {hint}")
    module_name, _, class_name = target.partition(":")
    try:
        found = getattr(import_module(module_name), class_name, None)
    except ModuleNotFoundError as error:
        if error.name != module_name.partition(".")[0]:
            raise  # the module is there, but something that it imports is not
        raise CodecError(
            f"no module {module_name!r} for codec {family!r}; is its folder on PYTHONPATH?"
        ) from error
    if not (isinstance(found, type) and issubclass(found, Codec)):
        raise CodecError(f"{target} is not a codec_zoo.base.Codec")
    return found


@dataclass(frozen=True)
class CodecId:
    """The parts of ``family[@point][:key=value,...]``."""

    family: str
    point: str
    options: dict[str, str]


def parse_codec_id(codec_id: str) -> CodecId:
    """Take a codec id apart.

    Raises:
        CodecError: If it is not of the form ``family[@point][:key=value,...]``.

    Example:
        >>> parse_codec_id("opus@6kbps:frame_ms=60")
        CodecId(family='opus', point='6kbps', options={'frame_ms': '60'})
    """
    match = _CODEC_ID.fullmatch(codec_id)
    if match is None:
        raise CodecError(
            f"{codec_id!r} is not a codec id; expected family[@point][:key=value,...], "
            "for example opus@6kbps"
        )
    options = {}
    for item in filter(None, (match["options"] or "").split(",")):
        key, equals, value = item.partition("=")
        if not equals or not key:
            raise CodecError(f"option {item!r} of codec {codec_id!r} is not key=value")
        options[key] = value
    return CodecId(match["family"], match["point"] or "", options)


def create(codec_id: str, *, device: str = "cpu") -> Codec:
    """Build the codec that a codec id names.

    Raises:
        CodecError: If the id, family, point or an option is wrong.
        CodecUnavailableError: If a package, program or weight file is missing.
    """
    parts = parse_codec_id(codec_id)
    found = codec_class(parts.family)
    # Weights at a path of the user's own: whether they are there, the codec itself finds out.
    reason = None if "path" in parts.options else found.unavailable_reason()
    if reason is not None:
        raise CodecUnavailableError(reason)
    try:
        return found(parts.point, device=device, **parts.options)
    except TypeError as error:
        raise CodecError(f"codec {codec_id!r}: {error}") from error


def default_ids(family: str) -> tuple[str, ...]:
    """Return the ids of a family at the points it is usually measured at."""
    points = codec_class(family).points
    return tuple(f"{family}@{point}" for point in points) or (family,)
