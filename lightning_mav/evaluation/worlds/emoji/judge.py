"""Loads the judge: the network that reads which still a video shows."""

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


__all__ = ["SIZE", "EmojiJudge", "load_judge"]
