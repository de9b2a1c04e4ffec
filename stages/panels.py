"""Panels in TensorBoard: grids of images and animated grids of videos."""

import io
import math

import torch
from einops import rearrange
from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image
from tensorboard.compat.proto.summary_pb2 import Summary
from torch import Tensor

from lightning_mav.data.codecs.pixels import to_uint8

MIN_WIDTH = 512
FRAME_MILLISECONDS = 120


def log_video(logger: object, tag: str, video: Tensor, step: int) -> None:
    """Logs ``(n, 3, F, H, W)`` as a grid, an animated one if ``F > 1``, for TensorBoard's image panel."""
    if not isinstance(logger, TensorBoardLogger):
        return
    frames, file = [_grid(frame) for frame in video.unbind(2)], io.BytesIO()
    frames[0].save(
        file, "GIF", save_all=True, append_images=frames[1:], duration=FRAME_MILLISECONDS, loop=0, disposal=1
    )
    # The writer's own add_video does the same, but needs the package moviepy.
    image = Summary.Image(
        height=frames[0].height, width=frames[0].width, colorspace=3, encoded_image_string=file.getvalue()
    )
    writer = logger.experiment._get_file_writer()
    writer.add_summary(Summary(value=[Summary.Value(tag=tag, image=image)]), step)


def _grid(images: Tensor) -> Image.Image:
    """Lays ``(n, 3, H, W)`` out in a square grid, enlarged so that it can be seen."""
    columns = math.ceil(math.sqrt(len(images)))
    missing = -len(images) % columns
    images = torch.cat([images, images.new_full((missing, *images.shape[1:]), -1)])
    pixels = rearrange(to_uint8(images), "(r c) k h w -> (r h) (c w) k", c=columns)
    factor = max(1, MIN_WIDTH // pixels.shape[1])
    image = Image.fromarray(pixels.numpy())
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
