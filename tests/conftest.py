import os
import signal

import pytest

# With tensors this small, threads do nothing but wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True)
def _same_numbers_each_time():
    """Seeds what tests draw, so that a tolerance that holds once holds always."""
    import torch  # not at the top: the variables must be set before

    torch.manual_seed(0)


@pytest.fixture
def usual_signals():
    """Gives signals the handlers of a program that a terminal has started: in the background others hold."""
    usual = {
        signal.SIGINT: signal.default_int_handler,
        signal.SIGTERM: signal.SIG_DFL,
        signal.SIGHUP: signal.SIG_DFL,
    }
    former = {each: signal.signal(each, handler) for each, handler in usual.items()}
    yield
    for each, handler in former.items():
        signal.signal(each, handler)


@pytest.fixture(scope="session")
def micro_world(tmp_path_factory):
    """A micro-world small enough for tests: 24 images of 48 px and 6 videos of 32 px and 2 s, as shards."""
    from lightning_mav.worlds.micro.shards import write_world

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


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Where all runs of a file are trained, so that later ones find the weights of earlier ones."""
    return tmp_path_factory.mktemp("training")


@pytest.fixture
def fit(place, micro_world, monkeypatch):
    """Trains a run, and what it needs before it, for a number of steps."""
    from test_train import NEEDS, RUN, arguments

    from lightning_mav.training.train import train

    monkeypatch.chdir(place)

    def fit(name, steps, *overrides, scale="micro", **kwargs):
        outputs = place / "outputs" / scale
        for needed in NEEDS.get(name, []):
            if not (outputs / "weights" / f"{needed}.safetensors").exists():
                fit(needed, 2, scale=scale)
        overrides = [*arguments(name, steps, micro_world, scale), *overrides]
        train(RUN[name], scale, overrides=overrides, **kwargs)
        return outputs / name, outputs / "weights" / f"{name}.safetensors"

    return fit
