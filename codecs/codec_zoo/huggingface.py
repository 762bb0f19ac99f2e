"""Find the weights of a released model: a folder of the user's own, the cache, or the hub.

A model is pinned to a commit of its repository, which fixes weights and configuration at once, so
the commit is also the hash of the weights. Nothing is downloaded before a codec is first used, and
without a network the answer comes at once: the hub's own client would try for half a minute.
"""

import hashlib
import json
import os
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from threading import Thread
from typing import Any

from codec_zoo.base import CodecUnavailableError

REMEDY = "pip install 'codecbench[neural]'"
#: How long to wait for a first sign of the hub, seconds.
PATIENCE_S = 3.0
#: What a folder of ``save_pretrained`` may keep weights in; the first kind found counts.
WEIGHT_FILES = ("*.safetensors", "pytorch_model*.bin")


@dataclass(frozen=True)
class HubModel:
    """A model at one commit of its repository on the Hugging Face hub.

    Attributes:
        repository: ``owner/name``.
        commit: Its forty hex digits; None where no commit is known to us, so that only a folder
            of the user's own will do.
        files: What of it a codec needs.
    """

    repository: str
    commit: str | None
    files: tuple[str, ...] = ("config.json", "model.safetensors")

    def cached_folder(self) -> Path | None:
        """Return the folder of the files if all of them are in the cache."""
        from huggingface_hub import try_to_load_from_cache

        if self.commit is None:
            return None
        found = [
            try_to_load_from_cache(self.repository, name, revision=self.commit)
            for name in self.files
        ]
        paths = [Path(path) for path in found if isinstance(path, str)]
        return paths[0].parent if len(paths) == len(self.files) else None

    def missing_reason(self) -> str | None:
        """Return why the weights cannot be had here (one line with the remedy), or None."""
        if self.commit is None:
            return (
                f"no commit of {self.repository} is pinned yet: download it and name its folder "
                "with path="
            )
        if self.cached_folder() is not None or (not is_offline() and hub_answers()):
            return None
        why = "HF_HUB_OFFLINE is set" if is_offline() else "the Hugging Face hub does not answer"
        return (
            f"no weights: {self.repository} is not in the Hugging Face cache and {why}; "
            "or name a folder with path="
        )

    def folder(self) -> Path:
        """Return the folder of the files, downloaded if need be.

        Raises:
            CodecUnavailableError: If they are not in the cache and cannot be downloaded.
        """
        cached = self.cached_folder()
        if cached is not None:
            return cached
        reason = self.missing_reason()
        if reason is not None:
            raise CodecUnavailableError(reason)
        return self._download()

    def _download(self) -> Path:
        from huggingface_hub import hf_hub_download

        try:
            paths = [
                hf_hub_download(self.repository, name, revision=self.commit) for name in self.files
            ]
        except OSError as error:  # every error of the hub's client is one
            raise CodecUnavailableError(
                f"{self.repository} cannot be downloaded: {_first_line(error)}; "
                "download it elsewhere and name its folder with path="
            ) from error
        return Path(paths[0]).parent


def missing_package(name: str) -> str | None:
    """Return that a package is missing (one line with the remedy), or None."""
    return None if find_spec(name) else f"the package {name} is missing: {REMEDY}"


def is_offline() -> bool:
    """Return whether the user forbids the network, the way the hub's client reads it."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}


@lru_cache(maxsize=1)
def hub_answers() -> bool:
    """Return whether the hub can be reached; asked once per process, for three seconds at most.

    In a thread of its own, because looking up a name cannot be given a time limit.
    """
    answers: list[int] = []
    thread = Thread(target=_ask_hub, args=(answers,), daemon=True)
    thread.start()
    thread.join(PATIENCE_S)
    return bool(answers)


def _ask_hub(answers: list[int]) -> None:
    from huggingface_hub import constants, get_session

    try:
        answer = get_session().head(constants.ENDPOINT, timeout=PATIENCE_S)
    except Exception:  # whatever keeps us from the hub, it did not answer
        return
    answers.append(answer.status_code)


def local_folder(path: str) -> Path:
    """Return the folder of a model that ``save_pretrained`` wrote.

    Raises:
        CodecUnavailableError: If it is not there or lacks its configuration or weights.
    """
    folder = Path(path)
    if not (folder / "config.json").is_file():
        raise CodecUnavailableError(f"no config.json in {path}; path= takes a model's folder")
    if not weight_files(folder):
        raise CodecUnavailableError(f"no weights in {path}: none of {', '.join(WEIGHT_FILES)}")
    return folder


def weight_files(folder: Path) -> list[Path]:
    """Return the files of weights in a model's folder, sorted by name."""
    kinds = (sorted(folder.glob(pattern)) for pattern in WEIGHT_FILES)
    return next((found for found in kinds if found), [])


def load_config(name: str, folder: Path) -> Any:
    """Return the configuration in a folder as the transformers class ``name``.

    Raises:
        CodecUnavailableError: If transformers has no such class, or the folder holds another model.
    """
    config_class = _transformers_class(name)
    try:
        config = config_class.from_pretrained(folder, local_files_only=True)
        found = json.loads((folder / "config.json").read_text()).get("model_type")
    except (OSError, ValueError, TypeError) as error:
        raise CodecUnavailableError(f"{folder} cannot be loaded: {_first_line(error)}") from error
    if found != config_class.model_type:
        raise CodecUnavailableError(
            f"{folder} holds a model of type {found}, expected {config_class.model_type}"
        )
    return config


def load_model(name: str, folder: Path) -> Any:
    """Return the model in a folder as the transformers class ``name``, without a progress bar.

    Raises:
        CodecUnavailableError: If its weights are not all there or do not fit the configuration.
    """
    from transformers.utils import logging

    model_class = _transformers_class(name)
    had_bar = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        model, found = model_class.from_pretrained(
            folder, local_files_only=True, output_loading_info=True
        )
    except (OSError, RuntimeError, ValueError) as error:
        raise CodecUnavailableError(f"{folder} cannot be loaded: {_first_line(error)}") from error
    finally:
        if had_bar:
            logging.enable_progress_bar()
    if found["missing_keys"]:
        missing = sorted(found["missing_keys"])
        raise CodecUnavailableError(
            f"{folder} lacks {len(missing)} weights, {missing[0]} among them; download it again"
        )
    return model


def _transformers_class(name: str) -> Any:
    import transformers

    try:
        return getattr(transformers, name)
    except (AttributeError, ImportError) as error:
        raise CodecUnavailableError(
            f"transformers {transformers.__version__} has no {name}: {REMEDY}"
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def folder_hash(folder: Path) -> str:
    """Return a hash of a folder's configuration and weights, computed once per version."""
    files = [folder / "config.json", *weight_files(folder)]
    facts = [path.stat() for path in files]
    return _hash_of(
        tuple(
            (path, fact.st_size, fact.st_mtime_ns) for path, fact in zip(files, facts, strict=True)
        )
    )


@lru_cache(maxsize=16)
def _hash_of(versions: tuple[tuple[Path, int, int], ...]) -> str:
    digest = hashlib.sha256()
    for path, _, _ in versions:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
