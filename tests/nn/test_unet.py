"""The U-Net, and its inflation from an image network: the function-preserving start (section 3.2)."""

import pytest
import torch
from torch import nn

from helpers.nets import DECODER, SMALL, SR, VIDEO
from lightning_mav.nn import Pseudo3DUNet, TemporalAttention, TemporalConv, inflate
from lightning_mav.nn.inflate import max_difference
from lightning_mav.nn.pseudo3d import sinusoidal_embedding, to_frames

# What each video network is built from, and the network itself.
STARTS = {
    "decoder": (DECODER | {"temporal": False}, DECODER | VIDEO),
    "interpolation": (DECODER | VIDEO, DECODER | VIDEO | {"cond_channels": 4}),
    "sr_lt": (SR | {"temporal": False}, SR | VIDEO),
}


def trained(**kwargs):
    """A network in which no weight is zero, as after training."""
    unet = Pseudo3DUNet(**kwargs)
    for parameter in unet.parameters():
        nn.init.normal_(parameter, std=0.1)
    return unet


@pytest.mark.parametrize("stage", STARTS)
def test_inflated_network_starts_with_the_same_output(stage):
    source_args, args = STARTS[stage]
    source, net = trained(**source_args), Pseudo3DUNet(**args)
    report = inflate(net, source)
    assert report.max_difference <= 1e-5
    # An independent check, on other inputs than the one inside.
    x_t, t = torch.randn(2, 3, 5, 16, 16), torch.tensor([3, 700])
    cond = {"fps": torch.tensor([4.0, 30.0])}
    if args.get("image_embed_dim"):
        cond["image_embed"] = torch.randn(2, 6)
    x_cond = torch.randn(2, args.get("cond_channels", 0), 5, 16, 16)
    video = net(x_t, t, x_cond=x_cond if x_cond.shape[1] else None, **cond)
    known = x_cond[:, : source_args.get("cond_channels", 0)]
    if source_args["temporal"]:
        expected = source(x_t, t, **cond)
    else:
        kwargs = [{"x_cond": known[:, :, [f]]} if known.shape[1] else {} for f in range(5)]
        expected = torch.cat([source(x_t[:, :, [f]], t, **cond, **kwargs[f]) for f in range(5)], dim=2)
    assert video.std() > 0.01  # else there would be nothing to compare
    assert (video - expected).abs().max() <= 1e-5


def temporal_starts(net):
    """Every tensor whose start makes the identity: not those behind a zero projection."""
    for name, module in net.named_modules():
        if isinstance(module, TemporalConv):
            yield f"{name}.weight", module.weight
            yield f"{name}.bias", module.bias
        elif isinstance(module, TemporalAttention):
            yield f"{name}.to_out.weight", module.to_out.weight
            yield f"{name}.to_out.bias", module.to_out.bias
    yield "fps_embedding.linear_2.weight", net.fps_embedding.linear_2.weight
    yield "fps_embedding.linear_2.bias", net.fps_embedding.linear_2.bias


@pytest.mark.parametrize("stage", ["decoder", "sr_lt"])
def test_breaking_any_one_temporal_start_is_noticed(stage):
    source_args, args = STARTS[stage]
    source, net = trained(**source_args), Pseudo3DUNet(**args)
    inflate(net, source)
    unnoticed = []
    for name, parameter in temporal_starts(net):
        before = parameter.detach().clone()
        with torch.no_grad():
            parameter += 0.05 * torch.randn_like(parameter)
        if max_difference(net, source) <= 1e-5:
            unnoticed.append(name)
        with torch.no_grad():
            parameter.copy_(before)
    assert not unnoticed


def test_new_input_channels_start_without_effect():
    source_args, args = STARTS["interpolation"]
    source, net = trained(**source_args), Pseudo3DUNet(**args)
    report = inflate(net, source)
    assert report.num_added == 0
    assert report.num_widened == 4 * 16 * 9
    with torch.no_grad():
        net.conv_in.spatial.weight[:, 3:] += 0.05
    assert max_difference(net, source) > 1e-5


def test_inflation_counts_what_it_adds():
    source_args, args = STARTS["decoder"]
    net = Pseudo3DUNet(**args)
    report = inflate(net, trained(**source_args))
    assert report.num_copied + report.num_added == sum(p.numel() for p in net.parameters())
    assert set(report.added) == {name for name, _ in net.temporal_parameters()}


def test_inflation_refuses_another_network():
    source_args, args = STARTS["decoder"]
    with pytest.raises(ValueError, match="cannot inflate"):
        inflate(Pseudo3DUNet(**args | {"channels": 24}), trained(**source_args))
    with pytest.raises(ValueError, match="cannot inflate"):
        inflate(Pseudo3DUNet(**args | {"image_embed_dim": 0}), trained(**source_args))


@pytest.mark.parametrize("temporal", [False, True])
def test_conditions_that_the_source_does_not_know_start_as_no_ops(temporal):
    known = DECODER | {"temporal": temporal}
    source = trained(**known)
    net = Pseudo3DUNet(**known | VIDEO | {"noise_level_condition": True})
    report = inflate(net, source)
    assert report.conditions == ["fps_embedding", "noise_level_embedding"]
    assert "(new: fps_embedding, noise_level_embedding, as no-ops)" in str(report)
    assert report.num_copied + report.num_added == sum(p.numel() for p in net.parameters())
    video, t, embed = torch.randn(2, 3, 1, 16, 16), torch.tensor([3, 700]), torch.randn(2, 6)
    for told in (0.0, 0.7):
        cond = {"noise_level": torch.full((2,), told), "fps": torch.full((2,), 3 + 20 * told)}
        expected = source(video, t, image_embed=embed)
        assert (net(video, t, image_embed=embed, **cond) - expected).abs().max() <= 1e-5


@pytest.mark.parametrize("condition", ["noise_level_embedding", "fps_embedding"])
def test_condition_that_is_no_no_op_is_refused(condition):
    net = Pseudo3DUNet(**DECODER | VIDEO | {"noise_level_condition": True})
    nn.init.normal_(getattr(net, condition).linear_2.bias, std=0.1)
    with pytest.raises(ValueError, match=f"changed the output by .*; the source lacks .*{condition}"):
        inflate(net, trained(**DECODER | {"temporal": False}))


def test_image_embedding_is_new_only_where_it_is_a_no_op():
    plain = SMALL | {"attention_levels": (), "temporal": False}
    source, net = trained(**plain), Pseudo3DUNet(**plain | {"image_embed_dim": 6, "context_channels": 8})
    with pytest.raises(ValueError, match=r"changed the output by .*; the source lacks image_embedding"):
        inflate(net, source)
    for parameter in net.image_embedding.to_embed.parameters():
        nn.init.zeros_(parameter)
    assert inflate(net, source).conditions == ["image_embedding"]
    # Context tokens take their share of attention, whatever they hold.
    with pytest.raises(ValueError, match=r"cannot inflate: .*0.attention.spatial"):
        inflate(Pseudo3DUNet(**DECODER), trained(**DECODER | {"image_embed_dim": 0}))


@pytest.mark.parametrize("temporal", [False, True])
def test_learned_variances_are_left_behind(temporal):
    source = trained(**DECODER | {"temporal": temporal, "out_channels": 6})
    net = Pseudo3DUNet(**DECODER | VIDEO)
    if temporal:
        with pytest.raises(ValueError, match="changed the output"):  # they reach the prediction over time
            inflate(net, source)
        source.conv_out.temporal.weight.data[:3, 3:] = 0
    report = inflate(net, source)
    num_dropped = sum(p.numel() for p in source.conv_out.parameters()) - sum(
        p.numel() for name, p in net.conv_out.named_parameters() if temporal or name.startswith("spatial")
    )
    assert report.num_dropped == num_dropped
    assert f"{num_dropped:,} of learned variances left behind" in str(report)
    image, t, embed = torch.randn(2, 3, 1, 16, 16), torch.tensor([3, 700]), torch.randn(2, 6)
    expected = source(image, t, image_embed=embed)[:, :3]
    assert expected.std() > 0.01
    assert (net(image, t, image_embed=embed) - expected).abs().max() <= 1e-5
    for out_channels in (4, 9):
        with pytest.raises(ValueError, match=r"cannot inflate: .*conv_out"):
            inflate(net, trained(**DECODER | {"temporal": temporal, "out_channels": out_channels}))


def test_image_is_a_video_of_one_frame():
    net = trained(**DECODER | VIDEO)
    x_t, t, embed = torch.randn(2, 3, 1, 16, 16), torch.tensor([3, 700]), torch.randn(2, 6)
    expected = net(x_t, t, image_embed=embed)
    for _, parameter in net.temporal_parameters():
        nn.init.normal_(parameter)
    assert torch.equal(net(x_t, t, image_embed=embed), expected)


@pytest.mark.parametrize("num_frames", [1, 3])
def test_one_sample_is_worth_as_much_as_two(num_frames):
    # 32 px: from there on the norm takes the native kernel, which is particular about strides.
    net, x_t, t = (
        trained(**SMALL, attention_levels=()),
        torch.randn(2, 3, num_frames, 32, 32),
        torch.tensor([3, 9]),
    )
    torch.testing.assert_close(net(x_t[:1], t[:1]), net(x_t, t)[:1], rtol=1e-4, atol=1e-5)


def test_videos_of_a_batch_do_not_mix():
    net = trained(**DECODER | VIDEO)
    x_t, t, embed = torch.randn(2, 3, 4, 16, 16), torch.tensor([3, 700]), torch.randn(2, 6)
    both = net(x_t, t, image_embed=embed, fps=torch.tensor([3.0, 9.0]))
    alone = net(x_t[1:], t[1:], image_embed=embed[1:], fps=torch.tensor([9.0]))
    torch.testing.assert_close(both[1:], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("stage", STARTS)
@pytest.mark.parametrize("noise_frames", [1, 4])
def test_every_convolution_sees_channels_last(stage, noise_frames):
    _, args = STARTS[stage]
    net, strangers = trained(**args), []
    for name, module in net.named_modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_pre_hook(
                lambda _, x, name=name: (
                    None if x[0].is_contiguous(memory_format=torch.channels_last) else strangers.append(name)
                )
            )
    x_cond = torch.randn(2, args["cond_channels"], 4, 16, 16) if "cond_channels" in args else None
    net(
        torch.randn(2, 3, 4 if x_cond is None else noise_frames, 16, 16),
        torch.tensor([3, 700]),
        x_cond=x_cond,
    )
    assert not strangers


def test_one_frame_of_noise_stands_for_all():
    net, x_cond, t = trained(**SR), torch.randn(2, 3, 4, 16, 16), torch.tensor([3, 700])
    noise = torch.randn(2, 3, 1, 16, 16)
    torch.testing.assert_close(net(noise, t, x_cond=x_cond), net(noise.expand_as(x_cond), t, x_cond=x_cond))


@pytest.mark.parametrize("stage", STARTS)
def test_checkpointing_changes_memory_alone(stage):
    _, args = STARTS[stage]
    plain = trained(**args)
    saving = Pseudo3DUNet(**args, checkpoint=True)
    saving.load_state_dict(plain.state_dict())
    x_t, t = torch.randn(2, 3, 4, 16, 16), torch.tensor([3, 700])
    x_cond = torch.randn(2, args["cond_channels"], 4, 16, 16) if "cond_channels" in args else None
    kept, grads, outs = [], [], []
    for net in (plain, saving):
        kept.append(0)

        def keep(y):
            kept[-1] += y.numel()
            return y

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda y: y):
            outs.append(net(x_t, t, x_cond=x_cond))
            held = kept[-1]
        kept[-1] = held  # what the backward pass computes again does not count
        outs[-1].square().sum().backward()
        grads.append([parameter.grad for parameter in net.parameters()])
    torch.testing.assert_close(*outs)
    torch.testing.assert_close(*grads)
    assert kept[1] < 0.4 * kept[0]


def test_every_condition_has_an_effect_after_training():
    net = trained(**DECODER | VIDEO | {"cond_channels": 4, "noise_level_condition": True})
    x_t, t = torch.randn(1, 3, 2, 16, 16), torch.tensor([500])
    cond = {
        "image_embed": torch.randn(1, 6),
        "x_cond": torch.randn(1, 4, 2, 16, 16),
        "fps": torch.tensor([8.0]),
        "noise_level": torch.tensor([0.2]),
    }
    out = net(x_t, t, **cond)
    for name, value in cond.items():
        assert not torch.allclose(net(x_t, t, **cond | {name: value * 2}), out), name
    assert not torch.allclose(net(x_t, t + 100, **cond), out)


def test_dropped_embedding_has_no_effect():
    net = trained(**DECODER)
    x_t, t, drop = torch.randn(2, 3, 1, 16, 16), torch.tensor([3, 700]), torch.tensor([True, False])
    first, second = (net(x_t, t, image_embed=torch.randn(2, 6), drop=drop) for _ in range(2))
    assert torch.equal(first[0], second[0])
    assert not torch.allclose(first[1], second[1])
    torch.testing.assert_close(net(x_t, t)[0], first[0])


def test_neighbouring_frame_rates_look_alike():
    """Training draws some rates and not those between, which sampling may ask for."""
    net, given = trained(**DECODER | VIDEO), []
    net.fps_embedding.register_forward_pre_hook(lambda _, args: given.append(args[0]))
    net.conditions(fps=torch.tensor([4.0, 8.0, 24.0, 25.0]))
    embedded = nn.functional.normalize(sinusoidal_embedding(given[0], 32), dim=-1)
    likeness = embedded @ embedded.T
    assert likeness[2, 3] > 0.9
    assert likeness[0, 1] < 0.8


def test_residual_network_starts_as_its_condition():
    net, x_cond = Pseudo3DUNet(**SR), torch.randn(1, 3, 2, 16, 16)
    out = net(torch.randn(1, 3, 2, 16, 16), torch.tensor([9]), x_cond=x_cond)
    assert torch.equal(out, x_cond)


def test_residual_network_inflated_from_another_kind_starts_as_its_condition():
    net = Pseudo3DUNet(**DECODER | VIDEO | {"cond_channels": 4, "residual": True})
    assert inflate(net, trained(**DECODER | VIDEO)).max_difference <= 1e-5
    x_cond = torch.randn(1, 4, 2, 16, 16)
    out = net(torch.randn(1, 3, 2, 16, 16), torch.tensor([9]), x_cond=x_cond, image_embed=torch.randn(1, 6))
    assert torch.equal(out, x_cond[:, :3])


def test_residual_network_inflated_from_another_kind_sees_its_condition_as_it_sees_x_t():
    net, source = Pseudo3DUNet(**DECODER | VIDEO | {"cond_channels": 4, "residual": True}), trained(**DECODER)
    inflate(net, source)
    x_cond = torch.randn(1, 4, 2, 16, 16)
    x_cond[:, 3] *= 100  # the mask, which x_t has not: nothing is known of it
    conv = source.conv_in.spatial
    seen = nn.functional.conv2d(to_frames(x_cond[:, :3]), conv.weight, padding=conv.padding)
    torch.testing.assert_close(net.conditions(x_cond=x_cond).h_cond, seen)


def test_residual_network_keeps_what_its_source_knows_of_the_condition():
    source = trained(**DECODER | VIDEO | {"cond_channels": 4})
    net = Pseudo3DUNet(**DECODER | VIDEO | {"cond_channels": 4, "residual": True})
    inflate(net, source)
    assert torch.equal(net.conv_in.spatial.weight, source.conv_in.spatial.weight)


@pytest.mark.parametrize("kwargs", [{"attention_levels": (2,)}, {"residual": True}, {"head_channels": 5}])
def test_impossible_networks_are_refused(kwargs):
    with pytest.raises(ValueError, match="got"):
        Pseudo3DUNet(**DECODER | kwargs)
