"""The whole of Make-A-Video, from a sentence to a video (section 3, equation 1).

    y = SR_h . SR_l^t . F . D^t . P(BPE(x), C(x))

Each factor is a method: ``embed``, ``decode``, ``interpolate``, ``upsample_lt``, ``upsample_h``.
"""

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from .cascade_output import CascadeOutput, join_outputs
from .clip import Clip, text_half
from .models import SRH, SRLT, Decoder, Interpolation, Prior
from .models.sampling import DEFAULT, Sampling, chosen_seed, chosen_steps
from .prompts import KnownPrompts, read_known
from .stage_table import DEFAULT_WEIGHTS, LAST, video_chain
from .utils.configured import allow_modules
from .utils.numbers import MAX_FPS, MIN_FPS, check_number, check_whole
from .utils.precision import autocast_context
from .utils.tensors import check_floats, check_inputs, check_made
from .utils.textfile import check_texts
from .weights import load_stage, weights_files

Draw = Callable[..., Tensor]


class Cascade(nn.Module):
    """Turns prompts into videos. Stages from the end may be missing: ``until`` then has to stop earlier.

    Args:
        clip: C, text and image encoder.
        prior: P, text to image embedding.
        decoder: D^t, image embedding to 16 small frames.
        interpolation: F, frames between those.
        sr_lt: SR_l^t, super-resolution in space and time.
        sr_h: SR_h, super-resolution frame by frame.
        own: Stages that were added to the table of stages.

    Examples:
        >>> cascade = Cascade.from_pretrained("micro", "cpu", until="decoder", text_only=True)
        >>> output = cascade("a large red ball", until="decoder", num_steps=2)
        >>> output.video.shape, output.fps
        (torch.Size([1, 3, 16, 16, 16]), 6.0)
    """

    def __init__(
        self,
        clip: Clip,
        prior: Prior,
        decoder: Decoder,
        interpolation: Interpolation | None = None,
        sr_lt: SRLT | None = None,
        sr_h: SRH | None = None,
        **own: nn.Module,
    ) -> None:
        super().__init__()
        self.clip, self.prior, self.decoder = clip, prior, decoder
        self.interpolation, self.sr_lt, self.sr_h = interpolation, sr_lt, sr_h
        for name, model in own.items():
            self.add_module(name, model)
        self.files: dict[str, Path] = {}
        self.known = KnownPrompts()
        self.precision: str | None = None  # as in ``autocast_context``

    @classmethod
    def from_pretrained(
        cls,
        name_or_dir: str | Path = DEFAULT_WEIGHTS,
        device: torch.device | str | None = None,
        *,
        until: str = LAST,
        text_only: bool = False,
        modules: Sequence[str] = (),
    ) -> Self:
        """Loads trained stages.

        Args:
            name_or_dir: A scale, such as ``micro``, or a folder with ``clip.safetensors`` and so on.
            device: Where to put them; None takes a GPU if there is one.
            until: Last stage that is needed.
            text_only: Whether ``clip`` will only embed prompts, which loads a second faster.
            modules: Modules of your own whose classes the files may name, see ``allow_modules``.

        Raises:
            UsageError: If a file is missing or damaged, ``prompts.json`` too, or a module cannot be imported.
        """
        allow_modules(*modules)
        files = weights_files(name_or_dir, until=until)
        select = {"clip": text_half} if text_only else {}
        models: Any = {name: load_stage(name, path, select.get(name)) for name, path in files.items()}
        cascade = cls(**models)
        cascade.files, cascade.known = files, read_known(files["clip"].parent, cascade.clip.embed_dim)
        return cascade.to(device or ("cuda" if torch.cuda.is_available() else "cpu")).eval()

    @property
    def device(self) -> torch.device:
        """Where the stages are."""
        return next(self.parameters()).device

    def nearest_names(self, prompts: str | Sequence[str], k: int = 3) -> list[dict[str, float]]:
        """Finds for each prompt the nearest names that the weights know, see ``KnownPrompts.nearest``."""
        return self.known.nearest(prompts, self.clip, k)

    def embed(self, prompts: str | Sequence[str], sampling: Sampling = DEFAULT) -> Tensor:
        """P(BPE(x), C(x)): draws image embeddings ``(B, D)`` for prompts."""
        prompts = check_texts("prompts", prompts)
        with torch.inference_mode(), autocast_context(self.device, self.precision):
            embed, hidden, mask = self.clip.encode_text(self.clip.tokenize(prompts).to(self.device))
        return self.run("prior", sampling, text_embed=embed, text_hidden=hidden, text_mask=mask)

    def decode(self, image_embed: Tensor, fps: float, sampling: Sampling = DEFAULT) -> Tensor:
        """D^t: draws the key frames ``(B, 3, 16, h, w)``, shown at ``fps``, of embeddings ``(B, D)``."""
        return self.run("decoder", sampling, image_embed=image_embed, fps=fps)

    def interpolate(
        self,
        video: Tensor,
        image_embed: Tensor,
        fps: float,
        frame_skip: int = 5,
        sampling: Sampling = DEFAULT,
    ) -> Tensor:
        """F: puts ``frame_skip - 1`` frames between neighbours; ``fps`` is the rate of the result."""
        given: dict[str, Any] = {"image_embed": image_embed, "fps": fps, "frame_skip": frame_skip}
        return self.run("interpolation", sampling, video=video, **given)

    def upsample_lt(self, video: Tensor, fps: float, sampling: Sampling = DEFAULT) -> Tensor:
        """SR_l^t: enlarges a video, over space and time together."""
        return self.run("sr_lt", sampling, video=video, fps=fps)

    def upsample_h(self, video: Tensor, sampling: Sampling = DEFAULT) -> Tensor:
        """SR_h: enlarges a video frame by frame, all frames from the same noise."""
        return self.run("sr_h", sampling, video=video)

    def stage(self, name: str) -> Any:
        """Returns the model of a stage; raises ``ValueError`` if it is not loaded."""
        if (model := getattr(self, name, None)) is None:
            raise ValueError(f"this cascade has no {name}: load it, or stop earlier by `until`")
        return model

    def run(self, stage: str, sampling: Sampling = DEFAULT, draw: Draw | None = None, **given: Any) -> Tensor:
        """Draws from a stage's model, without gradients and in the precision that suits the device.

        Args:
            stage: Name of the stage.
            sampling: How to sample.
            draw: Called with the model and ``given``; None is the model's ``sample``.
            given: Inputs by name, as in ``StageSpec``; ``fps`` is a number.
        """
        model, given = self.stage(stage), check_inputs(given, self.clip.embed_dim)
        if "fps" in given:
            check_number("fps", given["fps"], MIN_FPS, MAX_FPS)
            first = next(x for x in given.values() if isinstance(x, Tensor))
            given["fps"] = torch.full((len(first),), float(given["fps"]), device=first.device)
        draw = model.sample if draw is None else partial(draw, model)
        with torch.inference_mode(), autocast_context(self.device, self.precision):
            return draw(**given, **sampling.arguments(stage)).float()

    def render(
        self,
        image_embed: Tensor,
        *,
        fps: float | None = None,
        frame_skip: int = 5,
        until: str = LAST,
        sampling: Sampling = DEFAULT,
        made: Mapping[str, Tensor] | None = None,
    ) -> CascadeOutput:
        """Turns image embeddings ``(B, D)`` into videos: all that follows the prior.

        Args:
            image_embed: CLIP image embeddings.
            fps: Frame rate of what the first stage makes, or of the last of ``made``; None is the weights'.
            frame_skip: Key frames lie this many frames apart.
            until: Last stage to run.
            sampling: How to sample.
            made: Videos ``(B, 3, F, H, W)`` that stand for what the first stages make, by stage, in order.
        """
        image_embed = check_floats("image_embed", image_embed, f"(B, {self.clip.embed_dim})")
        fps, made = self.known.fps if fps is None else fps, check_made(made or {}, image_embed)
        check_number("fps", fps, MIN_FPS, MAX_FPS)
        check_whole("frame_skip", frame_skip, 1)
        chain = video_chain(until, made)
        given: dict[str, Any] = {"image_embed": image_embed, "frame_skip": frame_skip}
        seconds, rates = dict.fromkeys(made, 0.0), dict.fromkeys(made, fps)
        for name, video in made.items():
            given["video"] = video.to(self.device)
            sampling.tell(name, video, fps)
        for spec in chain:
            start = time.perf_counter()
            fps = given["fps"] = rates[spec.name] = fps * (frame_skip if spec.adds_frames else 1)
            given["video"] = self.run(spec.name, sampling, **{name: given[name] for name in spec.inputs})
            made[spec.name] = given["video"].cpu()
            seconds[spec.name] = time.perf_counter() - start
            sampling.tell(spec.name, made[spec.name], fps)
        return CascadeOutput([*made.values()][-1], fps, made, seconds, rates, self.known.ground)

    def __call__(
        self,
        prompts: str | Sequence[str],
        *,
        seed: int | None = None,
        fps: float | None = None,
        guidance_scale: float | Mapping[str, float] | None = None,
        num_steps: int | Mapping[str, int] | None = None,
        frame_skip: int = 5,
        progress: Callable[[str, int, int], None] | None = None,
        until: str = LAST,
        num_inference_steps: int | None = None,
        generator: torch.Generator | None = None,
    ) -> CascadeOutput:
        """Turns prompts into videos, one by one, and warns of prompts that the weights do not know.

        Same prompt, seed, settings and machine: same video, whatever the other prompts are.

        Args:
            prompts: One prompt or several.
            seed: Seed, 0 or more; 0 if None.
            fps: Rate of the 16 key frames; None is the weights' own. The video plays at ``fps * frame_skip``.
            guidance_scale: As in ``Sampling``.
            num_steps: As in ``Sampling``.
            frame_skip: Key frames lie this many frames apart, 1 to 15.
            progress: As in ``Sampling``.
            until: Last stage to run, one of ``video_stages()``.
            num_inference_steps: Another name of ``num_steps``, as in diffusers.
            generator: Draws the seed, as in diffusers; on the CPU.

        Raises:
            ValueError: If a value is out of its range, or is given by two names.
        """
        seed, num_steps = chosen_seed(seed, generator), chosen_steps(num_steps, num_inference_steps)
        outputs = []
        for prompt in check_texts("prompts", prompts):
            own = Sampling(seed, prompt, num_steps, guidance_scale, progress)
            if warning := self.known.warning(prompt, *self.nearest_names(prompt)):
                warnings.warn(warning, stacklevel=2)
            start = time.perf_counter()
            embed, seconds = self.embed([prompt], own), time.perf_counter() - start
            output = self.render(embed, fps=fps, frame_skip=frame_skip, until=until, sampling=own)
            output.stages = {"prior": embed.cpu(), **output.stages}
            output.seconds = {"prior": seconds, **output.seconds}
            outputs.append(output)
        return join_outputs(outputs)
