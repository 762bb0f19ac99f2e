"""Measure codecs one after the other, each in a fresh process, and keep what they cost.

``speed.csv`` has one row per codec, device and machine, ``passes.csv`` one per pass that was timed,
``machines.csv`` says what the machines are. A codec that is measured again on the same machine and
device replaces its rows.
"""

import argparse
import os
import statistics
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd

from bench.audio import Audio
from bench.errors import BenchError, Status, UsageError
from bench.pool import Limits, LocalPool
from bench.reporting.analysis import FOLDER, write_analysis
from bench.runner import run_tasks
from bench.timing.machine import machine_id
from bench.timing.measure import Cost, Passes, SpeedTask

FEATURE = "speed"
KEYS = ["codec", "device", "machine"]
SPEED_COLUMNS = (
    *KEYS, "status", "reason", "threads",
    "rtf_encode", "rtf_encode_min", "rtf_encode_max",
    "rtf_decode", "rtf_decode_min", "rtf_decode_max", "rtf_encode_cpu", "rtf_decode_cpu",
    "latency_ms", "latency_min_ms", "latency_max_ms", "unit_ms", "latency_reason",
    "base_memory_mb", "peak_memory_mb", "device_memory_mb", "parameters",
    "gflop_per_s_encode", "gflop_per_s_decode", "flop_reason",
    "audio_s", "repeats", "load_before", "contended", "message",
)  # fmt: skip
PASS_COLUMNS = (*KEYS, "step", "number", "wall_s", "cpu_s")
#: Wall seconds above this many times the CPU seconds: the process had to wait for others.
WAITING = 1.1
SUMMARY = (
    "Seconds of work per second of audio (RTF; below 1 is faster than real time), median over "
    "passes after a warm-up, with the fastest and the slowest pass. Latency: from having one "
    "unit of input (a frame or window, unit ms) until its audio exists. Memory: most that a "
    "fresh process held, libraries included. GFLOP: matrix products and convolutions per second "
    "of audio, a multiplication and an addition being two."
)
CONTENDED_NOTE = (
    "Rows marked contended were measured while the machine did something else too: their wall "
    "times are too long; compare their CPU times (rtf encode cpu, rtf decode cpu)."
)


def measure_speed(
    codecs: Sequence[str],
    audio: Audio,
    *,
    devices: Sequence[str] = ("cpu",),
    seconds: float = 10.0,
    repeats: int = 5,
    threads: int = 1,
    timeout_s: float = 900.0,
    log: Path | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> list[Cost]:
    """Measure codecs, each on each device, one at a time.

    Args:
        codecs: Codec ids.
        audio: What is coded: cut or repeated to ``seconds``.
        devices: Where neural codecs run, e.g. ``cpu``, ``cuda``.
        seconds: Of audio in one pass.
        repeats: Passes that count; one more warms up.
        threads: Of each process.
        timeout_s: For all passes of one codec.
        log: File that takes what libraries print.
        progress: Told which codec is measured now.

    Raises:
        UsageError: If an option cannot be.
    """
    if seconds <= 0 or repeats < 1 or threads < 1:
        raise UsageError(
            f"speed takes seconds above 0 and at least 1 repeat and thread, "
            f"got {seconds:g} s, {repeats} and {threads}"
        )
    _check_devices(devices)
    samples = _fitted(audio, seconds)
    found: list[Cost] = []
    with TemporaryDirectory() as scratch:
        file = log or Path(scratch) / "log.txt"
        for device in devices:
            for codec in codecs:
                progress(f"{codec} on {device}")
                task = SpeedTask(codec, device, samples, audio.sample_rate, repeats, threads)
                # A pool of its own for each: memory is then this codec's alone.
                with closing(LocalPool(1, file, Limits(timeout_s, threads=threads))) as pool:
                    run_tasks([task], lambda _, cost: found.append(cost), pool)
    return found


def _check_devices(devices: Sequence[str]) -> None:
    if any(device.startswith("cuda") for device in devices):
        import torch

        if not torch.cuda.is_available():
            raise UsageError(
                f"no CUDA device here (torch {torch.__version__}); measure on --devices cpu"
            )


def _fitted(audio: Audio, seconds: float) -> Any:
    """Return the audio's samples cut, or repeated, to a length."""
    length = max(1, round(seconds * audio.sample_rate))
    copies = -(-length // audio.samples.shape[1])
    return np.ascontiguousarray(np.tile(audio.samples, copies)[:, :length])


# --- tables ------------------------------------------------------------------------------------


def speed_table(costs: Iterable[Cost], threads: int = 1) -> pd.DataFrame:
    """Return one row per codec and device, :data:`SPEED_COLUMNS`."""
    return pd.DataFrame([_line(cost, threads) for cost in costs], columns=list(SPEED_COLUMNS))


def pass_table(costs: Iterable[Cost]) -> pd.DataFrame:
    """Return one row per timed pass, :data:`PASS_COLUMNS`."""
    lines = [
        (*_key(cost), step, number, wall, cpu)
        for cost in costs
        for step, passes in (
            ("encode", cost.encode), ("decode", cost.decode), ("latency", cost.latency)
        )
        for number, (wall, cpu) in enumerate(zip(passes.wall_s, passes.cpu_s, strict=True))
    ]  # fmt: skip
    return pd.DataFrame(lines, columns=list(PASS_COLUMNS))


def machine_table(costs: Iterable[Cost]) -> pd.DataFrame:
    """Return one row per machine: its id and what it is."""
    facts = [{"machine": machine_id(cost.device)} | cost.device for cost in costs if cost.device]
    return pd.DataFrame(facts, columns=["machine"] if not facts else None).drop_duplicates(
        "machine"
    )


def _key(cost: Cost) -> tuple[str, str, str]:
    return cost.codec, cost.device_name, machine_id(cost.device) if cost.device else ""


def _line(cost: Cost, threads: int) -> dict[str, Any]:
    line: dict[str, Any] = dict(zip(KEYS, _key(cost), strict=True))
    line |= {"status": str(cost.status), "reason": cost.reason or "", "message": cost.message}
    if cost.status != Status.OK:
        return line
    seconds = cost.duration_s
    line |= _spread("rtf_encode", cost.encode.wall_s, 1 / seconds)
    line |= _spread("rtf_decode", cost.decode.wall_s, 1 / seconds)
    line |= _spread("latency", cost.latency.wall_s, 1000, "_ms")
    missing = cost.missing.values()
    return line | {
        "threads": threads,
        "rtf_encode_cpu": statistics.median(cost.encode.cpu_s) / seconds,
        "rtf_decode_cpu": statistics.median(cost.decode.cpu_s) / seconds,
        "unit_ms": None if cost.unit_s is None else 1000 * cost.unit_s,
        "latency_reason": _reason(cost, "latency"),
        "base_memory_mb": cost.base_memory_mb,
        "peak_memory_mb": cost.peak_memory_mb,
        "device_memory_mb": cost.device_memory_mb,
        "parameters": cost.parameters,
        "gflop_per_s_encode": _per_second(cost.encode_flop, seconds),
        "gflop_per_s_decode": _per_second(cost.decode_flop, seconds),
        "flop_reason": _reason(cost, "flop"),
        "audio_s": seconds,
        "repeats": len(cost.encode.wall_s),
        "load_before": cost.load_before,
        "contended": is_contended(cost, threads),
        "message": "; ".join(one.message for one in missing),
    }


def _spread(name: str, values: Sequence[float], factor: float, unit: str = "") -> dict[str, float]:
    """Return median, minimum and maximum; nothing where nothing was timed."""
    if not values:
        return {}
    return {
        f"{name}{unit}": factor * statistics.median(values),
        f"{name}_min{unit}": factor * min(values),
        f"{name}_max{unit}": factor * max(values),
    }


def _per_second(flop: int | None, seconds: float) -> float | None:
    return None if flop is None else flop / seconds / 1e9


def _reason(cost: Cost, name: str) -> str:
    return str(cost.missing[name].reason) if name in cost.missing else ""


def is_contended(cost: Cost, threads: int) -> bool:
    """Return whether the machine did something else while a codec was measured.

    Either more was running before than would have left the threads a core each, or a process of
    one thread on the CPU got less than its time.
    """
    cores = cost.device.get("cores") or os.cpu_count() or 1
    waited = threads == 1 and cost.device_name == "cpu" and _waited(cost.encode, cost.decode)
    return waited or cost.load_before > cores - threads + 0.5


def _waited(*steps: Passes) -> bool:
    wall = sum(sum(passes.wall_s) for passes in steps)
    return wall > WAITING * sum(sum(passes.cpu_s) for passes in steps)


# --- files -------------------------------------------------------------------------------------


def write_speed(costs: Sequence[Cost], run: Path, *, threads: int = 1) -> pd.DataFrame:
    """Add what was measured to a run's folder, and return the whole table.

    Args:
        costs: From :func:`measure_speed`.
        run: The run's folder; it need not hold a run.
        threads: That they were measured with.

    Raises:
        BenchError: If the folder holds a table that is not ours, or cannot be written.
    """
    folder = run / FOLDER / FEATURE
    new = {
        "speed": speed_table(costs, threads),
        "passes": pass_table(costs),
        "machines": machine_table(costs),
    }
    tables = {name: _merged(folder / f"{name}.csv", frame) for name, frame in new.items()}
    contended = tables["speed"]["contended"].fillna(False).astype(bool).any()
    write_analysis(
        run,
        FEATURE,
        title="Speed",
        summary=SUMMARY,
        notes=[CONTENDED_NOTE] if contended else [],
        tables=tables,
    )
    return tables["speed"]


def _merged(path: Path, new: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of a file, those that were measured again replaced."""
    if not path.is_file():
        return new
    try:
        old = pd.read_csv(path)
    except ValueError as error:
        raise BenchError(f"{path} is no table of speeds ({error}); move it away") from error
    keys = [name for name in KEYS if name in new]
    if not set(keys) <= set(old):
        raise BenchError(f"{path} is no table of speeds, it lacks {', '.join(keys)}; move it away")
    again = old.set_index(keys).index.isin(new.set_index(keys).index)
    kept = old[~again]
    return pd.concat([part for part in (kept, new) if len(part)] or [new], ignore_index=True)


# --- command line ------------------------------------------------------------------------------


def speed(options: argparse.Namespace) -> int:
    """Measure the codecs that were asked for, or those of the run."""
    from bench import api
    from bench.commands import print_table, say
    from bench.reporting.publish import refresh

    table = api.speed(
        options.codecs,
        devices=options.devices,
        dataset=options.dataset,
        seconds=options.seconds,
        repeats=options.repeats,
        threads=options.threads,
        timeout_s=options.task_timeout,
        out=options.out,
        progress=lambda text: say(f"measuring {text}"),
    )
    headings = ("codec", "device", "RTF enc", "RTF dec", "latency ms", "unit ms", "MB", "M param",
                "GFLOP/s enc", "GFLOP/s dec", "notes")  # fmt: skip
    print_table(
        "medians; RTF below 1 is faster than real time", headings, map(_printed, _rows(table))
    )
    say(f"tables: {options.out / FOLDER / FEATURE}")
    report = refresh(options.out)
    if report:
        say(f"report: {report}")
    return int((table["status"] == Status.FAILED).any())


def _rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


def _printed(row: dict[str, Any]) -> list[str]:
    numbers = ("rtf_encode", "rtf_decode", "latency_ms", "unit_ms", "peak_memory_mb")
    millions = row["parameters"] / 1e6 if pd.notna(row["parameters"]) else None
    values = [row[name] for name in numbers]
    values += [millions, row["gflop_per_s_encode"], row["gflop_per_s_decode"]]
    texts = ["" if pd.isna(value) else f"{value:.3g}" for value in values]
    notes = [str(row["reason"])] if row["status"] != Status.OK else []
    notes += ["contended"] if row["contended"] is True else []
    return [str(row["codec"]), str(row["device"]), *texts, ", ".join(notes)]
