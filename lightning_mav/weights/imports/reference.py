"""diffusers' modules for Karlo, for comparison; they were checked against the authors' code."""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...nn import PriorTransformer, Pseudo3DUNet


class Text(NamedTuple):
    """The text "", as encoded by a CLIP.

    Attributes:
        embed: Its embedding, ``(1, D)``.
        hidden: Hidden states of its tokens, ``(1, L, W)``.
        mask: Whether each token is real and not padding, ``(1, L)``.
    """

    embed: Tensor
    hidden: Tensor
    mask: Tensor


def build_references(
    prior: PriorTransformer, decoder: Pseudo3DUNet, sr: Pseudo3DUNet
) -> dict[str, nn.Module]:
    """Builds diffusers' five modules, in the sizes of our networks, on the meta device."""
    from diffusers import PriorTransformer as DiffusersPrior
    from diffusers import UNet2DConditionModel, UNet2DModel
    from diffusers.pipelines.deprecated.unclip.text_proj import UnCLIPTextProjModel

    of_prior, of_decoder = prior.config["init_args"], decoder.config["init_args"]
    with torch.device("meta"):
        super_resolution = [UNet2DModel(**_sizes(sr), add_attention=False) for _ in range(2)]
        references: dict[str, Any] = {
            "prior": DiffusersPrior(
                num_attention_heads=of_prior["num_heads"],
                attention_head_dim=of_prior["width"] // of_prior["num_heads"],
                num_layers=of_prior["num_layers"],
                embedding_dim=of_prior["embed_dim"],
                num_embeddings=of_prior["context_length"],
            ),
            "text_proj": UnCLIPTextProjModel(
                clip_embeddings_dim=of_decoder["image_embed_dim"],
                time_embed_dim=4 * of_decoder["channels"],
                cross_attention_dim=of_decoder["context_channels"],
            ),
            "decoder": UNet2DConditionModel(
                **_sizes(decoder),
                mid_block_type="UNetMidBlock2DSimpleCrossAttn",
                cross_attention_dim=of_decoder["context_channels"],
                class_embed_type="identity",
                attention_head_dim=of_decoder["head_channels"],
                resnet_time_scale_shift="scale_shift",
            ),
            "super_res_first": super_resolution[0],
            "super_res_last": super_resolution[1],
        }
    # The mask is not a weight, so it is in no file.
    length = of_prior["context_length"] + 4
    references["prior"].causal_attention_mask = torch.full((1, length, length), -10000.0).triu(1)
    return {name: module.eval() for name, module in references.items()}


def _sizes(net: Pseudo3DUNet) -> dict[str, Any]:
    """Returns the sizes of one of our U-Nets as arguments for diffusers."""
    given = net.config["init_args"]
    levels, attention = range(len(given["channel_mults"])), given["attention_levels"]
    kinds = {False: "Resnet{}sampleBlock2D", True: "SimpleCrossAttn{}Block2D"}
    down, up = ([kinds[level in attention].format(way) for level in levels] for way in ("Down", "Up"))
    return {
        "in_channels": given["in_channels"] + given["cond_channels"],
        "out_channels": given["out_channels"],
        "layers_per_block": given["num_blocks"],
        "block_out_channels": [given["channels"] * mult for mult in given["channel_mults"]],
        "down_block_types": down,
        "up_block_types": up[::-1],
        "norm_num_groups": given["norm_groups"],
    }


@torch.no_grad()
def difference_of_prior(net: PriorTransformer, reference: nn.Module, text: Text) -> float:
    """Returns the largest difference of the outputs, for a random text and for the null text."""
    generator = torch.Generator().manual_seed(0)
    x_t, embed = torch.randn(2, 2, net.embed_dim, generator=generator)
    t = torch.tensor([50, 900])
    hidden = torch.randn(2, *text.hidden.shape[1:], generator=generator)
    mask = torch.arange(hidden.shape[1]) < torch.tensor([[3], [hidden.shape[1] - 1]])
    drop = torch.tensor([False, True])
    ours = net(x_t, t, text_embed=embed, text_hidden=hidden, text_mask=mask, drop=drop)
    given = [torch.cat([x[:1], null]) for x, null in zip((embed, hidden, mask), text, strict=True)]
    theirs = reference(x_t, t, given[0], given[1], given[2]).predicted_image_embedding
    return difference(ours, theirs)


@torch.no_grad()
def differences_of_decoder(
    net: Pseudo3DUNet, text_proj: nn.Module, reference: nn.Module, text: Text
) -> tuple[float, float]:
    """Returns the largest differences: of the outputs of the text projection, and of the decoder."""
    generator = torch.Generator().manual_seed(0)
    size = 4 * 2 ** (len(net.down_blocks) - 1)  # 4 px at the lowest resolution of the U-Net
    image_embed = torch.randn(1, net.image_embed_dim, generator=generator)
    x_t, t = torch.randn(2, net.in_channels, size, size, generator=generator), torch.tensor([50, 900])
    # The first sample has no image embedding, in the order of diffusers' guidance.
    cond = net.conditions(image_embed=image_embed.expand(2, -1), drop=torch.tensor([True, False]))
    context, embed = text_proj(
        image_embeddings=image_embed,
        prompt_embeds=text.embed.expand(2, -1),
        text_encoder_hidden_states=text.hidden.expand(2, -1, -1),
        do_classifier_free_guidance=True,
    )
    mask = F.pad(text.mask.expand(2, -1), (context.shape[1] - text.mask.shape[1], 0), value=True)
    theirs = reference(x_t, t, context, class_labels=embed, attention_mask=mask).sample
    ours = net(x_t[:, :, None], t, conditions=cond)[:, :, 0]
    of_text = max(difference(cond.embed, embed), difference(cond.context, context[:, mask[0]]))
    return of_text, difference(ours, theirs)


@torch.no_grad()
def difference_of_super_resolution(net: Pseudo3DUNet, reference: nn.Module) -> float:
    """Returns the largest difference of the outputs."""
    generator = torch.Generator().manual_seed(0)
    size = 4 * 2 ** (len(net.down_blocks) - 1)
    x_t, x_cond = torch.randn(2, 2, 3, size, size, generator=generator)
    t = torch.tensor([0, 900])
    theirs = reference(torch.cat([x_t, x_cond], dim=1), t).sample
    return difference(net(x_t[:, :, None], t, x_cond=x_cond[:, :, None])[:, :, 0], theirs)


def difference(ours: Any, theirs: Tensor) -> float:
    """Returns the largest difference, divided by the largest value of ``theirs`` if that is above 1."""
    return float((ours - theirs).abs().max() / theirs.abs().max().clamp(min=1))
