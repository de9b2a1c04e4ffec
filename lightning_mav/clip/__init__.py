"""C: CLIP, text and images in one space; an open_clip model behind a fixed interface (section 3.1).

open_clip is imported when a model of it is built: that takes seconds, and the text half needs none of it.
"""

import importlib.util
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..nn.bpe import VOCABULARIES
from ..nn.text import TextTower, Tokenizer
from ..utils.configured import ConfigDict, Configured
from ..utils.numbers import check_number
from ..utils.torchscript import is_torchscript, read_torchscript
from .architectures import DEFAULTS, TEXT_OPTIONS, clip_arguments, plain_names, preprocessing, quiet
from .resize import INTERPOLATIONS, RESIZE_MODES, resized
from .whitening import Whitening

__all__ = ["Clip", "Whitening", "text_half", "warn_of_cut"]


def warn_of_cut(what: str) -> None:
    """Warns that a prompt is cut."""
    warnings.warn(f"prompt {what}", stacklevel=3)


class Clip(nn.Module, Configured):
    """Embeds text and images.

    The embeddings are not L2-normalised: their dimensions keep a spread near 1, which is what the stages
    after this one are conditioned on. Only ``similarity`` compares directions.

    Args:
        embed_dim: Width D of the common space.
        image_size: Side of the images that CLIP sees; others are resized to it.
        vision: ``vision_cfg`` of an open_clip model config. Its own ``image_size`` may be larger, for a
            network that reduces its input more often than images this small allow. None builds the text half
            alone, without open_clip.
        text: ``text_cfg`` of an open_clip model config; ``vocab_size`` is the tokenizer's if left out.
        quick_gelu: Whether to use OpenAI's approximation of GELU, as its own weights need.
        bpe: Vocabulary: ``openai``, or a file in ``nn/vocabularies`` by name, such as ``micro``.
        image_mean: Mean per channel of images in [0, 1].
        image_std: Standard deviation per channel of images in [0, 1].
        interpolation: How images of another size are resized: ``bicubic`` or ``bilinear``.
        resize_mode: What becomes of images that are no squares, see ``resized``.
    """

    def __init__(
        self,
        embed_dim: int,
        *,
        image_size: int,
        vision: dict[str, Any] | None,
        text: dict[str, Any],
        quick_gelu: bool = False,
        bpe: str = "micro",
        image_mean: Sequence[float] = (0.5, 0.5, 0.5),
        image_std: Sequence[float] = (0.5, 0.5, 0.5),
        interpolation: str = "bicubic",
        resize_mode: str = "squash",
    ) -> None:
        super().__init__()
        check_number("embed_dim", embed_dim, 1)
        check_number("image_size", image_size, 1)
        if interpolation not in INTERPOLATIONS or resize_mode not in RESIZE_MODES:
            raise ValueError(
                f"interpolation must be one of {', '.join(INTERPOLATIONS)} and resize_mode one of "
                f"{', '.join(RESIZE_MODES)}, got {interpolation!r} and {resize_mode!r}"
            )
        self.interpolation = interpolation
        self.resize_mode = resize_mode
        self.embed_dim = embed_dim
        self.image_size = image_size
        self.context_length: int = text.get("context_length", 77)
        self.tokenizer = Tokenizer(_find_vocabulary(bpe))
        text = {"vocab_size": self.tokenizer.vocab_size, **text}
        if text["vocab_size"] < self.tokenizer.vocab_size:
            raise ValueError(
                f"vocab_size must be at least the tokenizer's {self.tokenizer.vocab_size}, "
                f"got {text['vocab_size']}"
            )
        self.model: Any
        if vision is None:
            self.model = TextTower(embed_dim, **text, quick_gelu=quick_gelu)
        else:
            import open_clip

            vision = {"image_size": image_size, **vision}
            self.input_size: int = vision["image_size"]
            self.model = open_clip.CLIP(embed_dim, vision, text, quick_gelu=quick_gelu)
        self.image_mean: Tensor
        self.image_std: Tensor
        self.register_buffer("image_mean", torch.tensor(image_mean).view(3, 1, 1), persistent=False)
        self.register_buffer("image_std", torch.tensor(image_std).view(3, 1, 1), persistent=False)

    @classmethod
    def from_open_clip(
        cls, name: str, pretrained: str | Path | None = None, *, how: Mapping[str, Any] | None = None
    ) -> "Clip":
        """Builds one of open_clip's own models with OpenAI's vocabulary.

        ``mav weights import clip`` is stricter: it checks names and shapes first, and compares outputs.

        Args:
            name: Model name, e.g. ``ViT-L-14-quickgelu``, which is the CLIP of Karlo.
            pretrained: Weights file in any format that open_clip reads, or a tag for it to download.
                Without it the weights are random.
            how: Preprocessing, as ``preprocessing`` gives it; that of the tag if None, or open_clip's own.

        Raises:
            ValueError: If there is no such model, or it is no plain CLIP.
        """
        import open_clip

        if how is None:
            is_tag = str(pretrained) in open_clip.list_pretrained_tags_by_model(name)
            how = preprocessing(name, str(pretrained)) if is_tag else DEFAULTS
        clip = cls(**clip_arguments(name), **how)
        if pretrained is not None and is_torchscript(Path(pretrained)):  # OpenAI's own files
            clip.model.load_state_dict(plain_names(read_torchscript(Path(pretrained))))
        elif pretrained is not None:
            with quiet():
                model = open_clip.create_model(name, pretrained=str(pretrained), weights_only=True)
            clip.model.load_state_dict(plain_names(model.state_dict()))
        return clip.eval()

    @property
    def text_width(self) -> int:
        """Width W of the text's hidden states."""
        return self.model.ln_final.normalized_shape[0]

    def tokenize(self, texts: list[str], warn: Callable[[str], None] = warn_of_cut) -> Tensor:
        """Turns texts into ``(B, L)`` tokens and cuts those that are too long.

        Args:
            texts: Prompts or captions.
            warn: Called with a message for each text that is cut.
        """
        start, end, size = self.tokenizer.sot_token_id, self.tokenizer.eot_token_id, self.context_length
        text_tokens = torch.zeros(len(texts), size, dtype=torch.long)
        for row, text in zip(text_tokens, texts, strict=True):
            tokens = self.tokenizer.encode(text)
            if len(tokens) > size - 2:
                tokens = tokens[: size - 2]
                first, last = text[:200].split()[:6], self.tokenizer.decode(tokens).split()[-6:]
                warn(
                    f'"{" ".join(first)} ..." is longer than {size} tokens: cut after "... {" ".join(last)}"'
                )
            tokens = [start, *tokens, end]
            row[: len(tokens)] = torch.tensor(tokens)
        return text_tokens

    def encode_text(self, text_tokens: Tensor, length: int | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Embeds ``(B, L)`` tokens.

        Args:
            text_tokens: Tokens.
            length: Number of tokens of the longest text; read from the tokens if None.

        Returns:
            The embedding ``(B, D)``, the last hidden states ``(B, L, W)`` and the mask ``(B, L)`` of real
            tokens, the end token included. Hidden states of padding are zero.
        """
        model = self.model
        # The end token has the highest number. Text is causal, so what follows it need not be computed.
        end = text_tokens.argmax(dim=-1)
        mask = torch.arange(text_tokens.shape[1], device=end.device) <= end[:, None]
        length = length or int(end.max()) + 1
        x = model.token_embedding(text_tokens[:, :length]) + model.positional_embedding[:length]
        with _attention_kernel(x.device):
            x = model.transformer(x, attn_mask=model.attn_mask[:length, :length])
        x = model.ln_final(x)
        text_embed = x[torch.arange(len(x), device=x.device), end] @ model.text_projection
        x = x * mask[:, :length, None]
        return text_embed, F.pad(x, (0, 0, 0, text_tokens.shape[1] - length)), mask

    def encode_image(self, image: Tensor) -> Tensor:
        """Embeds images ``(B, 3, H, W)`` in [-1, 1], of any size, into ``(B, D)``."""
        if isinstance(self.model, TextTower):
            raise ValueError("only the text half of this CLIP was loaded: load it without text_only")
        with _attention_kernel(image.device):
            return self.model.encode_image(self.preprocess(image))

    def preprocess(self, image: Tensor) -> Tensor:
        """Turns images ``(B, 3, H, W)`` in [-1, 1] into what the network reads, ``(B, 3, S, S)``."""
        for size in (self.image_size, self.input_size):
            image = resized(image, size, self.interpolation, self.resize_mode)
        return ((image + 1) / 2 - self.image_mean) / self.image_std

    def similarity(self, a: Tensor, b: Tensor) -> Tensor:
        """Cosine between the embeddings ``a`` and ``b``, both ``(B, D)``."""
        return F.cosine_similarity(a, b, dim=-1)


def text_half(config: ConfigDict, tensors: dict[str, Tensor]) -> tuple[ConfigDict, dict[str, Tensor]]:
    """Picks the text half of a ``Clip``'s config and weights, or returns all if our own tower cannot take it.

    Pass it to ``load_weights`` as ``select``.
    """
    init_args = config["init_args"]
    if "text" not in init_args or not init_args["text"].keys() <= TEXT_OPTIONS:
        return config, tensors
    images = ("model.visual.", "model.logit_scale")
    tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith(images)}
    return {**config, "init_args": {**init_args, "vision": None}}, tensors


def _find_vocabulary(bpe: str) -> Path:
    """Returns the file of a vocabulary; OpenAI's is found in open_clip, without importing it."""
    own = {path.name.partition(".")[0]: path for path in VOCABULARIES.glob("*.txt.gz")}
    if bpe in own:
        return own[bpe]
    if bpe != "openai":
        raise ValueError(f"bpe must be one of {', '.join(sorted([*own, 'openai']))}, got {bpe!r}")
    spec = importlib.util.find_spec("open_clip")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).with_name("bpe_simple_vocab_16e6.txt.gz")


def _attention_kernel(device: torch.device) -> AbstractContextManager:
    """Avoids the fused kernel on CPUs in bf16, see ``nn.attention.attend``; open_clip calls it by itself."""
    if device.type == "cpu" and torch.is_grad_enabled() and torch.is_autocast_enabled("cpu"):
        return sdpa_kernel(SDPBackend.MATH)
    return nullcontext()
