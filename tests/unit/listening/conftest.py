"""A run with kept audio, its listening test, and raters who hear what was planted."""

import csv
import dataclasses
import random

import numpy as np
import pytest
import soundfile

from bench.audio import write_flac
from bench.listening import export
from bench.results import reconstruction_name
from bench.store import CodingKey

RATE = 16000
CODECS = {"passthrough": None, "good@12kbps": 12.0, "fair@6kbps": 6.0, "poor@3kbps": 3.0}
SYSTEMS = tuple(codec for codec in CODECS if codec != "passthrough")
#: What a rater hears, before noise.
QUALITY = {"reference": 100, "good@12kbps": 80, "fair@6kbps": 60, "poor@3kbps": 35,
           "lowpass@3500hz": 20, "lowpass@7000hz": 45}  # fmt: skip
WEBMUSHRA_COLUMNS = ("session_test_id", "rater", "trial_id", "rating_stimulus", "rating_score",
                     "rating_time", "rating_comment")  # fmt: skip


@pytest.fixture(scope="session")
def kept_run(make_results, tmp_path_factory):
    """Six clips of half a second in two domains; each codec at a level of its own."""
    folder = tmp_path_factory.mktemp("run")
    results = make_results(codecs=CODECS, clips=3, domains=("speech", "music"), folder=folder)
    paths = []
    for index, clip in enumerate(results.clips.to_dict("records")):
        noise = 0.1 * np.random.default_rng(index).standard_normal((1, RATE // 2))
        paths.append(str(folder / f"reference{index}.wav"))
        soundfile.write(paths[-1], noise.T, RATE)
        for number, info in enumerate(results.codecs.values()):
            key = CodingKey(info.fingerprint, clip["clip_hash"], 0)
            level = 10 ** (-3 * number / 20)
            samples = (level * noise).astype(np.float32)
            write_flac(folder / reconstruction_name(key), samples, RATE)
    return dataclasses.replace(results, clips=results.clips.assign(path=paths))


@pytest.fixture(scope="session")
def exported(kept_run, tmp_path_factory):
    return export(kept_run, tmp_path_factory.mktemp("test") / "out", name="Our test", seed=3)


@pytest.fixture
def rate(tmp_path):
    """Write the ratings of made-up raters as webMUSHRA does, and return the file."""

    def write(test, raters=8, noise=6.0, seed=0, careless=(), name="mushra.csv"):
        rng = random.Random(seed)
        path = tmp_path / name
        with path.open("w", newline="") as file:
            table = csv.writer(file)
            table.writerow(WEBMUSHRA_COLUMNS)
            for rater in range(raters):
                severity = rng.gauss(0, 4)
                for trial in test.trials:
                    for condition in test.conditions:
                        heard = QUALITY[condition.codec]
                        if condition.role != "reference":
                            heard += severity + rng.gauss(0, noise)
                        elif rater in careless:
                            heard = rng.choice([70, 95])
                        score = min(100, max(0, round(heard)))
                        row = ("t", f"r{rater}", trial.id, condition.name, score, 900, "")
                        table.writerow(row)
        return path

    return write
