"""Muon: what its steps are, next to the singular value decomposition and to torch's AdamW."""

import copy

import pytest
import torch
from torch import nn

from lightning_mav.stages.muon import Muon, orthogonalise


@pytest.mark.parametrize("shape", [(5, 40), (40, 5), (24, 24), (3, 5, 40)])
def test_orthogonalised_matrices_keep_their_directions_and_lose_their_scales(shape):
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 1e-3
    out = orthogonalise(matrices)
    u, _, vt = torch.linalg.svd(matrices, full_matrices=False)
    inner = u.mT @ out @ vt.mT  # diagonal where the directions are the same
    diagonal = inner.diagonal(dim1=-2, dim2=-1)
    assert ((diagonal > 0.6) & (diagonal < 1.3)).all()
    assert (inner - torch.diag_embed(diagonal)).abs().max() < 1e-3


def one_step(weight, gradient, **kwargs):
    parameter = nn.Parameter(weight.clone())
    parameter.grad = gradient.clone()
    Muon([parameter], **kwargs).step()
    return parameter.detach() - weight


def test_step_does_not_depend_on_the_scale_of_the_gradient():
    weight, gradient = torch.randn(6, 4, 3, 3), torch.randn(6, 4, 3, 3)
    scales = (1.0, 2.0**13)  # exact in bf16, too
    steps = [one_step(weight, scale * gradient, lr=0.1, weight_decay=0.0) for scale in scales]
    torch.testing.assert_close(*steps)


def test_entries_of_a_step_are_as_large_as_those_of_adamw():
    for shape in ((64, 64, 3, 3), (16, 128)):
        step = one_step(torch.zeros(shape), torch.randn(shape), lr=0.1)
        assert step.square().mean().sqrt().item() == pytest.approx(0.1 * 0.2, rel=0.3)


def test_layers_of_one_shape_do_not_mix():
    gradients = [torch.randn(4, 6), torch.randn(4, 6), torch.randn(2, 6)]
    parameters = [nn.Parameter(torch.zeros_like(g)) for g in gradients]
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient
    Muon(parameters, lr=0.1).step()
    for parameter, gradient in zip(parameters, gradients, strict=True):
        torch.testing.assert_close(parameter.detach(), one_step(torch.zeros_like(gradient), gradient, lr=0.1))


def test_step_does_not_depend_on_the_memory_format():
    weight, gradient = torch.randn(6, 4, 3, 3), torch.randn(6, 4, 3, 3)
    first = one_step(weight, gradient, lr=0.1)
    last = [y.contiguous(memory_format=torch.channels_last) for y in (weight, gradient)]
    second = one_step(*last, lr=0.1)
    assert second.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(first, second, atol=2e-3, rtol=0.05)  # sums in another order, perhaps in bf16


def test_vectors_are_trained_by_adamw():
    torch.manual_seed(0)
    ours, theirs = (nn.Parameter(torch.ones(5)) for _ in range(2))
    settings = {"lr": 0.1, "betas": (0.9, 0.99), "weight_decay": 0.1}
    optimizers = Muon([ours], **settings), torch.optim.AdamW([theirs], **settings)
    for _ in range(4):
        ours.grad = torch.randn(5)
        theirs.grad = ours.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
    torch.testing.assert_close(ours, theirs)


def test_state_survives_saving():
    def train(net, optimizer, steps):
        for step in steps:
            optimizer.zero_grad()
            net(torch.randn(8, 4, generator=torch.Generator().manual_seed(step))).square().sum().backward()
            optimizer.step()

    torch.manual_seed(0)
    net = nn.Linear(4, 3)
    resumed = nn.Linear(4, 3)
    optimizer = Muon(net.parameters(), lr=0.05)
    train(net, optimizer, range(3))
    resumed.load_state_dict(net.state_dict())
    other = Muon(resumed.parameters(), lr=0.05)
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    train(net, optimizer, range(3, 6))
    train(resumed, other, range(3, 6))
    assert torch.equal(net.weight, resumed.weight)
    assert torch.equal(net.bias, resumed.bias)
