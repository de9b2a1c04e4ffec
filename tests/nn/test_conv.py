"""Convolution over rows: values and gradients of the native one, in any memory layout."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lightning_mav.nn import conv
from lightning_mav.nn.conv import RowConv


@pytest.mark.parametrize("kernel_size", [1, 3, 5])
@pytest.mark.parametrize("num_rows", [1, 2, 6])
@pytest.mark.parametrize("chunk", [4, 1024])  # several with a remainder, or one
@pytest.mark.parametrize("memory_format", [torch.channels_last, torch.contiguous_format])
def test_values_and_gradients_are_the_native_ones(kernel_size, num_rows, chunk, memory_format, monkeypatch):
    monkeypatch.setattr(conv, "CHUNK", chunk)
    layer = RowConv(3, 5, kernel_size)
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    x = torch.randn(2, 3, num_rows, 7).to(memory_format=memory_format).requires_grad_()
    expected = F.conv2d(x, layer.weight, layer.bias, padding=(kernel_size // 2, 0))
    out = layer(x)
    torch.testing.assert_close(out, expected)
    upstream = torch.randn_like(expected)
    inputs = (x, layer.weight, layer.bias)
    ours, theirs = (torch.autograd.grad(y, inputs, upstream) for y in (out, expected))
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_frozen_parameters_get_no_gradient():
    layer, x = RowConv(3, 3, 3), torch.randn(1, 3, 4, 4, requires_grad=True)
    layer.weight.requires_grad_(False)
    layer(x).sum().backward()
    assert layer.weight.grad is None
    assert layer.bias.grad is not None
    assert x.grad is not None


def test_autocast_keeps_the_convolution_in_half_precision():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert RowConv(3, 3, 3)(torch.randn(1, 3, 4, 4)).dtype == torch.bfloat16
