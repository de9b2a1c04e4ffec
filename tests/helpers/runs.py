"""Arguments that make every run small, and checkpoints that are compared."""

import torch

from lightning_mav.training.runs import all_runs

IMAGES = ["num_images=24", "num_val_images=8", "source_size=48", "batch_size=2", "num_val_batches=1"]
VIDEOS = [
    "num_videos=6",
    "num_val_videos=4",
    "source_size=32",
    "seconds=2.0",
    "batch_size=2",
    "num_val_batches=1",
]
UNET = ["--model.unet.channels=8", "--model.unet.channel_mults=[1,2]", "--model.unet.norm_groups=4"]
SAMPLE = ["--model.sampler.num_steps=1", "--model.num_samples=1"]
ATTENTION = ["--model.unet.head_channels=8", "--model.unet.attention_levels=[1]"]
DECODER = [*UNET, *SAMPLE, *ATTENTION, "--model.unet.image_embed_dim=16", "--model.unet.context_channels=16"]
MODEL = {
    "clip": [
        "--model.clip.embed_dim=16",
        "--model.clip.vision={layers: 1, width: 16, head_width: 8, patch_size: 8}",
        "--model.clip.text={width: 16, heads: 2, layers: 1}",
    ],
    "prior": [
        "--model.net.embed_dim=16",
        "--model.net.text_width=16",
        "--model.net.width=16",
        "--model.net.num_layers=1",
        "--model.net.num_heads=2",
        "--model.sampler.num_steps=1",
    ],
    "decoder": DECODER,
    "interpolation": DECODER,
    "sr_lt": [*UNET, *SAMPLE, "--model.scale=2"],
    "sr_h": [*UNET, *SAMPLE],
}
DATA = {
    "clip": [("", IMAGES)],
    "prior": [("", IMAGES)],
    "decoder_image": [("", IMAGES)],
    "decoder": [(".video", VIDEOS), (".image", IMAGES)],
    "interpolation": [("", VIDEOS)],
    "sr_lt_image": [("", [*IMAGES, "image_size=32"])],
    "sr_lt": [(".video", [*VIDEOS, "image_size=32"]), (".image", [*IMAGES, "image_size=32"])],
    "sr_h": [("", [*IMAGES, "image_size=48", "crop_size=24"])],
}
RUN = {run.name: run for run in all_runs()}


def arguments(name, steps, world, scale="micro"):
    """Overrides that make a run tiny; the networks of the nano scale are left as they are."""
    model = MODEL[RUN[name].stage] if scale == "micro" else []
    data = [f"--data{key}.{value}" for key, values in DATA[name] for value in values]
    data += [f"--data{key}.root={world}" for key, _ in DATA[name]]
    trainer = [f"--trainer.max_steps={steps}", "--trainer.val_check_interval=2", "--trainer.accelerator=cpu"]
    return [*model, *data, *trainer]


def assert_equal(a, b, path=""):
    assert type(a) is type(b), path
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b), path
    elif isinstance(a, dict):
        assert a.keys() == b.keys(), path
        for key in a:
            assert_equal(a[key], b[key], f"{path}.{key}")
    elif isinstance(a, list | tuple):
        assert len(a) == len(b), path
        for i, (left, right) in enumerate(zip(a, b, strict=True)):
            assert_equal(left, right, f"{path}[{i}]")
    else:
        assert a == b, path
