"""Where weights come from: a local path, the weights shipped inside, or the Hugging Face Hub."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from semanticodec.checkpoint import ReleasedFiles, load_own, load_released
from semanticodec.config import SemantiCodecConfig, operating_point
from semanticodec.errors import CheckpointError
from semanticodec.mini import load_mini
from semanticodec.model import SemantiCodecModel

MINI_NAMES = ("mini", "semanticodec-mini")
DEFAULT_VOCAB_SIZE = 16384
RELEASED_REPOSITORY = "haoheliu/SemantiCodec"
SHIPPED = Path(__file__).parent / "weights"


def load_model(
    source: str | os.PathLike[str] | None = None,
    token_rate: int = 100,
    semantic_vocab_size: int = DEFAULT_VOCAB_SIZE,
    *,
    revision: str | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    config: SemantiCodecConfig | None = None,
    dtype: torch.dtype = torch.float32,
    verify: bool = False,
) -> SemantiCodecModel:
    """Load a model, on the CPU and in evaluation mode.

    Args:
        source: A ``.safetensors`` file of ours; a folder with one, or in the released layout; the
            name of shipped weights, ``mini``; or a Hugging Face id. None: the released repository.
        token_rate: Of a released model: 25, 50 or 100 tokens/s.
        semantic_vocab_size: Of a released model: 4096, 8192, 16384 or 32768.
        revision: Commit, tag or branch on the Hub.
        cache_dir: Of the Hub's client.
        config: Sizes of a model in the released layout that is not one of the twelve points.
        dtype: Of the parameters in memory.
        verify: Whether to compare the digest of our own format (reads the whole file).

    Raises:
        CheckpointError: If the weights cannot be found, fetched or read.
        ValueError: If there is no such operating point.
    """
    source = os.fspath(source) if source is not None else RELEASED_REPOSITORY
    if source in MINI_NAMES:
        # the default number of entries is the released models'; here it means the small one's own
        size = None if semantic_vocab_size == DEFAULT_VOCAB_SIZE else semantic_vocab_size
        return load_mini(token_rate, size)
    path = Path(source).expanduser()
    if path.suffix == ".safetensors" and (path.exists() or not _is_hub_id(source)):
        return load_own(path, verify=verify, dtype=dtype)
    if not path.is_dir():
        path = SHIPPED / source if (SHIPPED / source).is_dir() else path
    if path.is_dir():
        own = sorted(path.glob("*.safetensors"))
        if own:
            return load_own(_only(own, path), verify=verify, dtype=dtype)
        files = _local_files(path, token_rate, semantic_vocab_size)
    elif _is_hub_id(source):
        files = _fetch(source, token_rate, semantic_vocab_size, revision, cache_dir)
    else:
        raise CheckpointError(f"no weights at {source}: neither a file, a folder nor a Hub id")
    config = config or operating_point(token_rate, semantic_vocab_size)
    return load_released(files, config).to(dtype if dtype != torch.float32 else None)


def _is_hub_id(source: str) -> bool:
    """Tell whether a name looks like ``owner/name``."""
    parts = source.split("/")
    return len(parts) == 2 and all(parts) and parts[0] not in (".", "..", "~")


def _only(files: list[Path], folder: Path) -> Path:
    if len(files) > 1:
        names = ", ".join(file.name for file in files)
        raise CheckpointError(f"{folder} holds several models ({names}); name one of them")
    return files[0]


def _local_files(folder: Path, token_rate: int, semantic_vocab_size: int) -> ReleasedFiles:
    """Find the released files in a folder: the whole repository, or one model's own folder."""
    operating_point(token_rate, semantic_vocab_size)  # a wrong point is a clearer error here
    encoder, decoder, codebook = ReleasedFiles.names(token_rate, semantic_vocab_size)
    if (folder / "encoder.ckpt").is_file():
        books = [folder.parent / codebook, folder / codebook, folder / Path(codebook).name]
        book = next((path for path in books if path.is_file()), books[0])
        return ReleasedFiles(folder / "encoder.ckpt", folder / "decoder.ckpt", book)
    return ReleasedFiles(folder / encoder, folder / decoder, folder / codebook)


def _fetch(
    repository: str,
    token_rate: int,
    semantic_vocab_size: int,
    revision: str | None,
    cache_dir: str | os.PathLike[str] | None,
) -> ReleasedFiles:
    """Download (or find in the cache) the three files of an operating point."""
    from huggingface_hub import hf_hub_download

    operating_point(token_rate, semantic_vocab_size)
    folder = None if cache_dir is None else os.fspath(cache_dir)
    paths = []
    for name in ReleasedFiles.names(token_rate, semantic_vocab_size):
        try:
            paths.append(
                Path(hf_hub_download(repository, name, revision=revision, cache_dir=folder))
            )
        except Exception as error:  # the Hub client raises many unrelated types
            raise CheckpointError(
                f"cannot get {name} of {repository} at {revision or 'its newest revision'} "
                f"({type(error).__name__}: {error}); without a network, pass a local folder"
            ) from error
    return ReleasedFiles(*paths)
