"""The fused norm: the same values and gradients as the operations it stands for, and less memory."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lightning_mav.nn import norm as norms
from lightning_mav.nn.norm import GroupNorm

NUM_VIDEOS, NUM_FRAMES, CHANNELS = 2, 3, 8
SIZES = [(5, 3), (32, 33)]  # below and above the size at which the moments are computed another way


def frames(size, dtype=torch.float64):
    x = 3 * torch.randn(NUM_VIDEOS * NUM_FRAMES, CHANNELS, *size, dtype=dtype) + 1
    return x.to(memory_format=torch.channels_last).requires_grad_()


def norm_of(groups, silu=False, dtype=torch.float64):
    norm = GroupNorm(groups, CHANNELS, silu=silu).to(dtype)
    for parameter in norm.parameters():
        nn.init.normal_(parameter)
    return norm


def reference(norm, x, film):
    """One operation after the other, as the papers write them."""
    y = F.group_norm(x, norm.num_groups, norm.weight, norm.bias, norm.eps)
    if film is not None:
        scale, shift = film.repeat_interleave(NUM_FRAMES, dim=0)[:, :, None, None].chunk(2, dim=1)
        y = y * (1 + scale) + shift
    return F.silu(y) if norm.silu else y


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("groups", [1, 2, 8])
@pytest.mark.parametrize("silu", [False, True])
@pytest.mark.parametrize("conditioned", [False, True])
@pytest.mark.parametrize("compiled", [False, True])
def test_values_and_gradients_are_those_of_the_separate_operations(
    size, groups, silu, conditioned, compiled, monkeypatch
):
    if compiled:  # what a compiler is given on a GPU
        monkeypatch.setattr(norms._NormSiLU, "apply", norms.norm_silu)
    norm, x = norm_of(groups, silu), frames(size)
    film = torch.randn(NUM_VIDEOS, 2 * CHANNELS, dtype=torch.float64, requires_grad=True)
    film = film if conditioned else None
    inputs = [x, norm.weight, norm.bias] + ([film] if conditioned else [])
    expected = reference(norm, x, film)
    upstream = torch.randn_like(expected)
    out = norm(x, film)
    torch.testing.assert_close(out, expected)
    assert out.is_contiguous(memory_format=torch.channels_last)
    for ours, theirs in zip(
        torch.autograd.grad(out, inputs, upstream),
        torch.autograd.grad(expected, inputs, upstream),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("size", SIZES)
def test_half_precision_stays_close(size):
    norm, x = norm_of(4, silu=True, dtype=torch.float32), frames(size, torch.float32)
    expected = reference(norm, x, None)
    upstream = torch.randn_like(expected)
    (expected_grad,) = torch.autograd.grad(expected, x, upstream)
    half = x.detach().bfloat16().requires_grad_()
    out = norm(half)
    assert out.dtype == torch.bfloat16
    (grad,) = torch.autograd.grad(out, half, upstream.bfloat16())
    for ours, theirs in ((out, expected), (grad, expected_grad)):
        assert (ours.float() - theirs).norm() < 0.02 * theirs.norm()


def test_keeps_only_its_input_for_the_backward_pass():
    norm, x = norm_of(4, silu=True), frames((32, 32))
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda y: (kept.append(y), y)[1], lambda y: y):
        norm(x, torch.randn(NUM_VIDEOS, 2 * CHANNELS, dtype=torch.float64))
    large = [y for y in kept if y.numel() >= x.numel()]
    assert [y.data_ptr() for y in large] == [x.data_ptr()]
