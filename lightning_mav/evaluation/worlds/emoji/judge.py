"""The judge: the network that reads which still a video shows."""

from collections.abc import Iterable

from torch import Tensor

from ....utils.errors import UsageError
from ....weights import find_weights, load_weights
from ...features.emoji import SIZE, EmojiJudge


def load_judge() -> EmojiJudge:
    """Loads the judge that you trained, else the shipped one.

    Raises:
        UsageError: If there is none, or the file holds something else.
    """
    path = find_weights("emoji/judge")
    judge = load_weights(path)
    if not isinstance(judge, EmojiJudge):
        raise UsageError(f"{path}: holds a {type(judge).__name__}; put an EmojiJudge there")
    return judge.eval()


def nearest_still(judge: EmojiJudge, features: Tensor, videos: Iterable[Tensor]) -> Tensor:
    """Returns which still each video ``(3, F, S, S)`` shows, ``(N,)``.

    Args:
        judge: Network that reads videos.
        features: Its features of all stills, ``(num_stills, D)``.
        videos: Videos of any lengths.
    """
    return (judge.of_videos(videos) @ features.T).argmax(dim=1)


__all__ = ["SIZE", "EmojiJudge", "load_judge", "nearest_still"]
