"""Names of our tensors in diffusers' modules, and in the checkpoints of Karlo's authors.

Both sets of names were taken from the code of these projects. In the authors' checkpoints the projections of
an attention layer are one tensor. Its rows are ordered by head: first the rows for the queries, the keys and
the values of the first head, then those of the second head, and so on.
"""

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from ...nn import PriorTransformer, Pseudo3DUNet
from ...nn.blocks import Block


class Source(NamedTuple):
    """A tensor of the authors' checkpoint, or one of several parts of it.

    Attributes:
        name: Name of the tensor.
        part: Number of the part, from 0.
        parts: Number of parts in the tensor.
        head: Number of rows that each part has for one attention head.
    """

    name: str
    part: int = 0
    parts: int = 1
    head: int = 1

    def take(self, tensors: Mapping[str, Tensor], shape: torch.Size) -> Tensor:
        """Returns this tensor, or this part of it, in the given shape."""
        tensor = tensors[self.name]
        if tensor.dim() == len(shape) + 1 and tensor.shape[-1] == 1:  # a convolution over tokens
            tensor = tensor[..., 0]
        if self.parts == 1 or not tensor.dim() or len(tensor) % (self.parts * self.head):
            return tensor
        return tensor.unflatten(0, (-1, self.parts, self.head))[:, self.part].flatten(0, 1)


TEXT_PROJ = {  # diffusers' name, ours (None if it only serves to compute constants) and the authors'
    "learned_classifier_free_guidance_embeddings": ("null", "cf_param"),
    "clip_image_embeddings_project_to_time_embeddings": ("to_embed", "clip_emb"),
    "clip_extra_context_tokens_proj": ("to_context", "clip_tok_proj"),
    "embedding_proj": (None, "text_feat_proj"),
    "encoder_hidden_states_proj": (None, "text_seq_proj.0"),
    "text_encoder_hidden_states_norm": (None, "text_seq_proj.1"),
}
RESNET = {
    "norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1", "norm2": "out_layers.0",
    "conv2": "out_layers.3", "conv_shortcut": "skip_connection",
}  # fmt: skip
ATTENTION = {  # a name, or a name, a part and the number of parts
    "group_norm": ("norm", 0, 1), "to_q": ("qkv", 0, 3), "to_k": ("qkv", 1, 3), "to_v": ("qkv", 2, 3),
    "add_k_proj": ("encoder_kv", 0, 2), "add_v_proj": ("encoder_kv", 1, 2), "to_out.0": ("proj_out", 0, 1),
}  # fmt: skip
UNET = {
    "time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
    "conv_in": "input_blocks.0.0", "conv_norm_out": "out.0", "conv_out": "out.2",
}  # fmt: skip
PRIOR = {
    "time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
    "proj_in": "clip_img_proj", "embedding_proj": "text_emb_proj", "prd_embedding": "prd_emb",
    "encoder_hidden_states_proj": "text_enc_proj", "norm_out": "final_ln",
    "positional_embedding": "positional_embedding",
    "proj_to_clip_embeddings": "out_proj", "clip_mean": "clip_mean", "clip_std": "clip_std",
}  # fmt: skip
LAYER = {
    "norm1": ("ln_1", 0, 1), "attn1.to_q": ("attn.c_qkv", 0, 3), "attn1.to_k": ("attn.c_qkv", 1, 3),
    "attn1.to_v": ("attn.c_qkv", 2, 3), "attn1.to_out.0": ("attn.c_proj", 0, 1), "norm3": ("ln_2", 0, 1),
    "ff.net.0.proj": ("mlp.c_fc", 0, 1), "ff.net.2": ("mlp.c_proj", 0, 1),
}  # fmt: skip


class Place(NamedTuple):
    """Names of the parts of one of our U-Net's blocks, in diffusers and in the authors' checkpoints."""

    resnet: str
    attention: str
    authors_resnet: str
    authors_attention: str


def block_places(net: Pseudo3DUNet) -> Iterator[tuple[str, Place]]:
    """Yields the prefix of each of our blocks, and the prefixes of its parts in the other two."""
    k = 1  # the authors number the blocks of all levels in one sequence, after the first convolution
    for level, blocks in enumerate(net.down_blocks):
        for j, block in enumerate(cast(list[Block], blocks)):
            part = f"resnets.{j}" if block.resnet.resample is None else "downsamplers.0"
            at = f"down_blocks.{level}"
            theirs = f"{at}.{part}", f"{at}.attentions.{j}", f"input_blocks.{k}.0", f"input_blocks.{k}.1"
            yield f"{at}.{j}", Place(*theirs)
            k += 1
    last = 1 if cast(Block, net.mid_block[0]).attention is None else 2
    first = "mid_block.resnets.0", "mid_block.attentions.0", "middle_block.0", "middle_block.1"
    yield "mid_block.0", Place(*first)
    yield "mid_block.1", Place("mid_block.resnets.1", "", f"middle_block.{last}", "")
    k = 0
    for level, blocks in enumerate(net.up_blocks):
        for j, block in enumerate(parts := cast(list[Block], blocks)):
            at = f"up_blocks.{level}"
            if block.resnet.resample is None:
                theirs = (
                    f"{at}.resnets.{j}",
                    f"{at}.attentions.{j}",
                    f"output_blocks.{k}.0",
                    f"output_blocks.{k}.1",
                )
                k += 1
            else:  # it belongs to the block before it
                index = 1 if parts[0].attention is None else 2
                theirs = f"{at}.upsamplers.0", "", f"output_blocks.{k - 1}.{index}", ""
            yield f"{at}.{j}", Place(*theirs)


def unet_names(net: Pseudo3DUNet, head_channels: int) -> dict[str, tuple[str, Source]]:
    """Maps our names to diffusers' and the authors', except those of the image embedding."""
    places, names = dict(block_places(net)), {}
    for name in net.state_dict():
        if name.startswith("image_embedding."):
            continue
        if found := re.match(r"(\w+_blocks?(?:\.\d+)+)\.(resnet|attention)\.(.+)\.(\w+)$", name):
            block, kind, layer, last = found.groups()
            place, layer = places[block], layer.removeprefix("spatial.").removesuffix(".spatial")
            if kind == "resnet":
                source = Source(f"{place.authors_resnet}.{RESNET[layer]}.{last}")
            else:
                theirs, part, parts = ATTENTION[layer]
                source = Source(f"{place.authors_attention}.{theirs}.{last}", part, parts, head_channels)
            names[name] = f"{getattr(place, kind)}.{layer}.{last}", source
        else:
            layer, _, last = name.replace(".spatial", "").rpartition(".")
            names[name] = f"{layer}.{last}", Source(f"{UNET[layer]}.{last}")
    return names


def prior_names(net: PriorTransformer, head_channels: int) -> dict[str, tuple[str, Source]]:
    """Maps our names to diffusers' and the authors', except those of the null text."""
    names = {}
    for name in net.state_dict():
        if name.startswith("null_text_"):
            continue
        if found := re.match(r"transformer_blocks\.(\d+)\.(.+)\.(\w+)$", name):
            number, layer, last = found.groups()
            theirs, part, parts = LAYER[layer]
            source = Source(f"transformer.resblocks.{number}.{theirs}.{last}", part, parts, head_channels)
        elif name in PRIOR:
            source = Source(PRIOR[name])
        else:
            layer, _, last = name.rpartition(".")
            source = Source(f"{PRIOR[layer]}.{last}")
        names[name] = name, source
    return names


def text_proj_names(text_proj: nn.Module) -> dict[str, tuple[str | None, Source]]:
    """Maps diffusers' names of the tensors of its text projection to ours and the authors'."""
    names: dict[str, tuple[str | None, Source]] = {}
    for name in text_proj.state_dict():
        layer, dot, last = name.partition(".")
        ours, theirs = TEXT_PROJ[layer]
        names[name] = None if ours is None else f"{ours}{dot}{last}", Source(f"{theirs}{dot}{last}")
    return names
