"""Finds out how an object moves from its track.

Every motion of the micro-world is a steady cycle, so each reading asks two questions. Does one slow harmonic
explain the track, with its frames in order? And does the path have the right form? Noise, jitter, jumps and
shuffled frames fail the first question, whatever path their points lie on.
"""

import math

import torch
from torch import Tensor

MOTIONS = ("bounce", "spin", "slide", "orbit", "pulse", "drift", "other")
BOUNCE, SPIN, SLIDE, ORBIT, PULSE, DRIFT, OTHER = range(7)

MAX_POINTS = 16  # longer tracks are averaged in groups of frames, to at least this many points
MIN_CYCLE = 4.0  # frames of the shortest cycle that counts as slow; the world's is 4.8, at 4 fps
NUM_FREQUENCIES = 64
MIN_FIT = 0.8  # share of a track's variance that one harmonic explains: .9 if a bounce, rarely .7 if shuffled

MIN_SPREAD = 0.02  # standard deviation of a moving centroid: a sixth of a pixel of 16
MAX_STILL = 0.06  # standard deviation of a resting centroid: half a pixel of 16
MAX_FLAT = 0.18  # minor to major axis of a straight path: .06 when clean, .21 of a quarter circle
MAX_TILT = 18.0  # degrees between a straight path and the vertical, the horizontal or a diagonal
MAX_ROUND = 0.25  # deviation from the circle's radius over the spread of the path; .03 when clean
MIN_TURN = 1.0  # radians an orbit must cover
MIN_SWING = 0.025  # relative standard deviation of a pulsing radius; .035 in the slowest second
MAX_SWING = 0.06  # the same of a spinning star, from pixels and noise
MIN_SPIN = 0.2  # radians a spin must cover
MIN_TIPS = 0.2  # five-fold moment of a star: .5 or more when clean, .1 or less of other shapes
MIN_STEADY = 0.8  # net turning over total turning: 1 when always the same way
MIN_COHERENCE = 0.8  # length of the mean of the unit vectors of the steps: 1 when all turn alike


def group_frames(track: Tensor) -> Tensor:
    """Averages ``(N, F, D)`` over groups of frames, so that long tracks are judged like short ones."""
    group = max(1, track.shape[1] // MAX_POINTS)
    num_groups = track.shape[1] // group
    return track[:, : num_groups * group].unflatten(1, (num_groups, group)).mean(dim=2)


def harmonic_fit(track: Tensor) -> Tensor:
    """Returns the share ``(N,)`` of the variance of ``(N, F, D)`` that one slow harmonic explains at best."""
    num_frames = track.shape[1]
    time = torch.arange(num_frames, dtype=torch.double, device=track.device)
    time = time - time.mean()
    lowest = 1 / (4 * num_frames)  # at lower frequencies a harmonic is hardly more than a parabola
    frequency = torch.linspace(lowest, 1 / MIN_CYCLE, NUM_FREQUENCIES, dtype=torch.double).to(time)
    angle = 2 * math.pi * frequency[:, None] * time
    waves = torch.stack([angle.cos(), angle.sin()], dim=-1)  # (K, F, 2)
    basis = torch.linalg.qr(waves - waves.mean(dim=1, keepdim=True)).Q
    track = track.double()
    track = track - track.mean(dim=1, keepdim=True)
    explained = torch.einsum("kfw,nfd->nkwd", basis, track).square().sum(dim=(2, 3)).amax(dim=1)
    return (explained / track.square().sum(dim=(1, 2)).clamp(min=1e-12)).float()


def wrap(angle: Tensor) -> Tensor:
    """Maps angles in radians to [-pi, pi)."""
    return torch.remainder(angle + math.pi, 2 * math.pi) - math.pi


def turning(angle: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Returns net turning in radians, steadiness and coherence, each ``(N,)``, of ``(N, F)`` angles."""
    step = wrap(angle.diff(dim=1))
    net = step.sum(dim=1).abs()
    steady = net / step.abs().sum(dim=1).clamp(min=1e-6)
    return net, steady, torch.polar(torch.ones_like(step), step).mean(dim=1).abs()


def fit_circle(track: Tensor) -> tuple[Tensor, Tensor]:
    """Fits circles to ``(N, F, 2)``: the centre ``(N, 2)`` and the deviation of the radius ``(N,)``."""
    mean = track.mean(dim=1, keepdim=True)
    points = (track - mean).double()
    # |p|^2 = 2 c.p + const is linear in c; the ridge keeps straight paths from failing.
    normal = points.transpose(1, 2) @ points
    normal = normal + 1e-9 * torch.eye(2, dtype=normal.dtype, device=normal.device)
    square = points.square().sum(dim=-1, keepdim=True)
    square = square - square.mean(dim=1, keepdim=True)
    centre = torch.linalg.solve(normal, points.transpose(1, 2) @ square / 2)[..., 0]
    radius = (points - centre[:, None]).norm(dim=-1)
    return (centre + mean[:, 0]).float(), radius.std(dim=1).float()


def detect_motion(centroid: Tensor, area: Tensor, phase: Tensor) -> Tensor:
    """Returns the index into ``MOTIONS``, ``(N,)``, of objects tracked over ``F`` frames.

    Args:
        centroid: ``(N, F, 2)`` in [-1, 1].
        area: ``(N, F)``.
        phase: Five-fold moment, ``(N, F)`` complex.
    """
    path = group_frames(centroid)
    radius = group_frames(area.sqrt()[..., None])
    tips = torch.view_as_complex(group_frames(torch.view_as_real(phase)).contiguous())

    centred = path - path.mean(dim=1, keepdim=True)
    variance, axes = torch.linalg.eigh(centred.transpose(1, 2) @ centred / path.shape[1])
    minor, spread = variance.clamp(min=0).sqrt().unbind(dim=1)
    tilt = torch.rad2deg(torch.atan2(axes[:, 1, 1].abs(), axes[:, 0, 1].abs()))  # 0 level, 90 upright
    swing = radius.std(dim=(1, 2)) / radius.mean(dim=(1, 2)).clamp(min=1e-6)

    moves = (spread > MIN_SPREAD) & (harmonic_fit(path) > MIN_FIT)
    straight = moves & (minor < MAX_FLAT * spread)
    centre, deviation = fit_circle(path)
    around = path - centre[:, None]
    turn, turn_steady, _ = turning(torch.atan2(around[..., 1], around[..., 0]))
    circles = (deviation < MAX_ROUND * spread) & (turn > MIN_TURN) & (turn_steady > MIN_STEADY)
    still = spread < MAX_STILL
    pulses = still & (swing > MIN_SWING) & (harmonic_fit(radius) > MIN_FIT)
    spin, spin_steady, coherence = turning(tips.angle())
    spins = still & (swing < MAX_SWING) & (tips.abs().median(dim=1).values > MIN_TIPS)
    spins &= (spin / 5 > MIN_SPIN) & (spin_steady > MIN_STEADY) & (coherence > MIN_COHERENCE)

    motion = torch.full_like(spread, OTHER, dtype=torch.long)
    motion[straight & (tilt < MAX_TILT)] = SLIDE
    motion[straight & ((tilt - 45).abs() < MAX_TILT)] = DRIFT
    motion[straight & (tilt > 90 - MAX_TILT)] = BOUNCE
    motion[moves & ~straight & circles] = ORBIT
    motion[spins] = SPIN
    motion[pulses] = PULSE
    return motion
