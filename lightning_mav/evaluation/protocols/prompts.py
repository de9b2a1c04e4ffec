"""Your own prompts, from a text file with one prompt per line."""

from itertools import cycle, islice
from pathlib import Path

from ...data.codecs.decode import VIDEO_FORMATS
from ...utils.errors import UsageError
from ...utils.numbers import subsample
from ...utils.paths import visible
from ...utils.textfile import read_prompts
from .items import Item, Protocol, make_items
from .real import check_files
from .settings import ProtocolSettings


class PromptFile(Protocol):
    """CLIPSIM of any prompts; with a folder of real videos also FVD and the like."""

    name = "prompts"
    title = "Your own prompts"
    notes = "These prompts are your own, so published numbers cannot be compared with the numbers here."

    def __init__(self, settings: ProtocolSettings) -> None:
        super().__init__(settings)
        if settings.prompts is None:
            raise UsageError("no prompts: name a text file with one prompt per line by --prompts FILE")
        self.texts = read_prompts(Path(settings.prompts))

    def items(self) -> list[Item]:
        """Returns an item for each prompt, or ``num_samples`` items, with prompts repeated in order."""
        num = self.settings.num_samples or len(self.texts)
        return make_items(((text, None) for text in islice(cycle(self.texts), num)), self.settings.seed)

    def real_files(self) -> list[Path]:
        """Returns the videos in the folder, and below it, sorted by name."""
        if self.settings.data is None:
            names = ", ".join(self.settings.comparing)
            raise UsageError(f"real videos are needed for {names}: name their folder with --data")
        folder = Path(self.settings.data)
        found = (path for path in visible(folder, "**/*") if not path.is_dir())
        files = [path for path in found if path.suffix.lower()[1:] in VIDEO_FORMATS]
        if not files:
            names = ", ".join(VIDEO_FORMATS)
            raise UsageError(f"--data {folder}: no videos there ({names}); name a folder of real videos")
        return check_files(subsample(files, self.settings.num_real), "repair the link, or move it away")
