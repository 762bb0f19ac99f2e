"""The command ``run_bench.py listening``."""

import argparse

from bench.commands import print_table, say
from bench.listening.evaluation import evaluate, write
from bench.listening.exporting import export
from bench.reporting.publish import refresh


def listening(options: argparse.Namespace) -> int:
    """Write a test, or evaluate the ratings of one."""
    return {"export": _export, "import": _import}[options.action](options)


def _export(options: argparse.Namespace) -> int:
    done = export(
        options.folder,
        options.out,
        codecs=options.codecs,
        preset=options.preset,
        limit=options.limit,
        anchors=options.anchors,
        keep_levels=options.keep_levels,
        name=options.name,
        seed=options.seed,
    )
    say(f"{len(done.test.trials)} pages of {len(done.test.conditions)} conditions")
    say(f"copy {done.folder / 'configs'} into webMUSHRA's folder, and keep {done.folder} otherwise")
    for path in done.configs:
        say(f"open it at .../webMUSHRA/?config={path.name}")
    return 0


def _import(options: argparse.Namespace) -> int:
    done = evaluate(options.test, options.ratings, rater_columns=options.rater, seed=options.seed)
    rows = [
        [str(row["domain"]), str(row["codec"]), f"{row['mean']:.1f}",
         f"{row['ci_low']:.1f} .. {row['ci_high']:.1f}", str(row["raters"]), str(row["clips"])]
        for row in done.means.to_dict("records")
    ]  # fmt: skip
    excluded = done.screening[done.screening["excluded"]]
    title = f"MUSHRA scores; {len(excluded)} of {len(done.screening)} raters excluded"
    print_table(title, ("domain", "codec", "mean", "95 %", "raters", "clips"), rows)
    say(f"tables: {write(done, options.out)}")
    report = refresh(options.out)
    if report:
        say(f"report: {report}")
    return 0
