"""Shards that tests write, read and compare."""

import io
import operator
from itertools import islice

import numpy as np
import torch
import webdataset as wds
from lightning import LightningModule, Trainer
from PIL import Image


def write_shard(path, samples):
    with path.open("wb") as file, wds.TarWriter(file, mtime=0) as tar:
        for index, sample in enumerate(samples):
            tar.write({"__key__": f"{index:05d}", **sample})


def png(value, size=8):
    data = io.BytesIO()
    Image.fromarray(np.full((size, size, 3), value, np.uint8)).save(data, "PNG")
    return data.getvalue()


def take(datamodule, num=3):
    return list(islice(datamodule.train_dataloader(), num))


def assert_same(batches, others):
    assert len(batches) == len(others)
    for batch, other in zip(batches, others, strict=True):
        assert batch.keys() == other.keys()
        for name, value in batch.items():
            equal = torch.equal if isinstance(value, torch.Tensor) else operator.eq
            assert equal(value, other[name])


class Counts(LightningModule):
    """Looks at batches."""

    def __init__(self):
        super().__init__()
        self.weight, self.seen = torch.nn.Parameter(torch.zeros(())), []

    def training_step(self, batch):
        self.seen.append(batch)
        return self.weight

    def validation_step(self, batch):
        self.seen.append(batch)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(datamodule, ckpt_path=None, **settings):
    module = Counts()
    off = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    trainer = Trainer(accelerator="cpu", **dict.fromkeys(off, False), **settings)
    trainer.fit(module, datamodule=datamodule, ckpt_path=ckpt_path)
    return module.seen, trainer
