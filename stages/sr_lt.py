"""SR_l^t: 64 px become 256 px, over space and time together (section 3.2)."""

from lightning_mav.diffusion import GaussianDiffusion, Sampler
from lightning_mav.models import SRLT, Corruption
from lightning_mav.nn import Pseudo3DUNet
from lightning_mav.stages.backbone import Pseudo3DBackboneMixin, Trainable
from lightning_mav.stages.super_resolution import SuperResolutionStage


class SRLTStage(Pseudo3DBackboneMixin, SuperResolutionStage):
    """Learns spatiotemporal super-resolution: on images first, then on unlabelled video.

    Args:
        unet: Denoiser with ``cond_channels=3``.
        diffusion: Forward process and parametrisation.
        sampler: How samples are drawn.
        scale: Ratio of the two resolutions.
        max_noise_level: Upper end of the levels of the corruption in training.
        noise_level: Level of the corruption when sampling.
        corruption: What is done to the condition, ``noise``, ``blur`` or ``bsr``, see ``SuperResolution``.
        clamp_input: Whether the upsampled video is clamped to [-1, 1].
        num_frames: Frames in a window when sampling.
        overlap: Frames that neighbouring windows share.
        init_from: Weights to start from; None for scratch.
        trainable: Train all layers, or the spatial or the temporal ones alone.
        spatial_lr_scale: Learning rate of the spatial layers beside temporal ones, as a share of theirs.
        image_weight: Weight of the images beside the videos.
        num_samples: Samples drawn for TensorBoard after each validation.
        lr: Peak learning rate.
        warmup_steps: Steps until the peak.
        weight_decay: Decoupled weight decay.
        beta_2: Decay of AdamW's second moment.
        muon: Whether matrices and convolutions are trained by Muon instead of AdamW.
    """

    def __init__(
        self,
        unet: Pseudo3DUNet,
        diffusion: GaussianDiffusion,
        sampler: Sampler,
        *,
        scale: int = 4,
        max_noise_level: float = 0.3,
        noise_level: float = 0.05,
        corruption: Corruption = "noise",
        clamp_input: bool = True,
        num_frames: int = 16,
        overlap: int = 4,
        init_from: str | None = None,
        trainable: Trainable = "all",
        spatial_lr_scale: float = 1.0,
        image_weight: float = 0.25,
        num_samples: int = 4,
        lr: float = 1.2e-4,
        warmup_steps: int = 100,
        weight_decay: float = 0.01,
        beta_2: float = 0.99,
        muon: bool = False,
    ) -> None:
        super().__init__(
            SRLT(
                unet,
                diffusion,
                sampler,
                scale=scale,
                max_noise_level=max_noise_level,
                noise_level=noise_level,
                corruption=corruption,
                clamp_input=clamp_input,
                num_frames=num_frames,
                overlap=overlap,
            ),
            image_weight=image_weight,
            num_samples=num_samples,
            lr=lr,
            warmup_steps=warmup_steps,
            weight_decay=weight_decay,
            beta_2=beta_2,
            muon=muon,
        )
        self.init_from = init_from
        self.trainable = trainable
        self.spatial_lr_scale = spatial_lr_scale
