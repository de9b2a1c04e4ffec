"""Metrics over sets of videos, as torchmetrics: the same for any batch size and number of processes.

Sums are taken in double precision. Feature networks are frozen and run without gradients.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.utilities import dim_zero_cat

from ...clip import Clip
from ..features import FeatureNetwork
from .distances import frechet_distance, kernel_distance
from .scores import clip_sim, score_of_sums, sums_of_scores

SIDES = ("real", "generated")


class VideoMetric(Metric):
    """What the metrics here share: no gradients, and batches that do not depend on those before."""

    is_differentiable = False
    full_state_update = False


class FrechetVideoDistance(VideoMetric):
    """FVD: the Frechet distance between the features of real and generated videos.

    Args:
        features: Maps videos ``(B, 3, F, H, W)`` in [-1, 1] to features ``(B, num_features)``.
        reset_real_features: Whether ``reset`` also forgets the real videos.
        kwargs: Arguments of ``torchmetrics.Metric``.
    """

    higher_is_better = False

    def __init__(
        self, features: FeatureNetwork | nn.Module, *, reset_real_features: bool = True, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.features = features
        self.reset_real_features = reset_real_features
        num_features: Any = features.num_features
        for side in SIDES:
            sums = torch.zeros(num_features, dtype=torch.double)
            products = torch.zeros(num_features, num_features, dtype=torch.double)
            self.add_state(f"{side}_sum", sums, dist_reduce_fx="sum")
            self.add_state(f"{side}_products", products, dist_reduce_fx="sum")
            self.add_state(f"{side}_num", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, video: Tensor, real: bool) -> None:
        """Adds videos ``(B, 3, F, H, W)`` in [-1, 1] to one of the two sets."""
        self.update_features(_features(self.features, video), real)

    def update_features(self, features: Tensor, real: bool) -> None:
        """Adds features ``(B, num_features)`` that were computed before."""
        side, features = SIDES[not real], features.double()
        getattr(self, f"{side}_sum").add_(features.sum(dim=0))
        getattr(self, f"{side}_products").add_(features.T @ features)
        getattr(self, f"{side}_num").add_(len(features))

    def compute(self) -> Tensor:
        """Returns the distance.

        Raises:
            ValueError: If there are fewer than two videos on either side.
        """
        (mean_a, cov_a), (mean_b, cov_b) = (self._moments(side) for side in SIDES)
        return torch.tensor(frechet_distance(mean_a, cov_a, mean_b, cov_b), dtype=torch.double)

    def reset(self) -> None:
        """Forgets the videos; the real ones only if ``reset_real_features``."""
        names = [name for name in self._defaults if name.startswith("real_") and not self.reset_real_features]
        kept = {name: getattr(self, name) for name in names}
        super().reset()
        for name, value in kept.items():
            setattr(self, name, value)

    def _moments(self, side: str) -> tuple[Tensor, Tensor]:
        num = int(getattr(self, f"{side}_num"))
        if num < 2:
            raise ValueError(f"two {side} videos or more are needed, got {num}")
        mean = getattr(self, f"{side}_sum") / num
        products = getattr(self, f"{side}_products")
        return mean, (products - num * mean[:, None] * mean) / (num - 1)


class KernelVideoDistance(VideoMetric):
    """KVD: the squared maximum mean discrepancy between features; it keeps the features of all videos.

    Args:
        features: Maps videos ``(B, 3, F, H, W)`` in [-1, 1] to features ``(B, num_features)``.
        kwargs: Arguments of ``torchmetrics.Metric``.
    """

    higher_is_better = False
    real: list[Tensor]
    generated: list[Tensor]

    def __init__(self, features: FeatureNetwork | nn.Module, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.features = features
        for side in SIDES:
            self.add_state(side, [], dist_reduce_fx="cat")

    def update(self, video: Tensor, real: bool) -> None:
        """Adds videos ``(B, 3, F, H, W)`` in [-1, 1] to one of the two sets."""
        getattr(self, SIDES[not real]).append(_features(self.features, video).double())

    def compute(self) -> Tensor:
        """Returns the distance.

        Raises:
            ValueError: If there are fewer than two videos on either side.
        """
        for side in SIDES:
            if len(getattr(self, side)) == 0:
                raise ValueError(f"two {side} videos or more are needed, got 0")
        distance = kernel_distance(dim_zero_cat(self.real), dim_zero_cat(self.generated))
        return torch.tensor(distance, dtype=torch.double)


class VideoInceptionScore(VideoMetric):
    """The Inception Score of videos, by a video classifier, in one split.

    Args:
        network: Maps videos ``(B, 3, F, H, W)`` in [-1, 1] to logits or log-probabilities
            ``(B, num_features)``.
        kwargs: Arguments of ``torchmetrics.Metric``.
    """

    higher_is_better = True
    entropies: Tensor
    probabilities: Tensor
    num: Tensor

    def __init__(self, network: FeatureNetwork | nn.Module, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.network = network
        num_features: Any = network.num_features
        zeros = torch.zeros(num_features, dtype=torch.double)
        self.add_state("entropies", torch.zeros((), dtype=torch.double), dist_reduce_fx="sum")
        self.add_state("probabilities", zeros, dist_reduce_fx="sum")
        self.add_state("num", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, video: Tensor) -> None:
        """Adds videos ``(B, 3, F, H, W)`` in [-1, 1]."""
        entropies, probabilities = sums_of_scores(_features(self.network, video))
        self.entropies += entropies
        self.probabilities += probabilities
        self.num += len(video)

    def compute(self) -> Tensor:
        """Returns the score.

        Raises:
            ValueError: If there is no video.
        """
        if not self.num:
            raise ValueError("one video or more is needed, got 0")
        score = score_of_sums(self.entropies, self.probabilities, int(self.num))
        return torch.tensor(score, dtype=torch.double)


class ClipSim(VideoMetric):
    """CLIPSIM: how near each frame is to the text, see ``clip_sim``.

    ``values`` holds the scores of single videos ``(N,)``, in the order they were added.

    Args:
        clip: The CLIP model.
        kwargs: Arguments of ``torchmetrics.Metric``.
    """

    higher_is_better = True
    values: list[Tensor]

    def __init__(self, clip: Clip, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.clip = clip
        self.add_state("values", [], dist_reduce_fx="cat")

    def update(self, video: Tensor, texts: list[str]) -> None:
        """Adds videos ``(B, 3, F, H, W)`` in [-1, 1] with their ``B`` texts."""
        self.values.append(clip_sim(self.clip, video, texts).double())

    def compute(self) -> Tensor:
        """Returns the mean over all videos.

        Raises:
            ValueError: If there is no video.
        """
        if len(self.values) == 0:
            raise ValueError("one video or more is needed, got 0")
        return dim_zero_cat(self.values).mean()


def frechet_inception_distance(features: FeatureNetwork, **kwargs: Any) -> FrechetInceptionDistance:
    """Builds torchmetrics' FID with one of our networks; it takes images ``(B, 3, 1, H, W)`` in [-1, 1].

    Args:
        features: The network, e.g. ``load_features("inception")``.
        kwargs: Arguments of ``torchmetrics.Metric``.
    """
    return FrechetInceptionDistance(feature=features, **kwargs)


@torch.no_grad()
def _features(network: nn.Module, video: Tensor) -> Tensor:
    return network(video)
