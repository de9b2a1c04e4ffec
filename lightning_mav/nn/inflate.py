"""Inflation: a trained image network becomes a video network that starts with the same output."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from .unet import Pseudo3DUNet


@dataclass
class InflationReport:
    """What an inflation did.

    Attributes:
        num_copied: Parameters taken over, in numbers (not tensors).
        num_added: Parameters added at their identity start: temporal layers, fps embedding.
        num_widened: Parameters added to the first convolution for new input channels.
        max_difference: Largest difference between the outputs before and after, over random inputs.
    """

    num_copied: int = 0
    num_added: int = 0
    num_widened: int = 0
    max_difference: float = float("nan")
    added: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"inflated: {self.num_copied:,} parameters copied, {self.num_added:,} added in {len(self.added)} "
            f"tensors, {self.num_widened:,} widened; output changed by {self.max_difference:.1e}"
        )


def inflate(net: Pseudo3DUNet, source: Pseudo3DUNet, *, tolerance: float = 1e-5) -> InflationReport:
    """Copies ``source`` into ``net``, which may have temporal layers and more input channels besides.

    Temporal layers that ``source`` lacks stay at their identity start and new input channels start at
    zero, so ``net`` gives, frame by frame, what ``source`` gave (Make-A-Video, section 3.2); this is
    checked on random inputs. If ``net`` alone is residual, what ``source`` gave is no correction: its last
    layer is cleared then, and ``net`` starts as its condition, which its first convolution, if that is new
    to it, sees as ``x_t``.

    Raises:
        ValueError: If the two differ in more than that, naming the tensors, or if the output changed.
    """
    report, temporal = InflationReport(), {name for name, _ in net.temporal_parameters()}
    own, given = net.state_dict(), source.state_dict()
    mismatched = sorted(given.keys() - own.keys())
    with torch.no_grad():
        for name, tensor in own.items():
            if name not in given:
                if name in temporal:
                    report.added.append(name)
                    report.num_added += tensor.numel()
                else:
                    mismatched.append(name)
            elif tensor.shape == given[name].shape:
                tensor.copy_(given[name])
                report.num_copied += tensor.numel()
            elif name == "conv_in.spatial.weight" and tensor.shape[1] > given[name].shape[1]:
                known = given[name].shape[1]
                tensor[:, :known] = given[name]
                tensor[:, known:] = 0
                report.num_copied += given[name].numel()
                report.num_widened += tensor.numel() - given[name].numel()
            else:
                mismatched.append(name)
    if mismatched:
        raise ValueError(
            f"cannot inflate: {len(mismatched)} tensors fit no counterpart, the first {mismatched[0]!r}; "
            "both networks need the same channels, blocks and conditions"
        )
    is_residual, net.residual = net.residual, source.residual
    report.max_difference = max_difference(net, source)
    net.residual = is_residual
    if not report.max_difference <= tolerance:
        raise ValueError(
            f"inflation changed the output by {report.max_difference:.1e}, more than {tolerance}"
        )
    if net.residual and not source.residual:
        net.clear_output()
        if not source.config["init_args"]["cond_channels"]:
            # From zero it would take long until layers that know pictures saw the one to be corrected.
            kernels, known = net.conv_in.spatial.weight.detach(), source.conv_in.spatial.in_channels
            x_t, x_cond = kernels[:, : net.conv_out.spatial.out_channels], kernels[:, known:]
            x_cond[:, : x_t.shape[1]] = x_t
    return report


@torch.no_grad()
def max_difference(net: Pseudo3DUNet, source: Pseudo3DUNet, *, num_frames: int = 3) -> float:
    """Returns the largest difference between a video network and the network that it was inflated from.

    An image network is applied frame by frame. Inputs and conditions are random, weights in fp32.
    """
    modes = [(module, module.training) for module in (net, source)]
    net.eval()
    source.eval()
    device = next(net.parameters()).device
    args, source_args = net.config["init_args"], source.config["init_args"]
    generator = torch.Generator().manual_seed(0)

    def randn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator).to(device)

    size = 4 * 2 ** (len(args["channel_mults"]) - 1)  # 4 px where the U-Net is narrowest
    x_t, t = randn(2, args["in_channels"], num_frames, size, size), torch.tensor([50, 900], device=device)
    x_cond = randn(2, args["cond_channels"], num_frames, size, size)
    embed = randn(2, args["image_embed_dim"]) if args["image_embed_dim"] else None
    noise_level = torch.rand(2, generator=generator).to(device)
    fps = torch.tensor([3.0, 24.0], device=device)
    kwargs = {"image_embed": embed, "noise_level": noise_level}

    known = source_args["cond_channels"]
    with torch.autocast(device.type, enabled=False):
        video = net(x_t, t, fps=fps, x_cond=x_cond if x_cond.shape[1] else None, **kwargs)
        source_cond = x_cond[:, :known] if known else None
        if source_args["temporal"]:
            reference = source(x_t, t, fps=fps, x_cond=source_cond, **kwargs)
        else:
            frames = [
                source(
                    x_t[:, :, [i]],
                    t,
                    x_cond=None if source_cond is None else source_cond[:, :, [i]],
                    **kwargs,
                )
                for i in range(num_frames)
            ]
            reference = torch.cat(frames, dim=2)
    for module, training in modes:
        module.train(training)
    return (video - reference).abs().max().item()
