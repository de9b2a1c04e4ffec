"""MSR-VTT, zero-shot: every caption of the 2,990 test videos.

Files as in the official archives: ``test_videodatainfo.json`` with ``videos`` (``video_id``, ``split``) and
``sentences`` (``sen_id``, ``video_id``, ``caption``), and the videos as ``TestVideo/VIDEO_ID.mp4``.
"""

from pathlib import Path
from typing import ClassVar

from ...utils.errors import UsageError
from ...utils.numbers import subsample
from ...utils.textfile import has_surrogates, is_blank, parse_json
from .items import Item, Protocol, make_items
from .real import check_files
from .settings import ProtocolSettings

INFO = "test_videodatainfo.json"
FOLDERS = ("TestVideo", "videos/all", "videos")  # the first is official, the others are how mirrors unpack
FETCH = (
    f"unpack MSR-VTT's {INFO} and its test videos (TestVideo/) there, or name their folder with --data FOLDER"
)


class MsrVtt(Protocol):
    """The protocol of the paper's table 1."""

    name = "msrvtt"
    title = "MSR-VTT test, zero-shot"
    published: ClassVar = {
        "FID": {"Make-A-Video": 13.17, "CogVideo (English)": 23.59},
        "CLIPSIM": {"Make-A-Video": 0.3049, "CogVideo (English)": 0.2631},
    }
    published_num = 59_794
    notes = (
        "From the paper: one sample for each caption of the test set, FID, and CLIPSIM as the mean over"
        " frames. Not in the paper, and so chosen here: which frames are measured; the real ones are those of"
        " one window of each test video. The intervals treat captions as independent, though 20 of them share"
        " a video. The paper counts 59,794 captions; here all captions in the file are taken."
    )

    def __init__(self, settings: ProtocolSettings) -> None:
        super().__init__(settings)
        self.folder = Path(settings.data or "data/msrvtt")
        path = self.folder / INFO
        try:
            info = parse_json(path.read_bytes())
            self.videos = [str(video["video_id"]) for video in info["videos"] if video["split"] == "test"]
            sentences = sorted(info["sentences"], key=lambda sentence: sentence["sen_id"])
            known = set(self.videos)
            self.captions = [
                (" ".join(sentence["caption"].split()), str(sentence["video_id"]))
                for sentence in sentences
                if sentence["video_id"] in known and not is_blank(sentence["caption"])
            ]
        except OSError as error:
            raise UsageError(f"{path}: cannot be read ({error.strerror}); {FETCH}") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UsageError(f"{path}: is not MSR-VTT's list of videos and sentences; {FETCH}") from error
        for caption, video in self.captions:
            if has_surrogates(caption):
                raise UsageError(f"{path}: a caption of {video} holds half a character; {FETCH}")
        if not self.captions:
            raise UsageError(f"{path}: has no captions of videos whose split is 'test'; {FETCH}")

    def items(self) -> list[Item]:
        """Returns an item for each caption, labelled by its video, in the order of the captions' numbers."""
        return make_items(self.captions[: self.settings.num_samples], self.settings.seed)

    def real_files(self) -> list[Path]:
        """Returns the test videos."""
        found = [self.folder / name for name in FOLDERS if (self.folder / name).is_dir()]
        folder = found[0] if found else self.folder / FOLDERS[0]
        files = [folder / f"{name}.mp4" for name in subsample(self.videos, self.settings.num_real)]
        return check_files(files, FETCH)
