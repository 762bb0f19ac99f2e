"""Our parameter names in the words of the released checkpoints.

The loader's key map, written the other way and on its own, so that each checks the other.
"""

from typing import ClassVar

import torch

from semanticodec.model import SemantiCodecModel


class ReleasedNames:
    """Our parameter names to the released ones: the loader's key map, written the other way."""

    RES: ClassVar = {"norm1": "in_layers.0", "conv1": "in_layers.2", "time": "emb_layers.1",
           "norm2": "out_layers.0", "conv2": "out_layers.3", "skip": "skip_connection"}  # fmt: skip
    HEADS: ClassVar = {"query": "to_q", "key": "to_k", "value": "to_v", "out": "to_out.0"}
    VAE: ClassVar = {"query": "q", "key": "k", "value": "v", "out": "proj_out", "norm": "norm"}

    def __init__(self, model: SemantiCodecModel) -> None:
        self.model = model

    def __call__(self, name: str) -> str:
        part, _, rest = name.partition(".")
        return getattr(self, part)(rest)

    def audiomae(self, rest: str) -> str:
        rest = {"class_token": "cls_token", "position": "pos_embed"}.get(rest, rest)
        rest = rest.replace("patch_embed.", "patch_embed.proj.").replace("attention.", "attn.")
        rest = rest.replace(".out.", ".proj.").replace(".up.", ".mlp.fc1.")
        return "audiomae.model." + rest.replace(".down.", ".mlp.fc2.")

    def semantic(self, rest: str) -> str:
        return "semantic." + rest

    def acoustic(self, rest: str) -> str:
        fixed = {
            "codebook": "quantizer._codebook.embed",
            "out.weight": "encoder_output_linear.weight",
        }
        return fixed.get(rest, rest.replace("lstm.", "encoder."))

    def unet(self, rest: str) -> str:
        return "model.diffusion_model." + self._unet(rest)

    def _unet(self, rest: str) -> str:
        tops = {"time_in": "time_embed.0", "time_out": "time_embed.2", "norm_out": "out.0",
                "conv_out": "out.2", "conv_in": "input_blocks.0.0"}  # fmt: skip
        module, leaf = rest.rsplit(".", 1)
        if module in tops:
            return f"{tops[module]}.{leaf}"
        words = module.split(".")
        if words[0] == "middle_out":
            return f"middle_block.3.{self.RES[words[1]]}.{leaf}"
        if words[0] == "middle":
            return f"middle_block.{self._stage(words[1:], True)}.{leaf}"
        index = int(words[1])
        if words[0] == "down" and len(words) == 2:
            return f"input_blocks.{index + 1}.0.op.{leaf}"
        if words[0] == "down":
            return f"input_blocks.{index + 1}.{self._stage(words[2:], True)}.{leaf}"
        attends = self.model.unet.up[index].has_attention
        return f"output_blocks.{index}.{self._stage(words[2:], attends)}.{leaf}"

    def _stage(self, words: list[str], attends: bool) -> str:
        if words[0] == "upsample":
            return f"{3 if attends else 1}.conv"
        if words[0] == "res":
            return f"0.{self.RES[words[1]]}"
        index = 1 if words[0] == "self_transformer" else 2
        return f"{index}.{self._transformer(words[1:])}"

    def _transformer(self, words: list[str]) -> str:
        if words[0] in ("norm", "proj_in", "proj_out"):
            return words[0]
        inner = {"up": "ff.net.0.proj", "down": "ff.net.2"}.get(words[0], words[0])
        if words[0].startswith("attention"):
            inner = f"attn{words[0][-1]}.{self.HEADS[words[1]]}"
        return f"transformer_blocks.0.{inner}"

    def vae(self, rest: str) -> str:
        if rest == "scale":
            return "scale_factor"
        rest = rest.replace("skip.", "nin_shortcut.")
        if rest.startswith("post_quant"):
            return "first_stage_model." + rest.replace("post_quant", "post_quant_conv")
        rest = rest.replace("middle_in", "mid.block_1").replace("middle_out", "mid.block_2")
        if rest.startswith("attention"):
            _, name, leaf = rest.split(".")
            rest = f"mid.attn_1.{self.VAE[name]}.{leaf}"
        rest = rest.replace("levels.", "up.").replace(".blocks.", ".block.")
        return "first_stage_model.decoder." + rest.replace(".upsample.", ".upsample.conv.")

    def vocoder(self, rest: str) -> str:
        rest = rest.replace("pre.", "conv_pre.").replace("post.", "conv_post.")
        rest = rest.replace("blocks.", "resblocks.").replace("dilated.", "convs1.")
        return "first_stage_model.vocoder." + rest.replace("plain.", "convs2.")


def released_state(model: SemantiCodecModel) -> tuple[dict, dict]:
    """A model as the two released state dicts, with some of the keys that coding does not need."""
    names = ReleasedNames(model)
    encoder, decoder = {}, {}
    for name, value in model.state_dict().items():
        if name == "semantic.centroids":
            continue
        part = encoder if name.startswith(("audiomae", "acoustic")) else decoder
        part[names(name)] = released_shape(name, value)
    encoder["audiomae.model.mask_token"] = torch.zeros(1, 1, 4)
    encoder["audiomae.model.decoder_blocks.0.attn.qkv.weight"] = torch.zeros(4, 4)
    encoder["quantizer._codebook.initted"] = torch.ones(1)
    ema = {key.removeprefix("model.").replace(".", ""): value for key, value in decoder.items()
           if key.startswith("model.diffusion_model.")}  # fmt: skip
    decoder |= {f"model_ema.{key}": value for key, value in ema.items()}
    decoder["model_ema.decay"] = torch.tensor(0.9999)
    decoder["alphas_cumprod"] = model.alpha_bars
    decoder["posterior_variance"] = torch.zeros(1000)
    decoder["first_stage_model.encoder.down.0.block.0.conv1.weight"] = torch.zeros(4, 4, 3, 3)
    return encoder, decoder


def released_shape(name: str, value: torch.Tensor) -> torch.Tensor:
    """Codebooks have a batch there, and some of our matrices are 1 x 1 convolutions."""
    if name == "acoustic.codebook":
        return value[None]
    matrices = (".proj_in.w", ".proj_out.w", ".skip.w", "vae.attention.")
    convolution = any(part in name for part in matrices)
    return value[..., None, None] if convolution and value.dim() == 2 else value
