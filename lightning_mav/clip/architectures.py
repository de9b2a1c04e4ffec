"""open_clip's models: which of them our ``Clip`` can be, how they see pictures, and what they compute."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..utils.textfile import parse_json
from ..utils.torchscript import is_torchscript, read_torchscript

# Options of our own text tower; open_clip's has more.
TEXT_OPTIONS = {"vocab_size", "width", "heads", "layers", "context_length"}
DEFAULTS: dict[str, Any] = {  # how most of open_clip's models see pictures, as arguments of Clip
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
    "interpolation": "bicubic",
    "resize_mode": "shortest",
}
TEXT_PARTS = ("positional_embedding", "text_projection", "token_embedding.", "transformer.", "ln_final.")


def clip_arguments(name: str) -> dict[str, Any]:
    """Returns the arguments of ``Clip`` for one of open_clip's models, without its preprocessing.

    Args:
        name: Name in ``open_clip.list_models()``.

    Raises:
        ValueError: If there is none, or its text half is of a kind that ``Clip`` has not.
    """
    import open_clip

    config = open_clip.get_model_config(name)
    if config is None:
        raise ValueError(f"open_clip has no model {name!r}; open_clip.list_models() lists those it has")
    vision, text = config["vision_cfg"], config["text_cfg"]
    if tokenizer := text.get("hf_tokenizer_name") or text.get("hf_model_name"):
        raise ValueError(
            f"{name} reads text by the tokenizer {tokenizer}, which would have to be fetched: choose a model "
            "with OpenAI's vocabulary, such as ViT-L-14"
        )
    extra = sorted(config.keys() - {"embed_dim", "vision_cfg", "text_cfg", "quick_gelu", "custom_text"})
    if unknown := extra + sorted(text.keys() - TEXT_OPTIONS):
        raise ValueError(f"{name} is not a plain CLIP ({', '.join(unknown)}): choose another, as ViT-L-14")
    if not isinstance(vision["image_size"], int):
        raise ValueError(f"{name} does not see squares, but {vision['image_size']}: choose another")
    if "timm_model_name" in vision:
        vision = {**vision, "timm_model_pretrained": False}  # which would fetch weights
    return {
        "embed_dim": config["embed_dim"],
        "image_size": vision["image_size"],
        "vision": vision,
        "text": text,
        "quick_gelu": config.get("quick_gelu", False),
        "bpe": "openai",
    }


def preprocessing(name: str, tag: str | None = None, file: Path | None = None) -> dict[str, Any]:
    """Returns how weights of one of open_clip's models see pictures.

    It belongs to the weights, not to the architecture. open_clip lists it for the weights that it knows;
    those on Hugging Face have it in ``open_clip_config.json`` beside them.

    Args:
        name: Name of the model.
        tag: Name of the weights in ``open_clip.list_pretrained()``.
        file: File of the weights, if there is one.

    Returns:
        ``image_mean``, ``image_std``, ``interpolation`` and ``resize_mode`` of ``Clip``.

    Raises:
        ValueError: If it cannot be known, or if these weights need another activation function.
    """
    import open_clip
    from open_clip.pretrained import get_pretrained_cfg

    quick_gelu = clip_arguments(name)["quick_gelu"]
    tags = {each: get_pretrained_cfg(name, each) for each in open_clip.list_pretrained_tags_by_model(name)}
    beside = None if file is None else file.with_name("open_clip_config.json")
    if tag is not None:
        if tag not in tags:
            known = ", ".join(tags) or "none"
            raise ValueError(f"--tag {tag}: open_clip knows no such weights of {name}; it knows {known}")
        if tags[tag].get("quick_gelu", False) != quick_gelu:
            raise ValueError(
                f"--tag {tag}: these weights are for {_other_gelu(name)}, not {name}: name that instead"
            )
        found = [tags[tag]]
    elif beside is not None and beside.is_file():
        found = [_read_config(beside, name, quick_gelu)]
    else:
        found = [each for each in tags.values() if each.get("quick_gelu", False) == quick_gelu] or [{}]
    ways = [_way(each) for each in found]
    if differing := [key for key in DEFAULTS if any(way[key] != ways[0][key] for way in ways)]:
        same = [each for each in tags if tags[each].get("quick_gelu", False) == quick_gelu]
        raise ValueError(
            f"weights of {name} differ in how they see pictures ({', '.join(differing)}): say by --tag which "
            f"these are, one of {', '.join(same)}"
        )
    return ways[0]


def _way(given: Mapping[str, Any]) -> dict[str, Any]:
    """Returns open_clip's preprocessing as arguments of ``Clip``."""
    found = {key: given.get(key.removeprefix("image_")) or default for key, default in DEFAULTS.items()}
    return {key: list(value) if isinstance(value, tuple) else value for key, value in found.items()}


def _other_gelu(name: str) -> str:
    """Names the same model with the other activation function."""
    suffix = "-quickgelu"
    return name.removesuffix(suffix) if name.endswith(suffix) else name + suffix


def _read_config(path: Path, name: str, quick_gelu: bool) -> dict[str, Any]:
    """Returns the preprocessing that a file beside the weights names."""
    try:
        config = parse_json(path.read_bytes())
        model, found = config["model_cfg"], dict(config.get("preprocess_cfg", {}))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: is not open_clip's description of weights: move it away") from error
    if model.get("quick_gelu", False) != quick_gelu:
        raise ValueError(f"{path}: these weights are for {_other_gelu(name)}, not {name}: name that instead")
    return found


def plain_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns the tensors of one of open_clip's models by the names that they have in ``open_clip.CLIP``.

    Training on several devices puts ``module.`` before all names, a text half of a module of its own
    ``text.``. OpenAI's files also hold three sizes, and masks, which are computed.
    """
    sizes = ("input_resolution", "context_length", "vocab_size")
    if all(name.startswith("module.") for name in tensors):
        tensors = {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
    return {
        name.removeprefix("text.") if name.removeprefix("text.").startswith(TEXT_PARTS) else name: tensor
        for name, tensor in tensors.items()
        if not ((name in sizes and tensor.numel() == 1) or name.rpartition(".")[2] == "attn_mask")
    }


@contextmanager
def quiet() -> Iterator[None]:
    """Drops what open_clip says of a model without weights."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def build_reference(name: str, path: Path) -> Any:
    """Builds open_clip's own model with the weights of a file; only an archive is not read by open_clip.

    Raises:
        RuntimeError: If the file does not hold weights of that model; also what reading it raises.
    """
    import open_clip

    with quiet():
        model = open_clip.create_model(name)
        if is_torchscript(path):  # which open_clip would run
            own, given = model.state_dict(), read_torchscript(path)
            model.load_state_dict({key: given[key] for key in own if key in given})
        else:
            open_clip.load_checkpoint(model, str(path), weights_only=True)
    return model.float().eval()


@torch.no_grad()
def differences(clip: Any, reference: Any, name: str) -> dict[str, float]:
    """Returns the largest differences from open_clip's own model, each as a share of its largest number.

    Args:
        clip: Our ``Clip``.
        reference: open_clip's model with the same weights.
        name: Name of the model.

    Returns:
        ``images`` and ``texts``: of the embeddings of two random images and four texts; ``pixels``: of a
        picture as the network sees it, which open_clip rounds to bytes and we do not.
    """
    import open_clip
    from PIL import Image

    texts = ["", "a red car", "An astronaut riding a horse, 1969!", "D\u00e9j\u00e0-vu & so on " * 40]
    ours = clip.encode_text(clip.tokenize(texts, lambda _: None))[0]
    theirs = reference.encode_text(open_clip.get_tokenizer(name)(texts))
    size = clip.image_size
    x = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    picture = smooth_picture(2 * size, 3 * size)
    seen = picture_transform(clip)(Image.fromarray(picture.movedim(0, -1).numpy()))
    return {
        "images": _difference(clip.encode_image(2 * x - 1), reference.encode_image(_normalised(x, clip))),
        "texts": _difference(ours, theirs),
        "pixels": _difference(clip.preprocess(picture[None] / 127.5 - 1)[0], seen),
    }


def smooth_picture(height: int, width: int) -> Tensor:
    """Draws a picture without sharp edges, ``(3, height, width)`` bytes; always the same one."""
    noise = torch.rand(1, 3, 4, 6, generator=torch.Generator().manual_seed(0))
    return (255 * F.interpolate(noise, (height, width), mode="bilinear")[0]).round().byte()


def picture_transform(clip: Any) -> Any:
    """Returns open_clip's own preprocessing, of PIL pictures, as a ``Clip`` is set up."""
    import open_clip

    given = clip.config["init_args"]
    return open_clip.image_transform(
        given["image_size"],
        is_train=False,
        mean=tuple(given["image_mean"]),
        std=tuple(given["image_std"]),
        interpolation=given["interpolation"],
        resize_mode=given["resize_mode"],
    )


def _normalised(x: Tensor, clip: Any) -> Tensor:
    mean, std = (torch.tensor(clip.config["init_args"][key]) for key in ("image_mean", "image_std"))
    return (x - mean.view(3, 1, 1)) / std.view(3, 1, 1)


def _difference(ours: Tensor, theirs: Tensor) -> float:
    return float((ours - theirs).abs().max() / theirs.abs().max())
