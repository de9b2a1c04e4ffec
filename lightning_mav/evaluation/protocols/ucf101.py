"""UCF-101, zero-shot: one sentence for each class, with samples spread as in the training split.

Files as in the official archives: ``UCF-101/CLASS/v_CLASS_gNN_cNN.avi`` and ``ucfTrainTestlist/`` with
``classInd.txt`` ("1 ApplyEyeMakeup") and ``trainlist01.txt`` ("ApplyEyeMakeup/v_..._c01.avi 1").
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from ...utils.errors import UsageError
from ...utils.numbers import subsample
from ...utils.textfile import read_lines
from .items import Item, Protocol, make_items
from .real import check_files
from .settings import ProtocolSettings

FETCH = (
    "unpack UCF101.rar and UCF101TrainTestSplits-RecognitionTask.zip of the Center for Research in Computer"
    " Vision there, or name their folder with --data"
)


class Ucf101(Protocol):
    """The protocol of the paper's table 2."""

    name = "ucf101"
    title = "UCF-101, zero-shot"
    published: ClassVar = {
        "FVD": {"Make-A-Video": 367.23, "CogVideo (English)": 701.59},
        "IS": {"Make-A-Video": 33.00, "CogVideo (English)": 25.27},
    }
    published_num = 10_000
    notes = (
        "From the paper: one sentence for each class, and 10,000 samples spread over the classes as in the"
        " training split. Not in the paper, and so chosen here: the sentences themselves, the window of"
        " frames and its frame rate, and the real videos, which are one window of each video of trainlist01."
    )

    def __init__(self, settings: ProtocolSettings) -> None:
        super().__init__(settings)
        self.folder = Path(settings.data or "data/ucf101")
        lists = self.folder / "ucfTrainTestlist"
        rows = [line.split() for line in _lines(lists / "classInd.txt")]
        self.classes = [row[-1] for row in rows if len(row) == 2]
        self.train = [line.split()[0] for line in _lines(lists / "trainlist01.txt")]
        self.counts = Counter(name.split("/")[0] for name in self.train)
        unknown = sorted(self.counts.keys() - set(self.classes))
        if unknown or not self.train:
            what = f"class {unknown[0]!r} is not in classInd.txt" if unknown else "names no videos"
            raise UsageError(f"{lists / 'trainlist01.txt'}: {what}; {FETCH}")
        self.templates = read_templates(Path(settings.templates or "ucf101.txt"), self.classes)

    def items(self) -> list[Item]:
        """Returns the items, class by class."""
        total = self.settings.num_samples or len(self.train)
        shares = apportion([self.counts[name] for name in self.classes], total)
        prompts = [
            (self.templates[name], name)
            for name, num in zip(self.classes, shares, strict=True)
            for _ in range(num)
        ]
        return make_items(prompts, self.settings.seed)

    def real_files(self) -> list[Path]:
        """Returns the videos of the first training split."""
        files = subsample([self.folder / "UCF-101" / name for name in self.train], self.settings.num_real)
        return check_files(files, FETCH)


def apportion(weights: Sequence[int], total: int) -> list[int]:
    """Splits ``total`` into whole numbers by weight; the largest remainders get what is left over.

    The result sums to ``total``, and none differs from its exact share by one or more (Hamilton's method).
    """
    whole = sum(weights)
    shares = [weight * total // whole for weight in weights]
    order = sorted(
        range(len(weights)), key=lambda i: -(weights[i] * total % whole)
    )  # stable: ties keep their order
    for i in order[: total - sum(shares)]:
        shares[i] += 1
    return shares


def read_templates(path: Path, classes: Sequence[str]) -> Mapping[str, str]:
    """Reads ``CLASS: SENTENCE`` lines.

    Raises:
        UsageError: If a class has no sentence.
    """
    pairs = [line.partition(":") for line in _lines(path, "give a file of CLASS: SENTENCE lines")]
    templates = {name.strip(): text.strip() for name, _, text in pairs}
    missing = [name for name in classes if not templates.get(name)]
    if missing:
        raise UsageError(f"{path}: no sentence for class {missing[0]}; add a line '{missing[0]}: SENTENCE'")
    return templates


def _lines(path: Path, remedy: str = FETCH) -> list[str]:
    lines = [line.strip() for line in read_lines(path, remedy)]
    return [line for line in lines if line and not line.startswith("#")]
