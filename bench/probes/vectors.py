"""One vector per clip: what a probe is given.

``embedding``: the quantizer's output, averaged over time, of all codebooks or of one stream;
``features``: what the quantizer is given, averaged alike, the ceiling of the embedding;
``reconstruction``: log-mel statistics of what was decoded, which any codec has; ``log-mel``: those
of the original.
"""

from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from bench.analysis.cache import ArrayCache, Arrays
from bench.analysis.subjects import Heard, Subject, coded
from bench.audio import Audio
from bench.errors import Reason, Status
from bench.probes import logmel
from bench.worker import Failure, attempt

#: Raised by every change that moves a vector.
VERSION = "2"
REPRESENTATIONS = ("log-mel", "reconstruction", "embedding", "features")
Vector = NDArray[np.float32]


@dataclass(frozen=True)
class View:
    """What of a codec is looked at.

    Attributes:
        representation: One of :data:`REPRESENTATIONS`.
        stream: Of an embedding; empty else.
    """

    representation: str
    stream: str = ""


def views(subject: Subject, representations: tuple[str, ...]) -> list[View]:
    """Return what there is to look at of a codec, of the representations wanted."""
    found = []
    for name in representations:
        if name == "reconstruction":
            found.append(View(name))
        elif name == "embedding":
            found += [View(name, stream) for stream in subject.codec.embed_streams]
        elif name == "features" and subject.codec.embed_streams:
            found.append(View(name))
    return found


def vector(subject: Subject, heard: Heard, view: View, cache: ArrayCache) -> Vector | Failure:
    """Return the vector ``[D]`` of a clip, from the cache if it is there."""
    key = {"what": "vector", "codec": subject.info.fingerprint, "clip": heard.content_hash}
    if view.representation == "reconstruction":
        key |= {"of": "reconstruction", "seed": str(subject.seed), "log-mel": logmel.VERSION}
        make = partial(_reconstruction, subject, heard, cache)
        name = "reconstruction"
    else:  # one encoding gives all streams
        key |= {"of": "codes"}
        make = partial(_inside, subject, heard, cache)
        name = view.stream or view.representation
    found = attempt(
        f"{subject.info.codec_id}: {view.representation} of {heard.clip.id}",
        Reason.CODEC_ERROR,
        partial(cache.get_or, key | {"version": VERSION}, make),
    )
    if isinstance(found, Failure):
        return found
    if name not in found:
        message = f"{subject.info.codec_id} has no {name}"
        return Failure(Status.SKIPPED, Reason.NOT_FOR_CODEC, message)
    return found[name]


def original(heard: Heard, cache: ArrayCache) -> Vector | Failure:
    """Return the log-mel statistics ``[128]`` of a clip itself."""
    key = {"what": "vector", "of": "original", "clip": heard.content_hash}
    found = attempt(
        heard.clip.id,
        Reason.UNREADABLE_AUDIO,
        partial(
            cache.get_or,
            key | {"log-mel": logmel.VERSION},
            lambda: {"log-mel": logmel.log_mel_statistics(heard.audio)},
        ),
    )
    return found if isinstance(found, Failure) else found["log-mel"]


def _reconstruction(subject: Subject, heard: Heard, cache: ArrayCache) -> Arrays:
    sent = coded(subject, heard, cache)
    seed = subject.decoder_seed(heard.content_hash)
    decoded = subject.codec.decode(sent["payload"].tobytes(), seed=seed)
    restored = heard.restored(subject.codec, decoded, int(sent["samples"]))
    return {"reconstruction": logmel.log_mel_statistics(Audio(restored, heard.audio.sample_rate))}


def _inside(subject: Subject, heard: Heard, cache: ArrayCache) -> Arrays:
    """Return the time average of every stream, and of the features where there are any."""
    codec = subject.codec
    codes = coded(subject, heard, cache)["codes"]
    found = {name: codec.embed(codes, name).mean(axis=1) for name in codec.embed_streams}
    features = codec.features(heard.coded_by(codec))
    if features is not None:
        found["features"] = features.mean(axis=1)
    return {name: mean.astype(np.float32) for name, mean in found.items()}
