"""Pseudo-3D layers add time without disturbing what the image network knows."""

import math

import pytest
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import nn

from lightning_mav.nn.attention import attend
from lightning_mav.nn.pseudo3d import (
    PseudoAttention3d,
    PseudoConv3d,
    TemporalAttention,
    TemporalConv,
    to_frames,
    to_video,
)


def random_(module):
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.3)
    return module


def test_frames_and_video_are_two_views_of_one():
    video = torch.randn(2, 5, 3, 4, 6)
    frames = to_frames(video)
    assert frames.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(to_video(frames, 3), video)
    assert to_video(frames, 3).data_ptr() == frames.data_ptr()


@pytest.mark.parametrize("num_frames", [1, 2, 5])
@pytest.mark.parametrize("temporal_kernel_size", [1, 3, 5])
def test_fresh_convolution_repeats_the_image_layer(num_frames, temporal_kernel_size):
    layer = PseudoConv3d(3, 8, temporal_kernel_size=temporal_kernel_size)
    frames = to_frames(torch.randn(2, 3, num_frames, 6, 4))
    torch.testing.assert_close(layer(frames, num_frames), layer.spatial(frames))


def test_temporal_convolution_equals_the_rearranged_conv1d():
    layer, num_frames = random_(TemporalConv(4)), 5
    video = torch.randn(2, 4, num_frames, 3, 6)
    rows = rearrange(video, "b c f h w -> (b h w) c f")
    expected = F.conv1d(rows, layer.weight[..., 0], layer.bias, padding=1)
    expected = rearrange(expected, "(b h w) c f -> b c f h w", b=2, h=3)
    torch.testing.assert_close(to_video(layer(to_frames(video), num_frames), num_frames), expected)


def test_temporal_convolution_sees_only_the_frames_under_its_kernel():
    layer, video = random_(TemporalConv(3)), torch.randn(2, 3, 7, 4, 4, requires_grad=True)
    out = to_video(layer(to_frames(video), 7), 7)
    (grad,) = torch.autograd.grad(out[0, :, 3].sum(), video)
    reached = grad.abs().amax(dim=(1, 3, 4)) > 0
    assert reached.tolist() == [[False, False, True, True, True, False, False], [False] * 7]


def test_fresh_attention_repeats_the_image_layer():
    layer = PseudoAttention3d(16, head_channels=8, norm_groups=4, context_channels=6)
    random_(layer.spatial)
    frames = to_frames(torch.randn(2, 16, 3, 4, 4))
    context = torch.randn(2, 5, 6)
    torch.testing.assert_close(layer(frames, context, 3), layer.spatial(frames, context))


def test_temporal_attention_mixes_frames_at_one_place_only():
    layer = random_(PseudoAttention3d(8, head_channels=4, norm_groups=4)).temporal
    video = torch.randn(2, 8, 3, 4, 4, requires_grad=True)
    out = to_video(layer(to_frames(video), 3), 3)
    (grad,) = torch.autograd.grad(out[1, :, 0, 2, 1].sum(), video)
    reached = (grad.abs().amax(dim=1) > 0).nonzero()
    assert reached.tolist() == [[1, f, 2, 1] for f in range(3)]


def test_context_and_pixels_share_one_softmax():
    layer = random_(PseudoAttention3d(8, head_channels=4, norm_groups=4, context_channels=6)).spatial
    x, context = torch.randn(1, 8, 2, 2), torch.randn(1, 3, 6)
    tokens = rearrange(layer.group_norm(x), "n c h w -> n (h w) c")
    q = layer.to_q(tokens)
    k = torch.cat([layer.add_k_proj(context), layer.to_k(tokens)], dim=1)
    v = torch.cat([layer.add_v_proj(context), layer.to_v(tokens)], dim=1)
    heads = [rearrange(y, "n l (h d) -> n h l d", d=4) for y in (q, k, v)]
    weights = torch.einsum("nhid,nhjd->nhij", heads[0], heads[1]).div(4**0.5).softmax(-1)
    out = layer.to_out[0](rearrange(weights @ heads[2], "n h l d -> n l (h d)"))
    expected = x + rearrange(out, "n (h w) c -> n c h w", h=2)
    torch.testing.assert_close(layer(x, context), expected)


def test_both_kernels_of_attention_agree():
    q, k, v = torch.randn(3, 2, 4, 300, 8).unbind(0)
    torch.testing.assert_close(attend(q[..., :9, :], k, v), attend(q, k, v)[..., :9, :])


def test_even_kernel_is_refused():
    with pytest.raises(ValueError, match="got kernel_size=4"):
        PseudoConv3d(3, 8, kernel_size=4)


COPIES = ("aten::copy_", "aten::contiguous", "aten::clone", "aten::cat")


@pytest.mark.parametrize("kind", ["convolution", "attention"])
def test_time_is_a_view_that_copies_no_whole_activation(kind, monkeypatch):
    # A few places at a time are copied, into the caches: here, so few that the whole would be noticed.
    monkeypatch.setattr("lightning_mav.nn.attention.MAX_NUMBERS", 2**14)
    layer = TemporalConv(16) if kind == "convolution" else TemporalAttention(16, head_channels=8)
    random_(layer).to(memory_format=torch.channels_last)
    frames = to_frames(torch.randn(2, 16, 4, 12, 12)).requires_grad_()
    upstream = torch.randn_like(frames)
    with torch.profiler.profile(record_shapes=True) as profile:
        layer(frames, 4).backward(upstream)
    copied = [
        event.name
        for event in profile.events()
        # A product with a bias starts from it: that is a write, and the profiler calls it a copy.
        if event.name in COPIES
        and getattr(event.cpu_parent, "name", "") != "aten::addmm"
        and any(math.prod(shape) >= frames.numel() for shape in event.input_shapes if shape)
    ]
    assert not copied
