"""The two analyses from start to end: what they are given, what they write."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from bench.analysis.cache import ArrayCache
from bench.analysis.figures import bar_figure, line_figure
from bench.analysis.generations import generation_rows
from bench.analysis.long_audio import long_audio_rows
from bench.analysis.output import Analysis, skipped_rows, table_of
from bench.analysis.robustness import DAMAGES, NONE, Damage, robustness_rows
from bench.analysis.stability import PERTURBATIONS, stability_rows
from bench.analysis.subjects import Heard, Row, Subject, subjects
from bench.analysis.tokens import (
    add_matched_utilisation,
    coded_tokens,
    information_rows,
    streams_of,
    token_rows,
)
from bench.clips import Clip, select
from bench.plan import expand_codec_ids, metric_info
from bench.runner import Progress, Quiet

#: One measure of all domains and one of speech; both are quick.
DEFAULT_METRICS = ("mel-dac-eval", "stoi")
#: Measured where nothing else is asked for: with codebooks first, then what to read them against.
TOKEN_CODECS = (
    "semanticodec-mini@25tps", "semanticodec-mini@100tps", "lyra@3.2kbps", "opus@12kbps",
)  # fmt: skip
ROBUSTNESS_CODECS = (
    "semanticodec-mini@25tps", "semanticodec-mini@100tps", "lyra@3.2kbps", "amr-nb@12.2kbps",
    "opus@12kbps", "mulaw@8khz",
)  # fmt: skip
TOKEN_NOTES = (
    "h0, h1, h2: plug-in entropy of a token given none, one or two before it, bits, with the "
    "correction of Miller and Madow; too low where coverage is far below 1. adaptiveN_kbps: what "
    "an adaptive coder of order N really spends, learning included; adaptive_kbps is the best of "
    "them for each stream. utilisation_matched: share of the codebook used among matched_tokens "
    "tokens, the number that all streams of the domain have. Mutual information is what exceeds "
    "chance, and too low on short input. Of the total, h and utilisation are means over tokens."
)
ROBUSTNESS_NOTES = (
    "Means are over what could still be decoded; `decoded` is its share and `reasons` count the "
    "rest. A lost frame or packet is replaced by the last one that arrived. Bit flips hit headers "
    "too."
)


def _known_metrics(names: Sequence[str] | None) -> Sequence[str]:
    """Return the metrics that are wanted; a wrong name is told before anything is coded."""
    chosen = DEFAULT_METRICS if names is None else names
    for name in chosen:
        metric_info(name)
    return chosen


def token_statistics(
    clips: Sequence[Clip],
    codecs: Sequence[str] | None = None,
    *,
    out: str | Path,
    metrics: Sequence[str] | None = None,
    stability_limit: int = 4,
    seed: int = 0,
    device: str = "cpu",
    progress: Progress | None = None,
) -> Analysis:
    """Tell what codecs' tokens are like, and write it to ``out/analysis/tokens``.

    Args:
        clips: What is encoded; see :func:`bench.api.find_clips`.
        codecs: Codec ids; one without codebooks has only its generations told. None:
            :data:`TOKEN_CODECS`.
        out: A run's folder. What was encoded before is kept in ``out/cache`` and not done again.
        metrics: Of the quality of later generations; None: :data:`DEFAULT_METRICS`.
        stability_limit: That many clips of each domain are perturbed and coded again.
        seed: Of everything random.
        device: Where neural codecs run.
        progress: Who is told how far it is.

    Raises:
        UsageError: If a name is wrong.
        BenchError: If ``out`` cannot be written.
    """
    metrics = _known_metrics(metrics)
    out, progress = Path(out), progress or Quiet()
    codec_ids = expand_codec_ids(TOKEN_CODECS if codecs is None else codecs)
    chosen = subjects(codec_ids, seed=seed, device=device)
    heard = [Heard(clip) for clip in clips]
    few = [Heard(clip) for clip in select(clips, limit=stability_limit, seed=seed)]
    cache = ArrayCache(out / "cache" / "analysis")
    rows = _token_rows(chosen, heard, few, metrics, cache, progress)
    skipped = skipped_rows([subject.info for subject in chosen])
    for name in ("tokens", "generations"):
        rows[name] += skipped
    tables = {name: table_of(part) for name, part in rows.items()}
    analysis = Analysis(
        name="tokens",
        title="Tokens",
        summary=(
            "What the tokens of each codec are like: true rate, use of the codebooks, entropy and "
            "the bitrate an adaptive coder would need, and how they hold when the audio moves."
        ),
        notes=TOKEN_NOTES,
        tables=tables,
        figures=_token_figures(tables),
    )
    analysis.write(out)
    return analysis


def _token_rows(
    chosen: Sequence[Subject],
    heard: Sequence[Heard],
    few: Sequence[Heard],
    metrics: Sequence[str],
    cache: ArrayCache,
    progress: Progress,
) -> dict[str, list[Row]]:
    """Return the rows of each table."""
    names = ("tokens", "token_information", "token_stability", "generations")
    rows: dict[str, list[Row]] = {name: [] for name in names}
    tokens_of: dict[tuple[str, str, str], np.ndarray] = {}
    for subject in chosen:
        if subject.info.unavailable_reason:
            continue
        has_codes = bool(subject.codec.spec.codebook_sizes)
        units = len(few) + has_codes * (len(heard) + len(PERTURBATIONS) * len(few))
        progress.begin(subject.info.codec_id, units)
        if has_codes:
            coded, failures = coded_tokens(subject, heard, cache, progress)
            own = token_rows(subject, coded, failures)
            rows["tokens"] += own
            for row in own:
                part = [one for one in coded if row["domain"] in ("all", one.domain)]
                for name, _, tokens in streams_of(subject, part):
                    key = (subject.info.codec_id, row["domain"], name)
                    tokens_of[key] = np.concatenate(tokens)
            rows["token_information"] += information_rows(subject, coded)
            rows["token_stability"] += stability_rows(subject, few, cache, progress)
        quality, kept = generation_rows(subject, few, metrics, cache, progress)
        rows["generations"] += quality
        rows["token_stability"] += kept
    add_matched_utilisation(rows["tokens"], tokens_of)
    return rows


def _token_figures(tables: Mapping[str, pd.DataFrame]) -> dict[str, Figure]:
    found: dict[str, Figure] = {}
    tokens, moved = tables["tokens"], tables["token_stability"]
    if "stream" in tokens:
        found["bitrates"] = bar_figure(
            tokens[tokens["stream"] == "total"],
            category="codec",
            bars=(("sent", "measured_kbps", ""), ("adaptive coder", "adaptive_kbps", "")),
            panel="domain",
            x_label="kbps",
        )
    if "perturbation" in moved:
        totals = moved[moved["stream"] == "total"]
        found["stability"] = bar_figure(
            totals.assign(change=totals["perturbation"] + totals["amount"].map(" {:.3g}".format)),
            category="change",
            bars=(("tokens kept", "mean", "ci"),),
            panel="codec",
            x_label="share of tokens kept",
        )
    return found | _metric_figures(tables["generations"], "generations", "generation", "generation")


def _metric_figures(
    table: pd.DataFrame, name: str, x: str, x_label: str, *, even: bool = False
) -> dict[str, Figure]:
    """Return a figure of lines for each metric of a table."""
    if "metric" not in table:
        return {}
    return {
        f"{name}-{metric}": line_figure(
            rows,
            x=x,
            y="mean",
            panel="domain",
            x_label=x_label,
            y_label=metric_info(str(metric)).label,
            even=even,
        )
        for metric, rows in table.dropna(subset=["metric", "mean"]).groupby("metric")
    }


def robustness(
    clips: Sequence[Clip],
    codecs: Sequence[str] | None = None,
    *,
    out: str | Path,
    metrics: Sequence[str] | None = None,
    damages: Sequence[Damage] = DAMAGES,
    draws: int = 1,
    seed: int = 0,
    device: str = "cpu",
    progress: Progress | None = None,
) -> Analysis:
    """Damage payloads, code clips alone and inside a long file; write ``out/analysis/robustness``.

    Args:
        clips: What is encoded.
        codecs: Codec ids; None: :data:`ROBUSTNESS_CODECS`.
        out: A run's folder. What was scored before is kept in ``out/cache`` and not done again.
        metrics: Of what was decoded; None: :data:`DEFAULT_METRICS`.
        damages: Kinds and rates.
        draws: How often each clip is damaged anew.
        seed: Of everything random.
        device: Where neural codecs run.
        progress: Who is told how far it is.

    Raises:
        UsageError: If a name is wrong.
        BenchError: If ``out`` cannot be written.
    """
    metrics = _known_metrics(metrics)
    out, progress = Path(out), progress or Quiet()
    codec_ids = expand_codec_ids(ROBUSTNESS_CODECS if codecs is None else codecs)
    chosen = subjects(codec_ids, seed=seed, device=device)
    heard = [Heard(clip) for clip in clips]
    cache = ArrayCache(out / "cache" / "analysis")
    rates = sum(len(kind.rates) for kind in (NONE, *damages))
    rows: list[Row] = []
    long: list[Row] = []
    for subject in chosen:
        if not subject.info.unavailable_reason:
            progress.begin(subject.info.codec_id, len(heard) * (rates * draws + 1))
            rows += robustness_rows(subject, heard, metrics, damages, cache, progress, draws)
            long += long_audio_rows(subject, heard, metrics, cache, progress)
    skipped = skipped_rows([subject.info for subject in chosen])
    tables = {"robustness": table_of([*rows, *skipped]), "long_audio": table_of([*long, *skipped])}
    analysis = Analysis(
        name="robustness",
        title="Robustness",
        summary=(
            "Quality against the rate of flipped bits and of lost frames or packets, one by one "
            "and in bursts; and whether a clip is coded alike alone and inside a long file."
        ),
        notes=ROBUSTNESS_NOTES,
        tables=tables,
        figures=_robustness_figures(tables["robustness"]),
    )
    analysis.write(out)
    return analysis


def _robustness_figures(table: pd.DataFrame) -> dict[str, Figure]:
    """Return a figure per metric and kind of damage, each beginning with no damage at all."""
    if "damage" not in table:
        return {}
    found: dict[str, Figure] = {}
    clean = table[table["damage"] == NONE.name]
    for kind, rows in table.dropna(subset=["damage"]).groupby("damage"):
        if kind != NONE.name and rows["mean"].notna().any():
            able = clean[clean["codec"].isin(rows.loc[rows["mean"].notna(), "codec"])]
            together = pd.concat([able, rows])
            found |= _metric_figures(together, str(kind), "rate", f"{kind} rate", even=True)
    return found
