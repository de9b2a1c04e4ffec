"""What the stages with a pseudo-3D U-Net share: inflation, and which of its layers are trained."""

from typing import Any, Literal

from lightning import LightningModule
from lightning.pytorch.utilities import rank_zero_info
from torch import nn

from lightning_mav.nn import LastStep, inflate
from lightning_mav.utils.numbers import Checked
from lightning_mav.weights import find_weights, load_weights

Trainable = Literal["all", "spatial", "temporal"]


class Pseudo3DBackboneMixin(LightningModule, Checked):
    """Starts a U-Net from another's weights and chooses what is trained.

    Args:
        model: What is trained, see ``Stage``.
        init_from: Weights to start from (see ``find_weights``), inflated to this network; None for scratch.
        trainable: Which layers to train: all, as the paper does, or only the spatial or the temporal ones.
        spatial_lr_scale: Learning rate of the spatial layers, as a share of that of the temporal ones.
        kwargs: Arguments of the stage.
    """

    model: Any  # a DiffusionModel with a Pseudo3DUNet

    def __init__(
        self,
        model: nn.Module,
        *,
        init_from: str | None = None,
        trainable: Trainable = "all",
        spatial_lr_scale: float = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(model, **kwargs)
        self.init_from = init_from
        self.trainable = trainable
        self.spatial_lr_scale = spatial_lr_scale

    def setup(self, stage: str) -> None:
        """Loads the weights of ``init_from``, unless training resumes from a checkpoint."""
        super().setup(stage)
        temporal = self._temporal_ids()
        for parameter in self.model.net.parameters():
            part = "temporal" if id(parameter) in temporal else "spatial"
            parameter.requires_grad_(self.trainable in ("all", part))
        if stage == "fit" and self.init_from is not None and not self.trainer.ckpt_path:
            path = find_weights(self.init_from)
            source = load_weights(path).net
            # All steps are trained from the network that does most of them.
            report = inflate(self.model.net, source.net if isinstance(source, LastStep) else source)
            rank_zero_info(f"from {path}: {report}")

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Returns the temporal parameters and the spatial ones, each with its learning rate."""
        temporal = self._temporal_ids()
        groups: dict[bool, list[nn.Parameter]] = {False: [], True: []}
        for parameter in self.parameters():
            if parameter.requires_grad:
                groups[id(parameter) in temporal].append(parameter)
        lr: float = self.lr  # type: ignore[assignment]
        scale = self.spatial_lr_scale if groups[True] else 1.0
        return [
            {"params": params, "lr": lr * (1.0 if is_temporal else scale)}
            for is_temporal, params in groups.items()
            if params
        ]

    def _temporal_ids(self) -> set[int]:
        return {id(p) for _, p in self.model.net.temporal_parameters()}
