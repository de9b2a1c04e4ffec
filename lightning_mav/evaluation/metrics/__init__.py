"""Metrics: functions of features and logits, and torchmetrics classes over whole sets of videos."""

from .distances import frechet_distance, frechet_distance_of, kernel_distance
from .scores import clip_sim, inception_score, psnr
from .videos import (
    ClipSim,
    FrechetVideoDistance,
    KernelVideoDistance,
    VideoInceptionScore,
    frechet_inception_distance,
)

__all__ = [
    "ClipSim",
    "FrechetVideoDistance",
    "KernelVideoDistance",
    "VideoInceptionScore",
    "clip_sim",
    "frechet_distance",
    "frechet_distance_of",
    "frechet_inception_distance",
    "inception_score",
    "kernel_distance",
    "psnr",
]
