"""Attention by whichever way is fast: the values and gradients of the definition."""

import pytest
import torch
import torch.nn.functional as F
from einops import rearrange

from lightning_mav.nn import attend, attention


@pytest.mark.parametrize("length", [5, attention.MAX_LENGTH + 3])
@pytest.mark.parametrize("max_pairs", [1, 2**22])
def test_values_and_gradients_are_those_of_the_fused_kernel(length, max_pairs, monkeypatch):
    monkeypatch.setattr(attention, "MAX_PAIRS", max_pairs)  # one at a time, or all at once
    # As the layers make them: views that have the heads inside.
    shapes = (length, length + 4, length + 4)
    q, k, v = (torch.randn(3, n, 2, 8, dtype=torch.float64).transpose(1, 2).requires_grad_() for n in shapes)
    out, expected = attend(q, k, v), F.scaled_dot_product_attention(q, k, v)
    torch.testing.assert_close(out, expected)
    upstream = torch.randn_like(expected)
    ours = torch.autograd.grad(out, (q, k, v), upstream)
    theirs = torch.autograd.grad(expected, (q, k, v), upstream)
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("length", [5, attention.MAX_LENGTH + 3])
def test_masked_keys_are_not_seen(dtype, length):
    q, k, v = (torch.randn(2, 2, length, 8, dtype=dtype) for _ in range(3))
    mask = torch.arange(length) < length - 2
    torch.testing.assert_close(
        attend(q, k, v, mask), attend(q, k[:, :, :-2], v[:, :, :-2]), rtol=0.02, atol=0.02
    )


def test_long_attention_in_half_precision_keeps_no_pairs():
    length = 128
    q, k, v = (torch.randn(2, 2, length, 8).bfloat16().requires_grad_() for _ in range(3))
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda y: (kept.append(y.numel()), y)[1], lambda y: y):
        attend(q, k, v)
    assert max(kept) == q.numel() < length**2


@pytest.mark.parametrize("num_frames", [5, 70])  # more than MAX_LENGTH are attended to another way on a GPU
@pytest.mark.parametrize("max_numbers", [1, 2**19, None])
def test_attention_over_frames_is_attention_with_the_frames_last(num_frames, max_numbers, monkeypatch):
    attend_over_frames = (
        attention.attend_over_frames if max_numbers else attention._attend_over_frames_at_once
    )
    monkeypatch.setattr(attention, "MAX_NUMBERS", max_numbers)  # one place at a time, all, or as on a GPU
    qkv = torch.randn(2, num_frames, 7, 3, 2, 8, dtype=torch.float64, requires_grad=True)
    q, k, v = (rearrange(y, "b f p h d -> b p h f d") for y in qkv.unbind(3))
    expected = rearrange(F.scaled_dot_product_attention(q, k, v), "b p h f d -> b f p (h d)")
    out = attend_over_frames(qkv)
    torch.testing.assert_close(out, expected)
    upstream = torch.randn_like(out)
    ours, theirs = (torch.autograd.grad(y, qkv, upstream)[0] for y in (out, expected))
    torch.testing.assert_close(ours, theirs)
