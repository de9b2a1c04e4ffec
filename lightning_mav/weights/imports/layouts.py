"""Reads Karlo's files in both of their layouts."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from ...utils.errors import UsageError
from .names import Source
from .reading import check_fit, find_one, read_file, read_tensors

MODULES = ("prior", "text_proj", "decoder", "super_res_first", "super_res_last")  # diffusers' folders
FILES = {  # the authors' files: a pattern, and the prefix of the names of each module's tensors
    "prior": ("*prior*.ckpt", "model."),
    "text_proj": ("*decoder*.ckpt", "model."),
    "decoder": ("*decoder*.ckpt", "model."),
    "super_res_first": ("*sr*.ckpt", "model_first_steps."),
    "super_res_last": ("*sr*.ckpt", "model_last_step."),
}
STATISTICS = "*stats*.th"  # mean and standard deviation of image embeddings

Tensors = dict[str, Tensor]
Names = dict[str, tuple[str | None, Source]]  # diffusers' name to our name and the authors'


def read_layouts(
    folder: Path, names: Mapping[str, Names], references: Mapping[str, nn.Module]
) -> dict[str, Tensors]:
    """Returns the tensors of all modules, with diffusers' names.

    Args:
        folder: Folder with diffusers' folders, or with the authors' files.
        names: Names of each module's tensors.
        references: diffusers' modules, which give the shapes.

    Raises:
        UsageError: If a file is missing or damaged, or if tensors are missing, left over or of another shape.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder: name the one with Karlo's files")
    shapes = {
        module: {name: tensor.shape for name, tensor in reference.state_dict().items()}
        for module, reference in references.items()
    }
    if any((folder / module).is_dir() for module in MODULES):
        return _read_diffusers(folder, shapes)
    return _read_authors(folder, names, shapes)


def _read_diffusers(folder: Path, shapes: Mapping[str, Mapping[str, torch.Size]]) -> dict[str, Tensors]:
    layouts = {}
    for module, wanted in shapes.items():
        pattern = f"{module}/diffusion_pytorch_model"
        path = find_one(folder, (f"{pattern}.safetensors", f"{pattern}.bin"), f"weights of {module}")
        layouts[module] = read_tensors(path)
        check_fit(f"{module} of this scale", path, layouts[module], wanted)
    return layouts


def _read_authors(
    folder: Path, names: Mapping[str, Names], shapes: Mapping[str, Mapping[str, torch.Size]]
) -> dict[str, Tensors]:
    paths = {pattern: find_one(folder, [pattern], "file of the authors") for pattern, _ in FILES.values()}
    files = {pattern: read_tensors(path) for pattern, path in paths.items()}
    layouts: dict[str, Tensors] = {}
    used: dict[str, set[str]] = {pattern: set() for pattern in paths}
    for module, (pattern, prefix) in FILES.items():
        tensors = {
            name.removeprefix(prefix): each
            for name, each in files[pattern].items()
            if name[: len(prefix)] == prefix
        }
        if module == "prior":
            tensors |= _statistics(folder)
        wanted = {name: (source, shapes[module][name]) for name, (_, source) in names[module].items()}
        layouts[module] = {
            name: source.take(tensors, shape)
            for name, (source, shape) in wanted.items()
            if source.name in tensors
        }
        check_fit(f"{module} of this scale", paths[pattern], layouts[module], shapes[module])
        used[pattern] |= {prefix + source.name for source, _ in wanted.values()}
    for pattern, path in paths.items():
        placed = {name: files[pattern][name] for name in used[pattern] & files[pattern].keys()}
        check_fit(
            "Karlo's file of this scale",
            path,
            files[pattern],
            {name: each.shape for name, each in placed.items()},
        )
    return layouts


def _statistics(folder: Path) -> Tensors:
    """Returns mean and standard deviation of image embeddings, which the authors keep in a separate file."""
    path = find_one(folder, [STATISTICS], "statistics of the image embeddings")
    content = read_file(path)
    if not isinstance(content, tuple | list) or [type(each) for each in content] != [Tensor, Tensor]:
        raise UsageError(f"{path}: holds no mean and standard deviation: fetch the file again")
    return {
        name: each.float().reshape(1, -1)
        for name, each in zip(("clip_mean", "clip_std"), content, strict=True)
    }
