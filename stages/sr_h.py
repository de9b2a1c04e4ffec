"""SR_h: 256 px become 768 px, frame by frame, trained on random crops of images (section 3.2)."""

from lightning_mav.diffusion import GaussianDiffusion, Sampler
from lightning_mav.models import SRH, Corruption
from lightning_mav.nn import Pseudo3DUNet
from lightning_mav.stages.backbone import Pseudo3DBackboneMixin, Trainable
from lightning_mav.stages.super_resolution import SuperResolutionStage


class SRHStage(Pseudo3DBackboneMixin, SuperResolutionStage):
    """Learns spatial super-resolution on crops; it is convolutional, so it is applied at full size.

    Args:
        unet: Denoiser with ``cond_channels=3`` and no temporal layers.
        diffusion: Forward process and parametrisation.
        sampler: How samples are drawn.
        scale: Ratio of the two resolutions.
        max_noise_level: Upper end of the levels of the corruption in training.
        noise_level: Level of the corruption when sampling.
        corruption: What is done to the condition, ``noise``, ``blur`` or ``bsr``, see ``SuperResolution``.
        clamp_input: Whether the upsampled video is clamped to [-1, 1].
        init_from: Weights to start from; None for scratch.
        num_samples: Samples drawn for TensorBoard after each validation.
        lr: Peak learning rate.
        warmup_steps: Steps until the peak.
        weight_decay: Decoupled weight decay.
        beta_2: Decay of AdamW's second moment.
        muon: Whether matrices and convolutions are trained by Muon instead of AdamW.
    """

    trainable: Trainable = "all"
    spatial_lr_scale = 1.0

    def __init__(
        self,
        unet: Pseudo3DUNet,
        diffusion: GaussianDiffusion,
        sampler: Sampler,
        *,
        scale: int = 3,
        max_noise_level: float = 0.3,
        noise_level: float = 0.05,
        corruption: Corruption = "noise",
        clamp_input: bool = True,
        init_from: str | None = None,
        num_samples: int = 4,
        lr: float = 1e-4,
        warmup_steps: int = 100,
        weight_decay: float = 0.01,
        beta_2: float = 0.99,
        muon: bool = False,
    ) -> None:
        super().__init__(
            SRH(
                unet,
                diffusion,
                sampler,
                scale=scale,
                max_noise_level=max_noise_level,
                noise_level=noise_level,
                corruption=corruption,
                clamp_input=clamp_input,
            ),
            num_samples=num_samples,
            lr=lr,
            warmup_steps=warmup_steps,
            weight_decay=weight_decay,
            beta_2=beta_2,
            muon=muon,
        )
        self.init_from = init_from
