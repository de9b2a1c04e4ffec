"""Where weights files are: shipped with the program, trained here, or in a folder of your own."""

from pathlib import Path

from ..stage_table import DEFAULT_WEIGHTS, LAST, stages, stages_until
from ..utils.errors import UsageError
from ..utils.paths import expanded, visible

SHIPPED = Path(__file__).parent
OUTPUTS = Path("outputs")
NO_STAGE = {
    "judge": "mav weights train emoji_judge",
    "prompts": "mav weights prompts FOLDER --names FILE --images SHARDS",
    "whitening": "mav weights whiten SHARDS --clip NAME_OR_FILE --out FILE",
    "video_features": "mav weights train micro_video",
}


def find_weights(name: str, scale: str = DEFAULT_WEIGHTS) -> Path:
    """Returns the file of a trained module: your own in ``outputs/<scale>/weights``, else the shipped one.

    Args:
        name: Module, e.g. ``decoder`` or ``micro/decoder``, or the path of a ``.safetensors`` file, which is
            returned as it is.
        scale: Scale of the module, unless the name gives it.

    Raises:
        UsageError: If there is none, naming the command that makes it.
    """
    if name.endswith(".safetensors"):
        return Path(expanded(name))
    if "/" in name:
        scale, name = name.split("/", 1)
    own = OUTPUTS / scale / "weights" / f"{name}.safetensors"
    shipped = SHIPPED / scale / own.name
    # A stage with an image and a video phase is shipped only as it was after its video phase.
    fallback = shipped.with_stem(name.removesuffix("_image"))
    for path in (own, shipped, fallback):
        if path.is_file():
            return path
    raise UsageError(f"no weights at {own}: make them with `{command_of(own)}`")


def weights_files(name_or_dir: str | Path = DEFAULT_WEIGHTS, *, until: str = LAST) -> dict[str, Path]:
    """Finds the weights file of every stage up to ``until``, of a scale or in a folder.

    The name of a shipped scale always means the shipped weights. To use your own, name their folder,
    ``outputs/SCALE/weights``.
    """
    if not str(name_or_dir):
        raise UsageError("the name of the weights is empty: give a scale, such as micro, or a folder")
    names = stages_until(until)
    folder = Path(expanded(str(name_or_dir)))
    if not visible(folder, "*.safetensors"):
        if len(folder.parts) > 1:
            raise UsageError(f"{folder}: no weights there; `make train` writes some to outputs/micro/weights")
        shipped = SHIPPED / folder
        folder = shipped if visible(shipped, "*.safetensors") else OUTPUTS / folder / "weights"
    return {name: folder / f"{name}.safetensors" for name in names}


def command_of(path: Path) -> str:
    """Returns the command that makes a weights file, guessed from its path."""
    name = path.stem
    if name in NO_STAGE:
        return NO_STAGE[name]
    stage, phase = name.removesuffix("_image"), "image" if name.endswith("_image") else "video"
    command = f"make train-stage STAGE={stage}"
    spec = stages().get(stage)
    if spec is not None and spec.extra_phases and path.with_stem(f"{name}_image").is_file():
        command += f" PHASE={spec.extra_phases[-1]}"  # where the image phase is not the last
    elif spec is not None and len(spec.phases) > 1:
        command += f" PHASE={phase}"
    if path.parent.name == "weights":  # outputs/SCALE/weights
        command += f" SCALE={path.parent.parent.name}"
    return command
