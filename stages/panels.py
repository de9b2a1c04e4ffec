"""Panels in TensorBoard: rows of images, or of videos side by side, with captions."""

import io
import textwrap

from einops import rearrange
from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image, ImageDraw, ImageFont
from tensorboard.compat.proto.summary_pb2 import Summary
from torch import Tensor

from lightning_mav.data.codecs.pixels import to_uint8

MIN_CELL = 96  # pixels; smaller frames are enlarged, so that they can be seen
FONT_SIZE = 12
LINE_HEIGHT = FONT_SIZE + 4
MAX_LINES = 3  # of a caption
FRAME_MILLISECONDS = 120


def log_panel(
    logger: object, tag: str, rows: dict[str, Tensor], step: int, captions: list[str] | None = None
) -> None:
    """Logs rows of images, or of videos that play side by side, for TensorBoard's image panel.

    Args:
        logger: Logger; nothing is done if it is not TensorBoard's.
        tag: Name of the panel.
        rows: Videos ``(n, 3, F, H, W)`` of one size, by the name that stands above their row.
        step: Step that they belong to.
        captions: Texts under the ``n`` columns.
    """
    if not isinstance(logger, TensorBoardLogger):
        return
    frames, file = _draw(rows, captions or []), io.BytesIO()
    frames[0].save(
        file, "GIF", save_all=True, append_images=frames[1:], duration=FRAME_MILLISECONDS, loop=0, disposal=1
    )
    # The writer's own add_video does the same, but needs the package moviepy.
    image = Summary.Image(
        height=frames[0].height, width=frames[0].width, colorspace=3, encoded_image_string=file.getvalue()
    )
    writer = logger.experiment._get_file_writer()
    writer.add_summary(Summary(value=[Summary.Value(tag=tag, image=image)]), step)


def _draw(rows: dict[str, Tensor], captions: list[str]) -> list[Image.Image]:
    """Draws the frames: each row under its name, captions below the last."""
    num_frames = max(video.shape[2] for video in rows.values())
    size = next(iter(rows.values())).shape[-1]
    factor = -(-MIN_CELL // size)
    cell, font = factor * size, ImageFont.load_default(FONT_SIZE)
    letters = int(cell // font.getlength("n"))
    texts = [
        "\n".join(textwrap.wrap(text, letters, max_lines=MAX_LINES, placeholder="...")) for text in captions
    ]
    below = LINE_HEIGHT * max((text.count("\n") + 1 for text in texts if text), default=0)
    frames = []
    for number in range(num_frames):
        strips = [
            rearrange(to_uint8(video[:, :, min(number, video.shape[2] - 1)]), "n c h w -> h (n w) c")
            for video in rows.values()
        ]
        pictures = [
            image.resize((factor * image.width, factor * image.height), Image.Resampling.NEAREST)
            for image in (Image.fromarray(strip.numpy()) for strip in strips)
        ]
        height = sum(picture.height + LINE_HEIGHT for picture in pictures) + below
        frame, top = Image.new("RGB", (max(p.width for p in pictures), height), "white"), 0
        draw = ImageDraw.Draw(frame)
        for name, picture in zip(rows, pictures, strict=True):
            draw.text((2, top), name, "black", font)
            frame.paste(picture, (0, top + LINE_HEIGHT))
            top += LINE_HEIGHT + picture.height
        for column, text in enumerate(texts):
            draw.text((2 + column * cell, top), text, "black", font)
        frames.append(frame)
    return frames
