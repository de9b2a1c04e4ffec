import os

import pytest

# With tensors this small, threads do nothing but wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def micro_world(tmp_path_factory):
    """A micro-world small enough for tests: 24 images of 48 px and 6 videos of 32 px and 2 s, as shards."""
    from lightning_mav.micro.shards import write_world

    root = tmp_path_factory.mktemp("micro")
    write_world(
        root,
        num_images=24,
        num_videos=6,
        image_size=48,
        video_size=32,
        seconds=2.0,
        num_val_images=8,
        num_val_videos=4,
        progress=False,
    )
    return root
