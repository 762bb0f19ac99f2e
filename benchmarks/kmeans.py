"""K-means of the codebook stage beside scikit-learn's, on the same vectors.

CPU seconds and quantization error (relative to the vectors' variance) of

* ours (``semanticodec.training.codebook.kmeans``): plain Lloyd, batched products, runs on a GPU;
* ``KMeans`` (Lloyd, one start from random vectors) with as many iterations;
* ``MiniBatchKMeans``, at its own stopping rule.

    python benchmarks/kmeans.py --vectors 20000 --entries 1024
"""

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from sklearn.cluster import KMeans, MiniBatchKMeans

from semanticodec.semantic import nearest
from semanticodec.training.codebook import kmeans


def make_vectors(count: int, width: int) -> torch.Tensor:
    """Return vectors whose components shrink, as principal components of mel patches do."""
    random = np.random.default_rng(0)
    spread = 1.0 / np.sqrt(1 + np.arange(width))
    centres = random.standard_normal((count // 20, width))
    rows = centres[random.integers(len(centres), size=count)]
    rows = rows + 0.5 * random.standard_normal((count, width))
    return torch.from_numpy((rows * spread).astype(np.float32))


def relative_error(vectors: torch.Tensor, centroids: torch.Tensor) -> float:
    """Return the mean squared distance to the nearest centroid over the variance."""
    chosen = centroids[nearest(vectors, centroids)]
    spread = (vectors - vectors.mean(0)).square().sum()
    return float((vectors - chosen).square().sum() / spread)


def main() -> None:
    """Print one line per way."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--vectors", type=int, default=60000)
    parser.add_argument("--entries", type=int, default=2048)
    parser.add_argument("--width", type=int, default=36)
    parser.add_argument("--iterations", type=int, default=5)
    options = parser.parse_args()
    vectors = make_vectors(options.vectors, options.width)
    rows, entries = vectors.numpy(), options.entries
    lloyd = {"init": "random", "n_init": 1, "random_state": 0, "max_iter": options.iterations}
    ways: dict[str, Callable[[], torch.Tensor]] = {
        "ours": lambda: kmeans(vectors, entries, options.iterations, 0)[0],
        "KMeans": lambda: torch.from_numpy(KMeans(entries, **lloyd).fit(rows).cluster_centers_),
        "MiniBatchKMeans": lambda: torch.from_numpy(
            MiniBatchKMeans(entries, n_init=1, random_state=0, batch_size=8192)
            .fit(rows)
            .cluster_centers_
        ),
    }
    for name, way in ways.items():
        started = time.process_time()
        centroids = way()
        seconds = time.process_time() - started
        print(f"{name:16} {seconds:7.2f} CPU s  error {relative_error(vectors, centroids):.4f}")


if __name__ == "__main__":
    main()
