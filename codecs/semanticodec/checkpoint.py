"""Weights on disk: the released layout, and our own safetensors file.

Released files are read with ``weights_only=True`` and memory-mapped, and only what coding needs is
touched, so the peak memory is that of the parameters in use. Our file holds every parameter, the
configuration and a digest in its metadata.
"""

from __future__ import annotations

import hashlib
import json
import logging
import pickle
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import safetensors
import torch
from safetensors.torch import save_file
from torch import Tensor

from semanticodec.checkpoint_map import (
    DECODER_RULES,
    ENCODER_RULES,
    SCHEDULE_KEY,
    SEMANTIC_KEY,
    Rule,
    is_unused,
    our_key,
)
from semanticodec.config import SemantiCodecConfig
from semanticodec.errors import CheckpointError
from semanticodec.model import SemantiCodecModel

log = logging.getLogger(__name__)

FORMAT = "semanticodec-1"
# Kept in float32 whatever the rest is stored in: tokens are defined by them.
EXACT_KEYS = frozenset({SEMANTIC_KEY, "acoustic.codebook", "vae.scale"})


@dataclass(frozen=True)
class ReleasedFiles:
    """Where the three files of one released operating point are."""

    encoder: Path
    decoder: Path
    codebook: Path

    @staticmethod
    def names(token_rate: int, semantic_vocab_size: int) -> tuple[str, str, str]:
        """Return the names of the three files inside the released repository."""
        folder = f"semanticodec_tokenrate_{token_rate}"
        tokens = {100: 512, 50: 256, 25: 128}[token_rate]
        codebook = (
            f"codebook_idx/combine_{tokens}_audioset_dominate/"
            f"codebook_{semantic_vocab_size // 2}_0.npy"
        )
        return f"{folder}/encoder.ckpt", f"{folder}/decoder.ckpt", codebook


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Read a released state dict, memory-mapped, running no code that the file may hold.

    Raises:
        CheckpointError: If the file is missing, truncated, or holds anything but tensors.
    """
    if not path.is_file():
        raise CheckpointError(f"no checkpoint at {path}")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(f"{path} is not a plain state dict of tensors: {error}") from error
    except (RuntimeError, EOFError, ValueError, OSError) as error:
        raise CheckpointError(f"{path} is truncated or not a checkpoint: {error}") from error
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise CheckpointError(f"{path} must hold a flat dictionary of tensors")
    return state


def read_codebook(path: Path) -> Tensor:
    """Read the semantic centroids ``[rows, D]``, float32.

    Raises:
        CheckpointError: If the file is missing, truncated or not such an array.
    """
    if not path.is_file():
        raise CheckpointError(f"no semantic codebook at {path}")
    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise CheckpointError(f"{path} is truncated or not a .npy array: {error}") from error
    if array.ndim != 2 or array.dtype != np.float32:
        raise CheckpointError(f"{path} must be float32 [rows, D], got {array.dtype} {array.shape}")
    return torch.from_numpy(array)


def load_released(files: ReleasedFiles, config: SemantiCodecConfig) -> SemantiCodecModel:
    """Build the model of ``config`` from files in the released layout.

    The number of semantic entries is taken from the codebook file. The masked-autoencoder decoder,
    the EMA copy and the VAE encoder are never read.

    Raises:
        CheckpointError: If a file is missing or damaged, a key is missing or unknown, or a shape
            does not fit the configuration.
    """
    centroids = read_codebook(files.codebook)
    config = _with_rows(config, centroids, files.codebook)
    state = translate(read_state_dict(files.encoder), ENCODER_RULES, files.encoder)
    state |= translate(read_state_dict(files.decoder), DECODER_RULES, files.decoder, config)
    state[SEMANTIC_KEY] = centroids
    return build(config, state, files.encoder.parent)


def _with_rows(config: SemantiCodecConfig, centroids: Tensor, path: Path) -> SemantiCodecConfig:
    rows, width = centroids.shape
    if width != config.feature_width:
        raise CheckpointError(
            f"{path} has {width} channels, the model needs {config.feature_width}; "
            "it belongs to another token rate"
        )
    if rows != config.semantic.codebook_size:
        log.warning("%s has %d entries, not %d", path, rows, config.semantic.codebook_size)
    return replace(config, semantic=replace(config.semantic, codebook_size=rows))


def translate(
    state: Mapping[str, Tensor],
    rules: tuple[Rule, ...],
    path: Path,
    config: SemantiCodecConfig | None = None,
) -> dict[str, Tensor]:
    """Rename a released state dict to our keys, dropping what coding does not need.

    Raises:
        CheckpointError: If a key is neither known nor known to be unused, or if the file's noise
            schedule is not that of ``config``.
    """
    renamed: dict[str, Tensor] = {}
    unknown = []
    for key, value in state.items():
        if key == SCHEDULE_KEY and config is not None:
            _check_schedule(value, config, path)
        elif (name := our_key(key, rules)) is not None:
            renamed[name] = value
        elif not is_unused(key):
            unknown.append(key)
    if unknown:
        raise CheckpointError(f"{path} has {len(unknown)} unknown keys: {_some(unknown)}")
    if config is not None and SCHEDULE_KEY not in state:
        raise CheckpointError(f"{path} lacks {SCHEDULE_KEY}")
    return renamed


def _check_schedule(table: Tensor, config: SemantiCodecConfig, path: Path) -> None:
    from semanticodec.diffusion.schedule import alphas_cumprod

    expected = alphas_cumprod(config.diffusion)
    if table.shape != expected.shape or not torch.allclose(table, expected, atol=1e-6):
        raise CheckpointError(f"{path} was trained with another noise schedule than configured")


def build(config: SemantiCodecConfig, state: dict[str, Tensor], path: Path) -> SemantiCodecModel:
    """Make a model whose parameters *are* the given tensors (no copy), in evaluation mode.

    Raises:
        CheckpointError: If keys are missing or unknown, or shapes do not fit.
    """
    with torch.device("meta"):
        model = SemantiCodecModel(config)
    expected = model.state_dict()
    missing = sorted(expected.keys() - state.keys())
    extra = sorted(state.keys() - expected.keys())
    if missing or extra:
        raise CheckpointError(
            f"{path} does not fit the model: {len(missing)} parameters missing ({_some(missing)}), "
            f"{len(extra)} too many ({_some(extra)}); names are ours"
        )
    fitted = {key: _fit(key, state[key], expected[key], path) for key in expected}
    model.load_state_dict(fitted, assign=True)
    return model.requires_grad_(False).eval()


def _fit(key: str, value: Tensor, like: Tensor, path: Path) -> Tensor:
    """Give a tensor our shape: 1x1 convolutions are matrices here, and codebooks have no batch."""
    if value.shape == like.shape:
        return value
    if tuple(_squeezed(value)) == tuple(_squeezed(like)):
        return value.reshape(like.shape)
    raise CheckpointError(
        f"{path}: {key} has shape {list(value.shape)}, the model needs {list(like.shape)}"
    )


def _squeezed(value: Tensor) -> list[int]:
    """Return the shape without 1x1 kernels and a leading batch of one."""
    shape = list(value.shape)
    if len(shape) == 4 and shape[2:] == [1, 1]:
        return shape[:2]
    return shape[1:] if len(shape) == 3 and shape[0] == 1 else shape


def _some(names: Collection[str]) -> str:
    shown = ", ".join(list(names)[:4])
    return shown + (", ..." if len(names) > 4 else "") if names else "none"


def digest(tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of names, types, shapes and contents, in order of names (hex)."""
    total = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().contiguous()
        total.update(f"{name} {value.dtype} {list(value.shape)}\n".encode())
        total.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()


def codebook_hash(model: SemantiCodecModel) -> bytes:
    """Return 8 bytes that tell which codebooks tokens belong to.

    Weights that share both codebooks (another precision, a finetuned decoder) share the hash.
    """
    books = {"semantic": model.semantic.centroids, "acoustic": model.acoustic.codebook}
    return bytes.fromhex(digest(books))[:8]


def save(model: SemantiCodecModel, path: Path, dtype: torch.dtype = torch.float32) -> str:
    """Write our format: safetensors with the configuration and a digest in the metadata.

    Args:
        model: What to save.
        path: Where; the folder must exist.
        dtype: Of the stored parameters; codebooks always stay float32.

    Returns:
        The digest (SHA-256, hex).
    """
    state = {
        key: value.to(torch.float32 if key in EXACT_KEYS else dtype).contiguous()
        for key, value in model.state_dict().items()
    }
    sha256 = digest(state)
    metadata = {"format": FORMAT, "config": json.dumps(model.config.to_dict()), "sha256": sha256}
    save_file(state, path, metadata)
    return sha256


def load_own(
    path: Path, *, verify: bool = False, dtype: torch.dtype = torch.float32
) -> SemantiCodecModel:
    """Load our format, memory-mapped.

    Args:
        path: A ``.safetensors`` file written by ``save``.
        verify: Whether to read everything now and compare the digest.
        dtype: Of the parameters in memory (codebooks stay float32).

    Raises:
        CheckpointError: If the file is missing, damaged, of another format, or fails the check.
    """
    if not path.is_file():
        raise CheckpointError(f"no checkpoint at {path}")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (safetensors.SafetensorError, OSError, RuntimeError) as error:
        raise CheckpointError(f"{path} is truncated or not safetensors: {error}") from error
    if metadata.get("format") != FORMAT:
        raise CheckpointError(f"{path} is not in the format {FORMAT!r}; use `semanticodec convert`")
    if verify and digest(state) != metadata.get("sha256"):
        raise CheckpointError(f"{path} is damaged: its contents do not match its SHA-256")
    try:
        config = SemantiCodecConfig.from_dict(json.loads(metadata["config"]))
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} holds no valid configuration: {error}") from error
    cast = {k: v if k in EXACT_KEYS else v.to(dtype) for k, v in state.items()}
    return build(config, cast, path)
