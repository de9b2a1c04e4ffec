"""Mean and deviation of a CLIP's image embeddings, by which the prior whitens them."""

import torch
from torch import Tensor, nn

from ..utils.configured import Configured
from ..utils.numbers import check_number

LEAST_STD = 1e-3  # of a dimension, so that one that never changes is not blown up


class Whitening(nn.Module, Configured):
    """Holds the mean and the deviation of each dimension, and what shows whether a CLIP is the same.

    Args:
        embed_dim: Width D of the embeddings.
    """

    def __init__(self, embed_dim: int) -> None:
        super().__init__()
        check_number("embed_dim", embed_dim, 1)
        self.mean: Tensor
        self.std: Tensor
        self.probe: Tensor
        self.register_buffer("mean", torch.zeros(embed_dim))
        self.register_buffer("std", torch.ones(embed_dim))
        # The embedding of one fixed picture: other CLIPs of this width give another.
        self.register_buffer("probe", torch.zeros(embed_dim))

    def belongs_to(self, clip: nn.Module) -> bool:
        """Whether it was measured with this ``Clip``, whose numbers may have been rounded since."""
        probe = probe_of(clip)
        if probe.shape != self.probe.shape:
            return False
        return bool((probe - self.probe).norm() < 0.05 * self.probe.norm())


class Moments:
    """Mean and deviation of the embeddings so far, in double precision.

    Batches are joined as by Chan, Golub and LeVeque (1979), which loses no digits where the mean is large.
    """

    def __init__(self, embed_dim: int) -> None:
        self.count = 0
        self.mean = torch.zeros(embed_dim, dtype=torch.float64)
        self.squares = torch.zeros(embed_dim, dtype=torch.float64)  # of distances from the mean

    def update(self, embeds: Tensor) -> None:
        """Adds embeddings ``(B, D)``."""
        x = embeds.detach().cpu().double()
        mean, count = x.mean(dim=0), self.count + len(x)
        change = mean - self.mean
        self.squares += (x - mean).square().sum(dim=0) + change.square() * self.count * len(x) / count
        self.mean += change * len(x) / count
        self.count = count

    def whitening(self, clip: nn.Module) -> Whitening:
        """Returns mean and unbiased deviation, with the mark of the ``Clip`` that they were measured with."""
        found = Whitening(len(self.mean))
        found.mean.copy_(self.mean)
        found.std.copy_((self.squares / (self.count - 1)).sqrt().clamp_min(LEAST_STD))
        found.probe.copy_(probe_of(clip))
        return found


@torch.no_grad()
def probe_of(clip: nn.Module) -> Tensor:
    """Returns the embedding ``(D,)`` of a fixed random picture."""
    size: int = clip.image_size  # type: ignore[assignment]
    image = torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(0)) * 2 - 1
    device = next(clip.parameters()).device
    return clip.encode_image(image.to(device)).float().cpu()[0]  # type: ignore[operator]
