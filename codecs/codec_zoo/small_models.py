"""Small models with random weights, to try the neural adapters without any download.

``python -m codec_zoo.small_models encodec-24khz FOLDER`` writes one; then
``codecbench doctor encodec-24khz@6kbps:path=FOLDER`` runs it. Rates, frames, codebooks and padding
are those of the released model, only the networks are narrow. They sound like nothing: of the
conformance checks those of :data:`NEEDS_TRAINING` say nothing about them.

Biases are zero, codebooks hold what the random encoder makes of noise, and the decoder's gain is
set, so that the codes follow the input and the output follows the codes.
"""

import argparse
import json
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
    folder.mkdir(parents=True, exist_ok=True)
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


def _output_of(layer: Any, call: Callable[[], Any]) -> "torch.Tensor":
    """Return what a layer gives while a model is called."""
    found: list[torch.Tensor] = []
    hook = layer.register_forward_hook(lambda *seen: found.append(seen[2]))
    call()
    hook.remove()
    return found[-1]


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


def _dac(**config: Any) -> Callable[[Path], None]:
    def save(folder: Path) -> None:
        from transformers import DacConfig, DacModel

        model: Any = _without_biases(
            DacModel(DacConfig(encoder_hidden_size=4, decoder_hidden_size=64, **config))
        )
        noise = _loud_noise(1, model.config.sampling_rate)
        residual = model.encoder(noise)
        for layer in model.quantizer.quantizers:
            vectors = layer.in_proj(residual)
            layer.codebook.weight.copy_(_entries(vectors[0].T, model.config.codebook_size))
            residual = residual - layer.out_proj(vectors)
        codes = model.encode(noise).audio_codes
        _set_gain(model.decoder.conv2, model.decode(audio_codes=codes).audio_values, noise)
        model.save_pretrained(folder)

    return save


def _mimi(folder: Path) -> None:
    import torch
    from transformers import MimiConfig, MimiModel

    size = 16
    model: Any = _without_biases(
        MimiModel(
            MimiConfig(
                num_filters=4,
                hidden_size=size,
                codebook_dim=size // 2,
                vector_quantization_hidden_dimension=size // 2,
                upsample_groups=size,
                num_hidden_layers=1,
                num_attention_heads=2,
                num_key_value_heads=2,
                intermediate_size=size,
            )
        )
    )
    noise = _loud_noise(1, 2 * model.config.sampling_rate)
    for part in (
        model.quantizer.semantic_residual_vector_quantizer,
        model.quantizer.acoustic_residual_vector_quantizer,
    ):
        residual = _output_of(part.input_proj, lambda: model.encode(noise))
        for layer in part.layers:
            layer.codebook.embed_sum.copy_(_entries(residual[0].T, model.config.codebook_size))
            layer.codebook._embed = None  # made from the sum, and kept
            residual = residual - layer.decode(layer.encode(residual))
    decoded = model.decode(model.encode(noise).audio_codes).audio_values
    convs = [part for part in model.decoder.modules() if isinstance(part, torch.nn.Conv1d)]
    _set_gain(convs[-1], decoded, noise)
    model.save_pretrained(folder)


def _xcodec(folder: Path) -> None:
    import torch
    from transformers import XcodecConfig, XcodecModel

    size = 16
    config = XcodecConfig(
        acoustic_model_config={
            "encoder_hidden_size": 4,
            "decoder_hidden_size": 64,
            "hidden_size": size,
        },
        semantic_model_config={
            "hidden_size": size,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "intermediate_size": size,
            "conv_dim": (8,) * 7,
            "num_conv_pos_embeddings": 16,
            "num_conv_pos_embedding_groups": 2,
        },
    )
    model: Any = _without_biases(XcodecModel(config))
    noise = _loud_noise(1, config.sample_rate)
    semantic = model.encoder_semantic(model._extract_semantic_features(noise).transpose(1, 2))
    both = torch.cat([model.acoustic_encoder(noise), semantic], dim=1)
    latents = residual = model.fc(both.transpose(1, 2)).transpose(1, 2)
    for layer in model.quantizer.quantizers:
        layer.codebook.embed.copy_(_entries(residual[0].T, config.codebook_size))
        residual = residual - layer.decode(layer.encode(residual))
    decoded = model.acoustic_decoder(model.fc2(latents.transpose(1, 2)).transpose(1, 2))
    _set_gain(model.acoustic_decoder.conv2, decoded, noise)
    model.save_pretrained(folder)


def _xcodec2(kind: str, sample_rate: int) -> Callable[[Path], None]:
    def save(folder: Path) -> None:
        import torch
        import transformers

        size, semantic_size = 64, 16  # 32 groups of channels are normalised, each over two or more
        config = getattr(transformers, f"{kind}Config")(
            hidden_size=size,
            intermediate_size=size,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=2,
            head_dim=size // 2,
            encoder_hidden_size=2,
            quantization_dim=size + semantic_size,
            semantic_model_config={
                "hidden_size": semantic_size,
                "num_hidden_layers": 1,
                "num_attention_heads": 2,
                "intermediate_size": semantic_size,
            },
        )
        model: Any = _without_biases(getattr(transformers, f"{kind}Model")(config))
        wave = _loud_noise(1, sample_rate)
        features = torch.randn(1, sample_rate // 320, 160)
        project = model.quantizer.project_in
        levels = _output_of(project, lambda: model.encode(wave, input_features=features))
        project.weight.div_(levels.std())
        model.acoustic_decoder.head.linear.weight.mul_(20)  # for phases all around the circle
        model.save_pretrained(folder)

    return save


def _wavtokenizer(folder: Path) -> None:
    from transformers import WavTokenizerConfig, WavTokenizerModel

    size = 16
    config = WavTokenizerConfig(
        num_filters=4,
        hidden_size=size,
        codebook_dim=size,
        decoder_hidden_size=64,
        decoder_intermediate_size=64,
        decoder_num_layers=1,
    )
    model: Any = _without_biases(WavTokenizerModel(config))
    vectors = model.encoder_model.encoder(_loud_noise(1, 4 * config.sampling_rate))[0].T
    codebook = model.encoder_model.quantizer.codebook
    codebook.embed.copy_(_entries(vectors, config.codebook_size))
    model.head.linear.weight.mul_(20)  # for phases all around the circle
    model.save_pretrained(folder)


def _snac(**config: Any) -> Callable[[Path], None]:
    def save(folder: Path) -> None:
        import torch
        from snac import SNAC

        config_of_all = {"codebook_size": 4096, "codebook_dim": 8, "noise": True, "depthwise": True}
        whole = {**config_of_all, **config}
        model: Any = _without_biases(SNAC(**whole))
        noise = _loud_noise(1, model.sampling_rate)
        latents = residual = model.encoder(model.preprocess(noise))
        for layer in model.quantizer.quantizers:
            slow = torch.nn.functional.avg_pool1d(residual, layer.stride, layer.stride)
            vectors = layer.in_proj(slow)
            layer.codebook.weight.copy_(_entries(vectors[0].T, model.codebook_size))
            residual = residual - layer.out_proj(vectors).repeat_interleave(layer.stride, dim=-1)
        _set_gain(model.decoder.model[-2], model.decoder(latents), noise)
        (folder / "config.json").write_text(json.dumps(whole))
        torch.save(model.state_dict(), folder / "pytorch_model.bin")

    return save


_SNAC_FOR_MUSIC: dict[str, Any] = {
    "encoder_dim": 4,
    "encoder_rates": [2, 3, 8, 8],
    "decoder_dim": 64,
    "decoder_rates": [8, 8, 3, 2],
    "attn_window_size": 32,
    "vq_strides": [8, 4, 2, 1],
}

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
    "dac-16khz": _dac(sampling_rate=16000, downsampling_ratios=[2, 4, 5, 8], n_codebooks=12),
    "dac-24khz": _dac(sampling_rate=24000, downsampling_ratios=[2, 4, 5, 8], n_codebooks=32),
    "dac-44khz": _dac(sampling_rate=44100, downsampling_ratios=[2, 4, 8, 8], n_codebooks=9),
    "mimi": _mimi,
    "xcodec": _xcodec,
    "xcodec2": _xcodec2("Xcodec2", 16000),
    "neucodec": _xcodec2("NeuCodec", 16000),
    "wavtokenizer": _wavtokenizer,
    "snac-24khz": _snac(
        sampling_rate=24000,
        encoder_dim=4,
        encoder_rates=[2, 4, 8, 8],
        decoder_dim=64,
        decoder_rates=[8, 8, 4, 2],
        attn_window_size=None,
        vq_strides=[4, 2, 1],
    ),
    "snac-32khz": _snac(sampling_rate=32000, **_SNAC_FOR_MUSIC),
    "snac-44khz": _snac(sampling_rate=44100, **_SNAC_FOR_MUSIC),
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
