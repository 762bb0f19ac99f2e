"""Small models with random weights, to try the neural adapters without any download.

``python -m codec_zoo.small_models encodec-24khz FOLDER`` writes one; then
``codecbench doctor encodec-24khz@6kbps:path=FOLDER`` runs it. Rates, frames, codebooks and padding
are those of the released model, only the networks are narrow. They sound like nothing: of the
conformance checks those of :data:`NEEDS_TRAINING` say nothing about them.

Biases are zero, codebooks hold what the random encoder makes of noise, and the decoder's gain is
set, so that the codes follow the input and the output follows the codes.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from codec_zoo.base import CodecError

if TYPE_CHECKING:
    import torch

#: Conformance checks that only a trained codec can pass.
NEEDS_TRAINING = frozenset(
    {
        "codes the end",
        "delay as declared",
        "decodes what was encoded",
        "keeps level",
        "keeps silence",
        "quality follows bitrate",
    }
)


def save_small_model(family: str, folder: Path, *, seed: int = 0) -> None:
    """Write a small model with random weights for a codec family.

    Raises:
        CodecError: If there is none for this family.
    """
    import torch

    if family not in MODELS:
        raise CodecError(f"no small model for {family!r}; there are {', '.join(MODELS)}")
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        MODELS[family](folder)


def _loud_noise(channels: int, samples: int) -> "torch.Tensor":
    """Return noise ``[1, C, N]`` whose level rises from nothing to that of music."""
    import torch

    return torch.randn(1, channels, samples) * torch.linspace(0, 0.3, samples)


def _without_biases(model: "torch.nn.Module") -> "torch.nn.Module":
    """Return the model in evaluation mode, all its biases zero: silence stays nearly silent."""
    for name, parameter in model.named_parameters():
        if "bias" in name.rpartition(".")[2]:
            parameter.zero_()
    return model.eval()


def _entries(vectors: "torch.Tensor", count: int) -> "torch.Tensor":
    """Return ``count`` codebook entries ``[count, D]`` drawn near vectors ``[T, D]``."""
    import torch

    drawn = vectors[torch.randint(len(vectors), (count,))]
    return drawn + 0.1 * vectors.std() * torch.randn_like(drawn)


def _set_gain(conv: Any, out: "torch.Tensor", wanted: "torch.Tensor") -> None:
    """Scale a decoder's last layer so that what came out as ``out`` is as loud as ``wanted``."""
    normed = getattr(conv, "parametrizations", None)
    weight = normed.weight.original0 if normed else conv.weight
    weight.mul_(wanted.std() / out.std())


def _encodec(**config: Any) -> Callable[[Path], None]:
    def save(folder: Path) -> None:
        from transformers import EncodecConfig, EncodecModel

        model: Any = _without_biases(
            EncodecModel(EncodecConfig(num_filters=4, hidden_size=16, **config))
        )
        noise = _loud_noise(model.config.audio_channels, model.config.sampling_rate)
        residual = model.encoder(noise)
        for layer in model.quantizer.layers:
            layer.codebook.embed.copy_(_entries(residual[0].T, model.config.codebook_size))
            residual = residual - layer.decode(layer.encode(residual))
        _set_gain(model.decoder.layers[-1].conv, model.decoder(model.encoder(noise)), noise)
        model.save_pretrained(folder)

    return save


MODELS: dict[str, Callable[[Path], None]] = {
    "encodec-24khz": _encodec(),
    "encodec-32khz": _encodec(
        sampling_rate=32000,
        upsampling_ratios=[8, 5, 4, 4],
        use_causal_conv=False,
        codebook_size=2048,
        target_bandwidths=[2.2],
    ),
    "encodec-48khz": _encodec(
        sampling_rate=48000,
        audio_channels=2,
        normalize=True,
        chunk_length_s=1.0,
        overlap=0.01,
        norm_type="time_group_norm",
        use_causal_conv=False,
        target_bandwidths=[3.0, 6.0, 12.0, 24.0],
    ),
}


def main() -> None:
    """Write a small model where the command line says."""
    parser = argparse.ArgumentParser(description="Write a small model with random weights.")
    parser.add_argument("family", choices=sorted(MODELS))
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    save_small_model(options.family, options.folder)


if __name__ == "__main__":
    main()
