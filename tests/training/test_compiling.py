"""Networks that are compiled block by block compute and train as before, and blocks of a shape share code."""

import copy
from functools import partial

import pytest
import torch
from torch import nn

from lightning_mav.nn import Pseudo3DUNet
from lightning_mav.nn.norm import GroupNorm
from lightning_mav.nn.prior import PriorTransformer
from lightning_mav.training import compiling
from lightning_mav.training.compiling import check_compiler, compile_blocks, compile_norms
from lightning_mav.training.units import find_units
from lightning_mav.utils.errors import UsageError
from lightning_mav.weights import load_weights

SLOW, SLOWER = pytest.mark.slow, ("aot_eager", "inductor")
NUM_SHAPES = 3  # of the blocks of ``unet``: with attention, without, and with twice the channels


@pytest.fixture(autouse=True)
def dynamo():
    """torch's compiler as in a new process, with a limit that is reached at once."""
    import torch._dynamo.utils

    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    changed = {"recompile_limit": 1, "accumulated_recompile_limit": 1, "optimize_ddp": True}
    with torch._dynamo.config.patch(**changed, force_parameter_static_shapes=True):
        yield torch._dynamo
    torch._dynamo.reset()


@pytest.fixture
def counter(dynamo):
    """Returns a backend that counts the graphs it is given."""
    import torch._dynamo.testing

    return torch._dynamo.testing.CompileCounterWithBackend


def unet(**settings):
    torch.manual_seed(0)
    sizes = {"channels": 8, "channel_mults": (1,), "num_blocks": 2, "attention_levels": (0,)}
    sizes |= {"head_channels": 4, "norm_groups": 2, "image_embed_dim": 5, "context_channels": 4}
    net = Pseudo3DUNet(**sizes | settings, fps_condition=True)
    for parameter in net.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.1)
    return net


def gradients(net, num_frames, size=8):
    """Output and gradients at fixed inputs and noise."""
    torch.manual_seed(1)
    net.zero_grad()
    x, t, fps = (
        torch.randn(2, 3, num_frames, size, size),
        torch.tensor([3.0, 700.0]),
        torch.tensor([4.0, 8.0]),
    )
    out = net(x, t, image_embed=torch.randn(2, 5), fps=fps)
    out.square().mean().backward()
    return [out.detach(), *(p.grad for p in net.parameters() if p.grad is not None)]


@pytest.mark.timeout(900)  # Inductor runs a C++ compiler on a processor
@pytest.mark.parametrize("checkpoint", [pytest.param(False, marks=SLOW), True])
@pytest.mark.parametrize("backend", ["eager", *(pytest.param(name, marks=SLOW) for name in SLOWER)])
def test_compiled_blocks_compute_as_before_and_share_code(backend, checkpoint, counter, dynamo):
    tolerance = {"rtol": 1e-3, "atol": 1e-5} if backend == "inductor" else {"rtol": 1e-5, "atol": 1e-7}
    # Only AOTAutograd draws the same noise again when it recomputes; Inductor draws other noise.
    net = unet(checkpoint=checkpoint, dropout=0.5 if backend == "aot_eager" else 0.0)
    lengths = (1, 3) if backend == "aot_eager" else (3,)  # an image and a video
    before = [gradients(net, num_frames) for num_frames in lengths]
    graphs = counter(backend)
    compile_blocks(net, backend=graphs)
    for _ in range(2):
        after = [gradients(net, num_frames) for num_frames in lengths]
    for expected, found in zip(before, after, strict=True):
        torch.testing.assert_close(found, expected, **tolerance)
    assert len(find_units(net)) == 7
    assert graphs.frame_count == len(lengths) * NUM_SHAPES
    assert not dynamo.utils.counters["graph_break"]


@pytest.mark.slow
def test_norms_of_all_widths_and_sizes_share_code(counter, monkeypatch):
    monkeypatch.setattr(
        "lightning_mav.nn.norm.device_type", lambda _: "cuda"
    )  # there, it is plain operations
    graphs, net = counter("eager"), nn.ModuleList(GroupNorm(4, width, silu=True) for width in (8, 16, 24, 32))
    plain = copy.deepcopy(net)
    compile_norms(net, backend=graphs)
    for size in (4, 6, 10):
        for norm, same in zip(net, plain, strict=True):
            x = torch.randn(6, norm.num_channels, size, size).to(memory_format=torch.channels_last)
            film = torch.randn(2, 2 * norm.num_channels)
            torch.testing.assert_close(norm(x, film), same(x, film), rtol=1e-4, atol=1e-5)
    assert graphs.frame_count == 1


@pytest.mark.slow
@pytest.mark.parametrize("checkpoint", [False, True])
def test_compiled_norms_compute_as_before(checkpoint, counter, monkeypatch):
    monkeypatch.setattr("lightning_mav.nn.norm.device_type", lambda _: "cuda")
    net = unet(checkpoint=checkpoint, channels=16, norm_groups=4, channel_mults=(1, 2, 3))
    before = [gradients(net, 2, size=size) for size in (8, 16)]
    graphs = counter("aot_eager")
    compile_norms(net, backend=graphs)
    after = [gradients(net, 2, size=size) for size in (8, 16)]
    torch.testing.assert_close(after, before, rtol=1e-3, atol=1e-5)
    assert graphs.frame_count <= 8  # of about 40 norms


def test_a_network_without_norms_says_so():
    net = PriorTransformer(4, text_width=6, width=8, num_layers=1, num_heads=2, context_length=12)
    with pytest.raises(UsageError, match="no GroupNorm"):
        compile_norms(net)


def test_texts_of_all_lengths_share_code(counter):
    net = PriorTransformer(4, text_width=6, width=8, num_layers=3, num_heads=2, context_length=12)
    text = {"text_embed": torch.randn(2, 4), "text_hidden": torch.randn(2, 12, 6)}
    graphs, plain = counter("eager"), copy.deepcopy(net)
    compile_blocks(net, backend=graphs)
    for length in range(2, 12):
        text["text_mask"] = (torch.arange(12) < length).expand(2, -1)
        x_t, t = torch.randn(2, 4), torch.tensor([1.0, 2.0])
        torch.testing.assert_close(net(x_t, t, **text), plain(x_t, t, **text))
    assert graphs.frame_count <= 4  # the text alone and what follows it, each for one length and for any


def test_copies_and_names_are_those_of_a_plain_network(counter):
    net = unet()
    names = [*net.state_dict()]
    graphs = counter("eager")
    compile_blocks(net, backend=graphs)
    gradients(copy.deepcopy(net), 1)
    assert graphs.frame_count == 0
    assert [*net.state_dict()] == names


def test_trained_weights_are_those_of_a_plain_training_and_validation_compiles_nothing(
    fit, counter, monkeypatch, recwarn
):
    graphs = counter("eager")
    monkeypatch.setattr("lightning_mav.training.checks.is_on_processor", lambda _: False)  # it refuses those
    monkeypatch.setattr(compiling, "compile_blocks", partial(compile_blocks, backend=graphs))
    options = ["--trainer.precision=32-true", "--model.unet.channel_mults=[1]", "--model.unet.num_blocks=1"]
    _, weights = fit("sr_h", 3, *options, fresh=True)
    plain = load_weights(weights).state_dict()
    _, weights = fit("sr_h", 3, *options, "--compile=true", fresh=True)
    compiled = load_weights(weights).state_dict()
    assert plain.keys() == compiled.keys()
    torch.testing.assert_close(compiled, plain)
    assert graphs.frame_count == 2  # blocks with one width, and with another's skip; no more for validation
    assert not [warning for warning in recwarn if "compiled frames" in str(warning.message)]
    assert torch._dynamo.eval_frame._stance.stance == "default"


def test_without_a_compiler_it_is_one_line(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(compiling.importlib.util, "find_spec", lambda name: name)
    monkeypatch.setenv("CC", "cc")
    check_compiler()
    monkeypatch.delenv("CC")
    monkeypatch.setattr(compiling.shutil, "which", lambda name: None)
    with pytest.raises(UsageError, match="neither gcc nor clang"):
        check_compiler()
    monkeypatch.setattr(compiling.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match="needs the package triton"):
        check_compiler()
