import io
from dataclasses import replace

import pandas as pd
import pytest
from rich.console import Console

from bench.errors import Reason
from bench.reporting.layout import codec_order, format_kbps
from bench.reporting.tables import (
    build_tables,
    to_console,
    to_csv,
    to_latex,
    to_markdown,
    write_tables,
)
from bench.results import MetricInfo


@pytest.fixture
def small(make_results):
    """Two codecs, an anchor and one that cannot run; two metrics; one failure."""
    metrics = (
        MetricInfo("stoi", "aaaa", bounds=(0.0, 1.0), domains=("speech",)),
        MetricInfo("mel|odd_name", "bbbb", version="2", higher_is_better=False),
    )
    return make_results(
        codecs={"passthrough": None, "a_b@6kbps": 6.0, "a_b@2kbps": 2.0, "c&d@1kbps": 1.0},
        metrics=metrics,
        domains=("speech",),
        clips=6,
        reasons={("a_b@2kbps", "speech-01", "stoi"): Reason.TIMEOUT},
        unavailable={"c&d@1kbps": "pip install 'c<d>'"},
    )


@pytest.fixture
def lines():
    """A summary by hand, so that every rounded number is known."""
    common = {"domain": "speech", "n": 6, "n_skipped": 0, "n_pending": 0, "statistic": "mean"}
    rows = [
        ("a_b@6kbps", "classical", 6.04, "stoi", 0.91, 0.90, 0.92, 0, "", 0.1, False),
        ("a_b@2kbps", "classical", 2.0, "stoi", 0.8096, 0.79, 0.8296, 1, "timeout:1", None, None),
        ("passthrough", "anchor", 768.0, "stoi", 1.0, 1.0, 1.0, 0, "", 0.19, False),
        ("a_b@6kbps", "classical", 6.04, "mel|odd_name", 1.5, 1.4, 1.6, 0, "", 0.01, True),
        ("a_b@2kbps", "classical", 2.0, "mel|odd_name", 1.499, 1.2, 1.8, 0, "", None, None),
        ("passthrough", "anchor", 768.0, "mel|odd_name", 0.0, 0.0, 0.0, 0, "", -1.5, False),
    ]
    columns = ["codec", "kind", "measured_kbps", "metric", "mean", "ci_low", "ci_high", "n_failed",
               "reasons", "difference", "tie"]  # fmt: skip
    table = pd.DataFrame(rows, columns=columns).assign(**common, reference="a_b@2kbps")
    table["family"] = table["codec"].str.split("@").str[0]
    return table.astype({"tie": "boolean"})


MARKDOWN = r"""### speech (6 clips)

| codec | kbps | stoi ↑ | mel\|odd_name ↓ |
| :-- | --: | --: | --: |
| a_b@2kbps | 2.00 | 0.810 ± 0.020 (1 failed) | **1.50 ± 0.30** |
| a_b@6kbps | 6.04 | **0.910 ± 0.010** ▲ | **1.50 ± 0.10** ≈ |
| passthrough | 768 | 1.000 ± 0.000 ▲ | 0.00 ± 0.00 ▲ |

Mean ± half the width of the bootstrap interval over clips (95 % unless stated otherwise); error rates are total errors over total words.
Against a_b@2kbps, clip-paired permutation test at 0.05: ▲ significantly better, ▼ significantly worse, ≠ significantly different, ≈ tie.

Codecs that could not run:

- c&d@1kbps: pip install 'c\<d\>'

Without a value:

- a_b@2kbps, speech: timeout:1 (stoi)

Metrics:

- stoi: version 1, fingerprint aaaa
- mel\|odd_name: version 2, fingerprint bbbb
"""  # noqa: E501  # a golden text

LATEX = r"""\begin{table}
\centering
\caption{speech (6 clips). Mean $\pm$ half the width of the bootstrap interval over clips (95 \% unless stated otherwise); error rates are total errors over total words.}
\label{tab:codecs-speech}
\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%
\begin{tabular}{lrrr}
\toprule
codec & kbps & stoi $\uparrow$ & mel|odd\_name $\downarrow$ \\
\midrule
a\_b@2kbps & 2.00 & 0.810 {\scriptsize$\pm$\,0.020} {\scriptsize(1 failed)} & \textbf{1.50} {\scriptsize$\pm$\,0.30} \\
a\_b@6kbps & 6.04 & \textbf{0.910} {\scriptsize$\pm$\,0.010}$^{+}$ & \textbf{1.50} {\scriptsize$\pm$\,0.10}$^{\approx}$ \\
passthrough & 768 & 1.000 {\scriptsize$\pm$\,0.000}$^{+}$ & 0.00 {\scriptsize$\pm$\,0.00}$^{+}$ \\
\bottomrule
\end{tabular}}
\par\smallskip{\footnotesize Against a\_b@2kbps, clip-paired permutation test at 0.05: $^{+}$ significantly better, $^{-}$ significantly worse, $^{\neq}$ significantly different, $^{\approx}$ tie.\par}
\par\smallskip{\footnotesize Codecs that could not run: c\&d@1kbps: pip install 'c<d>'.\par}
\par\smallskip{\footnotesize Without a value: a\_b@2kbps, speech: timeout:1 (stoi).\par}
\par\smallskip{\footnotesize Metrics: stoi: version 1, fingerprint aaaa; mel|odd\_name: version 2, fingerprint bbbb.\par}
\end{table}
"""  # noqa: E501  # a golden text


def test_markdown(small, lines):
    assert to_markdown(build_tables(small, lines)) == MARKDOWN


def test_latex(small, lines):
    assert to_latex(build_tables(small, lines)) == LATEX


def test_latex_headings_have_the_unit_in_a_line_of_its_own(make_results):
    text = to_latex(build_tables(make_results(clips=1)))
    assert r"\shortstack[r]{visqol-speech-exp\\(MOS-LQO) $\uparrow$}" in text
    assert r"\shortstack[r]{delay\\(ms)} \\" in text


def test_csv_keeps_full_precision(small):
    summary = small.table()
    again = pd.read_csv(io.StringIO(to_csv(summary)), float_precision="round_trip")
    assert (again["mean"].dropna() == summary["mean"].dropna()).all()
    assert list(again.columns) == list(summary.columns)


def test_console_shows_names_as_they_are(small):
    hostile = replace(small.codecs["a_b@6kbps"], codec_id="[red]x[/red]@1kbps")
    rows = small.rows.replace({"codec": {"a_b@6kbps": hostile.codec_id}})
    codecs = {**small.codecs, hostile.codec_id: hostile}
    output = io.StringIO()
    tables = build_tables(replace(small, rows=rows, codecs=codecs))
    Console(file=output, width=200).print(to_console(tables))
    assert "[red]x[/red]@1kbps" in output.getvalue()
    assert "(1 failed)" in output.getvalue()
    assert "pip install 'c<d>'" in output.getvalue()


def test_speech_metrics_have_no_column_elsewhere(make_results):
    tables = build_tables(make_results(clips=2)).tables
    shown = {table.title: [info.name for info in table.metrics] for table in tables}
    assert "wer" in shown["speech"]
    assert shown["music"] == ["visqol-speech-exp", "mel-dac-eval", "delay"]
    assert list(shown) == ["speech", "music", "sound", "mean of domains"]


def test_a_metric_with_nothing_but_failures_keeps_its_column(make_results):
    codecs = {"opus@6kbps": 6.0, "opus@12kbps": 12.0}
    clips = ["speech-00", "speech-01"]
    results = make_results(
        codecs=codecs,
        domains=("speech",),
        clips=2,
        reasons={
            (codec, clip, "pesq-wb"): Reason.METRIC_ERROR for codec in codecs for clip in clips
        },
    )
    text = to_markdown(build_tables(results))
    assert "pesq-wb ↑" in text
    assert "– (2 failed)" in text  # noqa: RUF001
    assert "- opus@6kbps, speech: metric_error:2 (pesq-wb)" in text


def test_rows_go_by_kind_family_and_bitrate(make_results):
    summary = make_results(
        codecs={"passthrough": None, "opus@24kbps": 24.0, "mp3@8kbps": 8.0, "opus@6kbps": 6.0,
                "z@3kbps": 3.0, "a@12kbps": 12.0, "a@6kbps": 6.0},
        clips=2,
    ).table(resamples=99)  # fmt: skip
    assert codec_order(summary) == [
        "z@3kbps", "a@6kbps", "a@12kbps", "opus@6kbps", "opus@24kbps", "mp3@8kbps", "passthrough",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("kbps", "text"),
    [(0.35, "0.350"), (1.4, "1.40"), (24, "24.0"), (768, "768"), (0.0, "0"), (float("inf"), "–")],  # noqa: RUF001
)
def test_bitrates(kbps, text):
    assert format_kbps(kbps) == text


def test_datasets_kept_apart_have_tables_apart(small):
    other = small.rows.assign(dataset="other")
    both = replace(small, rows=pd.concat([small.rows, other], ignore_index=True))
    summary = both.table(by=("dataset", "codec", "domain", "metric"), resamples=99)
    titles = [table.title for table in build_tables(both, summary).tables]
    assert titles == ["other, speech", "synthetic, speech"]


def test_without_domains_there_is_one_table(small):
    summary = small.table(by=("codec", "metric"), resamples=99)
    (table,) = build_tables(small, summary).tables
    assert table.title == "all clips"


def test_many_metrics_go_into_several_tables(make_results):
    metrics = [MetricInfo(f"metric-{index}", f"{index:04x}") for index in range(9)]
    results = make_results(
        codecs={"opus@6kbps": 6.0}, metrics=metrics, domains=("speech",), clips=2
    )
    tables = build_tables(results).tables
    assert [(table.title, len(table.metrics)) for table in tables] == [
        ("speech, 1 of 2", 5),
        ("speech, 2 of 2", 4),
    ]
    assert r"\label{tab:codecs-speech-2-of-2}" in to_latex(build_tables(results))


def test_files(small, tmp_path):
    paths = write_tables(small, tmp_path / "out", reference="a_b@2kbps")
    assert [path.name for path in paths] == ["summary.csv", "tables.md", "tables.tex"]
    assert "significantly" in paths[1].read_text(encoding="utf-8")


def test_recogniser_loops_are_named_below_the_tables(small):
    rows = small.rows.copy()
    clip = rows.index[rows["metric"] == rows["metric"].iloc[0]][0]
    rows.loc[clip, "detail"] = '{"edits": 40, "words": 3, "loop": true}'
    rows.loc[rows.index != clip, "detail"] = '{"edits": 1, "words": 3, "loop": false}'
    tables = build_tables(replace(small, rows=rows), small.table(resamples=99))
    codec, metric, name = rows.loc[clip, ["codec", "metric", "clip"]]
    assert tables.loops == (f"{codec}, {metric}: 1 clips ({name})",)
    assert "Recogniser loops" in to_markdown(tables)


def test_codecs_that_could_not_run_are_one_line_a_reason(make_results):
    long = "no weights: " + "they are far away, " * 12
    absent = {"opus@6kbps": long, "opus@12kbps": long, "opus@24kbps": "other", "passthrough": "x"}
    tables = build_tables(make_results(unavailable=absent))
    expected = (f"opus@{{6kbps,12kbps}}: {long}", "opus@24kbps: other", "passthrough: x")
    assert set(tables.not_measured) == set(expected)
    console = Console(file=io.StringIO(), width=80)
    console.print(to_console(tables), crop=False)
    lines = [line.strip() for line in console.file.getvalue().splitlines()]
    assert all(entry.strip() in lines for entry in expected)
