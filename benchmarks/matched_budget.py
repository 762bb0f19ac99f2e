"""The small SemantiCodec beside the small DAC and classical codecs, for docs/matched_budget.md.

    python benchmarks/matched_budget.py --out runs/matched --cache cache --paper groundtruth

Three sets of clips: the demo corpus; validation clips of a training cache (``semanticodec train
data``), four seconds from the middle of each; the ground truth of the audio that SemantiCodec's
authors released. Results are kept and resumed like those of any run. ``--surface`` measures
guidance against steps instead. ``semanticodec train evaluate`` measures the small model's ceilings.
"""

import argparse
from pathlib import Path

import pandas as pd
import soundfile

import bench
from bench.paper import PREFIXES
from bench.runner import Execution
from semanticodec.training.data import SAMPLE_RATE, AudioCache
from semanticodec.training.evaluate import validation_clips

SMALL = (
    *(f"semanticodec-mini@{rate}tps" for rate in (25, 50, 100)),
    *(f"dac-mini@{count}cb" for count in (3, 5, 9)),
)
OTHERS = ("noise", "lowpass@3500hz", "codec2@1300bps", "amr-nb@4.75kbps", "g723-1@6.3kbps",
          "opus@6kbps")  # fmt: skip
METRICS = ("visqol-speech-exp", "mel-dac-eval", "pesq-wb", "stoi", "wer", "dwer")
FOLDERS = {"speech": "speech", "music": "music", "general": "sound"}


def validation_folder(cache: Path, folder: Path, per_domain: int, seconds: float) -> Path:
    """Write validation clips as files, a folder per domain."""
    for index, (domain, wave) in enumerate(
        validation_clips(AudioCache(cache), per_domain, seconds)
    ):
        path = folder / FOLDERS[domain] / f"{index:03d}.flac"
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.is_file():
            soundfile.write(path, wave, SAMPLE_RATE, subtype="PCM_24")
    return folder


def paper_folder(source: Path, folder: Path) -> Path:
    """Link the clips of the paper's release into a folder per domain."""
    for path in sorted(source.iterdir()):
        domain = next((d for prefix, d in PREFIXES.items() if path.name.startswith(prefix)), None)
        if domain is None:
            continue
        link = folder / domain / path.name
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.exists():
            link.symlink_to(path.resolve())
    return folder


def measure(
    dataset: str | Path, codecs: tuple[str, ...], out: Path, jobs: int, limit: int | None = None
) -> None:
    """Run, and print a row per codec: means with half the width of their 95 % interval."""
    results = bench.run(
        dataset, codecs=codecs, metrics=METRICS, limit=limit, out=out,
        execution=Execution(jobs=jobs),
    )  # fmt: skip
    table = results.table()
    table = table[table["mean"].notna() & table["metric"].isin(METRICS)]
    half = (table["ci_high"] - table["ci_low"]) / 2
    cells = [
        f"{mean:.2f}" + ("" if pd.isna(width) else f" ± {width:.2f}")
        for mean, width in zip(table["mean"], half, strict=True)
    ]
    table = table.assign(cell=cells, column=table["metric"] + " " + table["domain"])
    shown = table.set_index(["codec", "column"])["cell"].unstack().reindex(codecs)  # noqa: PD010 - one cell each
    print(f"\n{out.name}, {len(results.clips)} clips\n")
    print(to_markdown(shown.fillna("")))


def to_markdown(table: pd.DataFrame) -> str:
    """Return a table as Markdown."""
    rows = [[table.index.name, *table.columns], ["---"] * (1 + len(table.columns))]
    rows += [[name, *cells] for name, *cells in table.itertuples()]
    return "\n".join(f"| {' | '.join(map(str, row))} |" for row in rows)


def surface() -> tuple[str, ...]:
    """Return the small codec at 50 tokens/s with every sampler setting of the surface."""
    return tuple(
        f"semanticodec-mini@50tps:preset=quality,steps={steps},guidance={guidance}"
        for guidance in ("1.0", "2.0")
        for steps in (1, 4, 10)
    )


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--cache", type=Path, help="training cache, for the validation clips")
    parser.add_argument("--paper", type=Path, help="folder groundtruth of the paper's audio")
    parser.add_argument("--surface", action="store_true")
    parser.add_argument("--per-domain", type=int, default=12, help="validation clips")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each validation clip")
    parser.add_argument("--jobs", type=int, default=0)
    options = parser.parse_args()
    if options.surface:
        measure("demo", surface(), options.out / "surface", options.jobs, limit=4)
        return
    codecs = (*SMALL, *OTHERS)
    measure("demo", codecs, options.out / "demo", options.jobs)
    if options.cache:
        folder = validation_folder(
            options.cache, options.out / "clips-validation", options.per_domain, options.seconds
        )
        measure(folder, codecs, options.out / "validation", options.jobs)
    if options.paper:
        folder = paper_folder(options.paper, options.out / "clips-paper")
        measure(folder, codecs, options.out / "paper", options.jobs)


if __name__ == "__main__":
    main()
