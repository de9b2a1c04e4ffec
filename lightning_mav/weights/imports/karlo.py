"""Imports Karlo (Kakao Brain, 2022), an open unCLIP, as image networks that video networks start from.

The files are those of Karlo's authors, or a folder in the format of diffusers.
"""

import inspect
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...nn import LastStep, PriorTransformer, Pseudo3DUNet
from ...stage_table import stages
from ...utils.configured import from_config
from ...utils.errors import UsageError, writing
from .. import save_weights
from .layouts import Names, Tensors, read_layouts
from .names import prior_names, text_proj_names, unet_names
from .reading import check_room
from .reference import (
    Text,
    build_references,
    difference_of_prior,
    difference_of_super_resolution,
    differences_of_decoder,
)

PARTS = ("prior", "decoder", "sr_lt")  # stages that Karlo has weights for
TOLERANCE = 1e-4  # of outputs, relative: rounding gives much less, a mistake much more


class Imported(NamedTuple):
    """One network that was imported.

    Attributes:
        module: Name of diffusers' module.
        num_tensors: Number of tensors that were imported.
        num_parameters: Number of values in them.
        difference: Largest difference of the outputs from those of diffusers' module, see ``difference``.
    """

    module: str
    num_tensors: int
    num_parameters: int
    difference: float


class Networks(NamedTuple):
    """Our networks."""

    prior: PriorTransformer
    decoder: Pseudo3DUNet
    super_res_first: Pseudo3DUNet
    super_res_last: Pseudo3DUNet


def import_karlo(
    folder: Path, settings: Mapping[str, Mapping[str, Any]], text: Text, files: Mapping[str, Path]
) -> list[Imported]:
    """Writes the weights of the stages ``PARTS``, after checking that all tensors fit and outputs are equal.

    Args:
        folder: Folder with the authors' files, or in the format of diffusers.
        settings: Training settings of each stage, as in its YAML layers: they give the expected sizes.
        text: The text "", encoded by the CLIP that Karlo was trained with.
        files: File to write for each stage.

    Raises:
        UsageError: If a file is missing, damaged or of other sizes, if outputs differ, or if the disk has too
            little room. Then no file has been written, unless the disk filled up during writing.
    """
    nets = build_networks(settings)
    _check_text(nets, text)
    _check_room(nets, files)
    references = build_references(nets.prior, nets.decoder, nets.super_res_first)
    names = _names(nets, references)
    layouts = read_layouts(folder, names, references)
    for module, reference in references.items():
        reference.load_state_dict(layouts[module], assign=True)
    _fill(nets, names, layouts, text)
    of_text, of_decoder = differences_of_decoder(
        nets.decoder, references["text_proj"], references["decoder"], text
    )
    differences = {
        "prior": difference_of_prior(nets.prior, references["prior"], text),
        "text_proj": of_text,
        "decoder": of_decoder,
        "super_res_first": difference_of_super_resolution(
            nets.super_res_first, references["super_res_first"]
        ),
        "super_res_last": difference_of_super_resolution(nets.super_res_last, references["super_res_last"]),
    }
    rows = []
    for module, largest in differences.items():
        if not largest <= TOLERANCE:
            raise UsageError(
                f"{folder}: {module} differs from diffusers' by {largest:.1e}, more than {TOLERANCE:g}: its "
                "weights are damaged or not finite: download the files again"
            )
        tensors = layouts[module].values()
        rows.append(Imported(module, len(tensors), sum(each.numel() for each in tensors), largest))
    record = {"source": "Karlo", "differences": differences}
    for stage, model in _models(nets, settings).items():
        with writing(files[stage], "make room, or choose another --out"):
            save_weights(model, files[stage], training=record, dtype="fp32")
    return rows


def build_networks(settings: Mapping[str, Mapping[str, Any]]) -> Networks:
    """Builds our networks in the sizes of the settings, on the meta device."""
    of_prior, of_decoder, of_sr = (
        settings[stage][key]["init_args"]
        for stage, key in (("prior", "net"), ("decoder", "unet"), ("sr_lt", "unet"))
    )
    with torch.device("meta"):
        unets = [Pseudo3DUNet(**given).eval() for given in (of_decoder, of_sr, of_sr)]
        return Networks(PriorTransformer(**of_prior).eval(), *unets)


def _check_text(nets: Networks, text: Text) -> None:
    """Refuses a CLIP whose sizes do not match."""
    of_prior = nets.prior.config["init_args"]
    widths = (of_prior["embed_dim"], of_prior["context_length"], of_prior["text_width"])
    given = (text.embed.shape[-1], *text.hidden.shape[1:])
    if given != widths:
        raise UsageError(
            f"--clip: its embeddings, tokens and hidden states are {given} wide and long, not {widths}: name "
            "the CLIP that Karlo was trained with, OpenAI's ViT-L/14"
        )
    needed = {nets.prior.num_null_tokens, nets.decoder.config["init_args"]["num_text_tokens"]}
    if needed != {int(text.mask.sum())}:
        raise UsageError(
            f'--clip: its text "" has {int(text.mask.sum())} tokens, but this scale has places for {needed}: '
            "set num_null_tokens of the prior and num_text_tokens of the decoder to the number of tokens"
        )


def _check_room(nets: Networks, files: Mapping[str, Path]) -> None:
    """Refuses to begin if the disk has too little room for the files."""
    needed = sum(4 * tensor.numel() for net in nets for tensor in net.state_dict().values())
    check_room(next(iter(files.values())), needed, "Karlo's weights need")


def _names(nets: Networks, references: Mapping[str, nn.Module]) -> dict[str, Names]:
    """Returns the names of all tensors of each module."""
    of_prior, of_decoder = (net.config["init_args"] for net in (nets.prior, nets.decoder))
    head = of_decoder["head_channels"]
    ours = {
        "prior": prior_names(nets.prior, of_prior["width"] // of_prior["num_heads"]),
        "decoder": unet_names(nets.decoder, head),
        "super_res_first": unet_names(nets.super_res_first, head),
        "super_res_last": unet_names(nets.super_res_last, head),
    }
    names: dict[str, Names] = {
        module: {theirs: (name, source) for name, (theirs, source) in found.items()}
        for module, found in ours.items()
    }
    return names | {"text_proj": text_proj_names(references["text_proj"])}


def _fill(nets: Networks, names: Mapping[str, Names], layouts: Mapping[str, Tensors], text: Text) -> None:
    """Puts the tensors into our networks, and the constants that are computed from the text ""."""
    ours = {
        module: {name: layouts[module][theirs] for theirs, (name, _) in found.items() if name is not None}
        for module, found in names.items()
        if module in layouts
    }
    hidden = text.hidden[text.mask]
    if "prior" in ours:
        ours["prior"] |= {"null_text_embed": text.embed[0], "null_text_hidden": hidden}
    if "decoder" in ours:
        constants = dict(_constants(layouts["text_proj"], text.embed[0], hidden))
        embedding = ours.pop("text_proj") | constants
        ours["decoder"] |= {f"image_embedding.{name}": tensor for name, tensor in embedding.items()}
    for module, tensors in ours.items():
        getattr(nets, module).load_state_dict(tensors, assign=True)


def _constants(proj: Tensors, embed: Tensor, hidden: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Yields what the decoder computes from a text's embedding, ``(D,)``, and hidden states, ``(L, W)``."""

    def linear(name: str, x: Tensor) -> Tensor:
        return F.linear(x, proj[f"{name}.weight"], proj[f"{name}.bias"])

    norm = "text_encoder_hidden_states_norm"
    tokens = linear("encoder_hidden_states_proj", hidden)
    yield "text_embed", linear("embedding_proj", embed)
    yield (
        "text_context",
        F.layer_norm(tokens, tokens.shape[-1:], proj[f"{norm}.weight"], proj[f"{norm}.bias"]),
    )


def _models(nets: Networks, settings: Mapping[str, Mapping[str, Any]]) -> dict[str, nn.Module]:
    """Returns the model of each stage, built with these networks."""
    of_stage = {
        "prior": nets.prior,
        "decoder": nets.decoder,
        "sr_lt": LastStep(nets.super_res_first, nets.super_res_last),
    }
    found: dict[str, nn.Module] = {}
    for stage, net in of_stage.items():
        cls = stages()[stage].model_class()
        known = inspect.signature(cls).parameters
        given = {key: value for key, value in settings[stage].items() if key in known}
        for name in ("diffusion", "sampler"):
            given[name] = from_config(given[name])
        found[stage] = cls(**{**given, "net": net})
    return found
