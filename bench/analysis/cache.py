"""Keep results on disk by what they depend on, so that a command goes on where it stopped.

One small ``.npz`` per key: arrays only, no pickles. A key is plain data (fingerprints, content
hashes, settings); whatever changes a result has to be in it.
"""

import hashlib
import json
import os
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

Arrays = dict[str, np.ndarray]


class ArrayCache:
    """Arrays by key, in a folder.

    Args:
        folder: Where they lie; made when something is kept.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, key: Mapping[str, Any]) -> Arrays | None:
        """Return the arrays of a key; None if they are not there or the file is damaged."""
        try:
            with np.load(self._path(key), allow_pickle=False) as file:
                return dict(file)
        except (OSError, ValueError, zipfile.BadZipFile):
            return None

    def put(self, key: Mapping[str, Any], arrays: Arrays) -> None:
        """Keep arrays; a reader never sees half a file."""
        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}.part")
        with partial.open("wb") as file:
            np.savez(file, **arrays)
        partial.replace(path)

    def get_or(self, key: Mapping[str, Any], make: Callable[[], Arrays]) -> Arrays:
        """Return the arrays of a key, made and kept if they are not there."""
        found = self.get(key)
        if found is None:
            found = make()
            self.put(key, found)
        return found

    def _path(self, key: Mapping[str, Any]) -> Path:
        text = json.dumps(dict(key), sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()
        return self.folder / digest[:2] / f"{digest[2:34]}.npz"
