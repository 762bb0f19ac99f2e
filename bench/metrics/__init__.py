"""Metrics by name. A metric is one class in one file and one line in the table below."""

from functools import cache
from importlib import import_module
from importlib.metadata import entry_points

from bench.errors import UsageError, unknown_name
from bench.metrics.base import Measurement, Metric, Pair, Signal

__all__ = ["BUILTIN", "Measurement", "Metric", "Pair", "Signal", "create", "metric_names"]

#: Name -> "module:Class". The order is that of the tables.
BUILTIN: dict[str, str] = {
    "visqol-audio-48k": "bench.metrics.visqol:VisqolAudio",
    "visqol-speech-lattice": "bench.metrics.visqol:VisqolSpeechLattice",
    "visqol-speech-exp": "bench.metrics.visqol:VisqolSpeechExp",
    "pesq-wb": "bench.metrics.pesq:PesqWideBand",
    "pesq-nb": "bench.metrics.pesq:PesqNarrowBand",
    "pesqc2-wb": "bench.metrics.pesq:PesqC2WideBand",
    "pesqc2-nb": "bench.metrics.pesq:PesqC2NarrowBand",
    "stoi": "bench.metrics.stoi:Stoi",
    "estoi": "bench.metrics.stoi:Estoi",
    "wer": "bench.metrics.wer:WordErrorRate",
    "cer": "bench.metrics.wer:CharacterErrorRate",
    "dwer": "bench.metrics.wer:DifferentialWordErrorRate",
    "mel-dac-eval": "bench.metrics.spectral:MelDacEval",
    "mel-dac-7scale": "bench.metrics.spectral:MelDac7Scale",
    "logmel-l1": "bench.metrics.spectral:LogMelL1",
    "mrstft": "bench.metrics.spectral:MultiResolutionStft",
    "stft-dac-eval": "bench.metrics.spectral:StftDacEval",
    "si-sdr": "bench.metrics.waveform:SiSdr",
    "si-sdr-aligned": "bench.metrics.waveform:SiSdrAligned",
    "delay": "bench.metrics.waveform:Delay",
    "level-difference": "bench.metrics.waveform:LevelDifference",
}
ENTRY_POINT_GROUP = "codecbench.metrics"


def metric_names() -> dict[str, str]:
    """Return every known metric name and where its class lives, built-in ones first.

    Raises:
        UsageError: If an outside package claims a name that is taken.
    """
    found = dict(BUILTIN)
    for entry in entry_points(group=ENTRY_POINT_GROUP):
        if entry.name in found:
            raise UsageError(f"metric name {entry.name!r} is registered twice: {entry.value}")
        found[entry.name] = entry.value
    return found


@cache
def create(name: str) -> Metric:
    """Return the metric of this name; options follow a colon, e.g. ``wer:model=base.en``.

    A ``module:Class`` path is taken as it is, so that an unregistered metric can be tried.

    Raises:
        UsageError: If there is no such metric or option (with the nearest names).
    """
    bare, _, options = name.partition(":")
    names = metric_names()
    if options[:1].isupper():
        names, bare, options = {name: name}, name, ""
    if bare not in names:
        raise unknown_name("metric", bare, names)
    module_name, _, class_name = names[bare].partition(":")
    metric_class = getattr(import_module(module_name), class_name)
    keywords = dict(item.partition("=")[::2] for item in options.split(",") if item)
    try:
        return metric_class(**keywords)
    except TypeError as error:
        raise UsageError(f"metric {bare!r} does not take {options!r}: {error}") from error
