"""``mav weights whiten``: mean and deviation of a CLIP's embeddings of images, which the prior whitens by."""

import argparse
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..utils.console import track
from ..utils.errors import UsageError, writing
from .arguments import number_in

if TYPE_CHECKING:
    import torch

    from ..clip import Clip

EPILOG = """example:
  mav weights whiten data/paper/images --clip paper/clip --out outputs/paper/weights/whitening.safetensors
  mav train prior --scale paper --model.whitening=paper/whitening

Images are read as for training: cut square, and shrunk to what CLIP sees. Broken ones are skipped."""
MAX_SKIPPED = 0.01  # share of images that may be broken, as of a training


def add_whiten_command(commands: Any) -> None:
    """Adds ``whiten`` to the commands of ``mav weights``."""
    text = "measure the constants by which the prior whitens CLIP's embeddings"
    parser = commands.add_parser("whiten", help=text, description=f"{text.capitalize()}.", epilog=EPILOG)
    add = parser.add_argument
    add("shards", metavar="SHARDS", help="of images: a folder, a pattern or braces, here or elsewhere")
    add("--clip", metavar="NAME_OR_FILE", required=True, help="that the prior is trained with")
    add("--out", type=Path, metavar="FILE", required=True, help="file to write, *.safetensors")
    add("--max-images", type=number_in(int, 2), metavar="N", help="read no more, from the first on")
    least = "refuse fewer usable images: 1000 give a deviation within 2%% (default: 1000)"
    add("--min-images", type=number_in(int, 2), default=1000, metavar="N", help=least)
    add("--batch-size", type=number_in(int, 1), default=64, metavar="N", help="(default: 64)")
    add("--workers", type=number_in(int, 1, 1000), metavar="N", help="reading processes (default: all cores)")
    add("--device", metavar="D", help="cpu, cuda, cuda:1, ... (default: a GPU if there is one)")
    parser.set_defaults(run=_whiten)


def _whiten(args: argparse.Namespace) -> None:
    import torch

    from ..clip.whitening import Moments
    from ..utils.precision import usable_device
    from ..weights import find_weights, load_stage, save_weights

    if args.out.suffix != ".safetensors":
        raise UsageError(f"--out {args.out}: name a file that ends in .safetensors")
    if args.max_images is not None and args.max_images < args.min_images:
        raise UsageError(f"--max-images {args.max_images} is less than --min-images {args.min_images}")
    device = usable_device("--device", args.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    clip = load_stage("clip", find_weights(args.clip)).to(device)
    moments = Moments(clip.embed_dim)
    with torch.inference_mode():
        for image in _images(args, clip):
            moments.update(clip.encode_image(image.to(device)).float())
    if moments.count < args.min_images:
        raise UsageError(
            f"{args.shards}: has {moments.count} usable images, fewer than --min-images {args.min_images}: "
            "name more shards, or ask for fewer"
        )
    whitening = moments.whitening(clip)
    if not (whitening.mean.isfinite().all() and whitening.std.isfinite().all()):
        raise UsageError(f"--clip {args.clip}: gives embeddings that are not finite: import it again")
    record = {"clip": args.clip, "images": moments.count, "shards": args.shards}
    with writing(args.out, "make room, or choose another --out"):
        save_weights(whitening, args.out, training=record, dtype="fp32")
    print(f"wrote {args.out}: {moments.count:,} images, deviations {_range(whitening.std)}")


def _images(args: argparse.Namespace, clip: "Clip") -> Iterator["torch.Tensor"]:
    """Yields the images of the shards in batches, ``(B, 3, S, S)`` in [-1, 1], as training reads them."""
    from ..data.shards.reader import Shards
    from ..data.shards.urls import expand_shards
    from ..datamodules import ImageTextShards
    from ..datamodules.batches import Tally
    from ..datamodules.read_all import read_all
    from ..utils.threads import num_cores

    try:
        data = ImageTextShards(args.shards, image_size=clip.image_size, with_text=False)
        shards = Shards(
            expand_shards(args.shards, data.remedy), data.suffixes, data.max_member_bytes, data.fetched
        )
    except ValueError as error:  # what cannot name shards
        raise UsageError(str(error)) from None
    tally = Tally()
    samples = read_all(shards, data.decode_arrays, data.remedy, None, args.workers or num_cores(), tally)
    total = min(len(shards), args.max_images or len(shards))
    batches = _batched(islice(samples, args.max_images), args.batch_size)
    for batch in track(batches, "Embedding", -(-total // args.batch_size)):
        tally.check(MAX_SKIPPED)
        yield data.collate(batch)["image"]
    tally.check(MAX_SKIPPED)


def _batched(samples: Iterable[dict[str, Any]], size: int) -> Iterator[list[dict[str, Any]]]:
    import torch

    samples = iter(samples)
    while batch := list(islice(samples, size)):
        yield [{name: torch.from_numpy(value) for name, value in sample.items()} for sample in batch]


def _range(values: "torch.Tensor") -> str:
    return f"{values.min():.3g} to {values.max():.3g}"
