"""The released checkpoint layout: which key holds which of our parameters.

``encoder.ckpt`` and ``decoder.ckpt`` are plain state dicts. Some of their tensors are of no use for
coding (the masked-autoencoder decoder, the EMA copy of the UNet, the VAE encoder, ...); they must
be there, because the released loader is strict, but are never read.
"""

from __future__ import annotations

import re

Rule = tuple[str, str]

_RES = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "skip",
}
_TRANSFORMER = {
    "norm": "norm",
    "proj_in": "proj_in",
    "proj_out": "proj_out",
    "transformer_blocks.0.norm1": "norm1",
    "transformer_blocks.0.norm2": "norm2",
    "transformer_blocks.0.norm3": "norm3",
    "transformer_blocks.0.ff.net.0.proj": "up",
    "transformer_blocks.0.ff.net.2": "down",
} | {
    f"transformer_blocks.0.attn{site}.{theirs}": f"attention{site}.{ours}"
    for site in (1, 2)
    for theirs, ours in {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "out"}.items()
}

ENCODER_RULES: tuple[Rule, ...] = (
    (r"audiomae\.model\.cls_token", "audiomae.class_token"),
    (r"audiomae\.model\.pos_embed", "audiomae.position"),
    (r"audiomae\.model\.patch_embed\.proj\.(\w+)", r"audiomae.patch_embed.\1"),
    (r"audiomae\.model\.blocks\.(\d+)\.(norm[12])\.(\w+)", r"audiomae.blocks.\1.\2.\3"),
    (r"audiomae\.model\.blocks\.(\d+)\.attn\.qkv\.(\w+)", r"audiomae.blocks.\1.attention.qkv.\2"),
    (r"audiomae\.model\.blocks\.(\d+)\.attn\.proj\.(\w+)", r"audiomae.blocks.\1.attention.out.\2"),
    (r"audiomae\.model\.blocks\.(\d+)\.mlp\.fc1\.(\w+)", r"audiomae.blocks.\1.up.\2"),
    (r"audiomae\.model\.blocks\.(\d+)\.mlp\.fc2\.(\w+)", r"audiomae.blocks.\1.down.\2"),
    (r"audiomae\.model\.norm\.(\w+)", r"audiomae.norm.\1"),
    (r"encoder\.((?:weight|bias)_[ih]h_l\d+(?:_reverse)?)", r"acoustic.lstm.\1"),
    (r"encoder_output_linear\.weight", "acoustic.out.weight"),
    (r"quantizer\._codebook\.embed", "acoustic.codebook"),
)

DECODER_RULES: tuple[Rule, ...] = (
    (r"scale_factor", "vae.scale"),
    (r"model\.diffusion_model\.(.+)", r"unet.\1"),
    (r"first_stage_model\.post_quant_conv\.(\w+)", r"vae.post_quant.\1"),
    (r"first_stage_model\.decoder\.mid\.block_1\.(.+)", r"vae.middle_in.\1"),
    (r"first_stage_model\.decoder\.mid\.block_2\.(.+)", r"vae.middle_out.\1"),
    (r"first_stage_model\.decoder\.mid\.attn_1\.norm\.(\w+)", r"vae.attention.norm.\1"),
    (r"first_stage_model\.decoder\.mid\.attn_1\.q\.(\w+)", r"vae.attention.query.\1"),
    (r"first_stage_model\.decoder\.mid\.attn_1\.k\.(\w+)", r"vae.attention.key.\1"),
    (r"first_stage_model\.decoder\.mid\.attn_1\.v\.(\w+)", r"vae.attention.value.\1"),
    (r"first_stage_model\.decoder\.mid\.attn_1\.proj_out\.(\w+)", r"vae.attention.out.\1"),
    (r"first_stage_model\.decoder\.up\.(\d+)\.block\.(.+)", r"vae.levels.\1.blocks.\2"),
    (r"first_stage_model\.decoder\.up\.(\d+)\.upsample\.conv\.(\w+)", r"vae.levels.\1.upsample.\2"),
    (r"first_stage_model\.decoder\.(conv_in|norm_out|conv_out)\.(\w+)", r"vae.\1.\2"),
    (r"first_stage_model\.vocoder\.conv_pre\.(\w+)", r"vocoder.pre.\1"),
    (r"first_stage_model\.vocoder\.conv_post\.(\w+)", r"vocoder.post.\1"),
    (r"first_stage_model\.vocoder\.ups\.(.+)", r"vocoder.ups.\1"),
    (
        r"first_stage_model\.vocoder\.resblocks\.(\d+)\.convs1\.(.+)",
        r"vocoder.blocks.\1.dilated.\2",
    ),
    (r"first_stage_model\.vocoder\.resblocks\.(\d+)\.convs2\.(.+)", r"vocoder.blocks.\1.plain.\2"),
)

# In the released files, but of no use for coding. None of them is ever read.
_TRANSFORMER_LEAF = r"(norm[12]|attn\.(qkv|proj)|mlp\.fc[12])\.(weight|bias)"
ENCODER_UNUSED = (
    rf"audiomae\.model\.(mask_token|decoder_pos_embed|decoder_(embed|norm|pred)\.(weight|bias)"
    rf"|decoder_blocks\.\d+\.{_TRANSFORMER_LEAF})"
    r"|quantizer\._codebook\.(initted|cluster_size|embed_avg)"
)
DECODER_UNUSED = (
    r"logvar|betas|alphas_cumprod_prev|sqrt_(one_minus_)?alphas_cumprod"
    r"|sqrt_recip(m1)?_alphas_cumprod|log_one_minus_alphas_cumprod"
    r"|posterior_(variance|log_variance_clipped|mean_coef[12])"
    r"|model_ema\.(decay|num_updates|diffusion_model\w+)"  # the EMA's names have no dots
    r"|first_stage_model\.quant_conv\.(weight|bias)"
    r"|first_stage_model\.encoder\.(conv_in|conv_out|norm_out|mid\..+|down\.\d+\..+)\.(weight|bias)"
)
SCHEDULE_KEY = "alphas_cumprod"  # checked against the configured schedule
SEMANTIC_KEY = "semantic.centroids"  # comes from its own .npy file


def _unet_key(key: str) -> str:
    """Rename what follows ``model.diffusion_model.``; blocks are numbered from the input."""
    simple = {"time_embed.0": "time_in", "time_embed.2": "time_out", "input_blocks.0.0": "conv_in",
              "out.0": "norm_out", "out.2": "conv_out"}  # fmt: skip
    module, _, leaf = key.rpartition(".")
    if module in simple:
        return f"{simple[module]}.{leaf}"
    match = re.fullmatch(r"(input|middle|output)_blocks?\.(?:(\d+)\.)?(\d+)\.(.+)", module)
    if match is None:
        return key
    half, block, part, rest = match.groups()
    if half == "middle":
        return f"{_middle_part(int(part), rest)}.{leaf}"
    stage = f"down.{int(block) - 1}" if half == "input" else f"up.{block}"
    return f"{stage}{_stage_part(int(part), rest)}.{leaf}"


def _stage_part(part: int, rest: str) -> str:
    if rest == "op":  # a strided convolution stands alone in its block
        return ""
    if rest == "conv":
        return ".upsample"
    if part == 0:
        return f".res.{_RES.get(rest, rest)}"
    name = "self_transformer" if part == 1 else "cross_transformer"
    return f".{name}.{_TRANSFORMER.get(rest, rest)}"


def _middle_part(part: int, rest: str) -> str:
    return f"middle_out.{_RES.get(rest, rest)}" if part == 3 else f"middle{_stage_part(part, rest)}"


def our_key(key: str, rules: tuple[Rule, ...]) -> str | None:
    """Return our name of a released key, or None where no rule knows it."""
    for pattern, replacement in rules:
        match = re.fullmatch(pattern, key)
        if match is not None:
            name = match.expand(replacement)
            if name.startswith("unet."):
                return "unet." + _unet_key(name.removeprefix("unet."))
            return name.replace("nin_shortcut", "skip")
    return None


def is_unused(key: str) -> bool:
    """Tell whether a released key is one that coding does not need."""
    return re.fullmatch(f"{ENCODER_UNUSED}|{DECODER_UNUSED}", key) is not None
