"""Inflation: a trained image network becomes a video network that starts with the same output."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from .unet import Pseudo3DUNet

# Optional conditions of a network. Not all start as a no-op; comparing the outputs shows which do.
CONDITIONS = ("fps_embedding", "noise_level_embedding", "image_embedding")


@dataclass
class InflationReport:
    """What an inflation did.

    Attributes:
        num_copied: Parameters taken over, in numbers (not tensors).
        num_added: Parameters added at their identity start: temporal layers, embeddings of conditions.
        num_widened: Parameters added to the first convolution for new input channels.
        num_dropped: Parameters of the last convolution left behind: those of learned variances.
        max_difference: Largest difference between the outputs before and after, over random inputs.
        added: Names of the tensors added.
        conditions: Conditions that the source does not know; they start as a no-op.
    """

    num_copied: int = 0
    num_added: int = 0
    num_widened: int = 0
    num_dropped: int = 0
    max_difference: float = float("nan")
    added: list[str] = field(default_factory=list)
    conditions: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        conditions = f" (new: {', '.join(self.conditions)}, as no-ops)" if self.conditions else ""
        dropped = f", {self.num_dropped:,} of learned variances left behind" if self.num_dropped else ""
        return (
            f"inflated: {self.num_copied:,} parameters copied, {self.num_added:,} added in {len(self.added)} "
            f"tensors{conditions}, {self.num_widened:,} widened{dropped}; "
            f"output changed by {self.max_difference:.1e}"
        )


def inflate(net: Pseudo3DUNet, source: Pseudo3DUNet, *, tolerance: float = 1e-5) -> InflationReport:
    """Copies ``source`` into ``net``, which may have temporal layers, input channels and conditions besides.

    Temporal layers and embeddings of conditions that ``source`` lacks stay as they start and new input
    channels start at zero, so ``net`` gives, frame by frame, what ``source`` gave (Make-A-Video, section
    3.2); this is checked on random inputs. If ``source`` also learns variances (twice as many outputs; Nichol
    and Dhariwal, 2021), only the prediction is taken, the first half. If ``net`` alone is residual, its last
    layer is set to zero, since ``source`` gives no correction: ``net`` starts as its condition. If
    ``source`` has no condition, the first convolution starts with the kernels of ``x_t`` for it.

    Raises:
        ValueError: If the two differ in more than that, naming the tensors, or if the output changed, as
            where a condition that ``source`` lacks does not start as a no-op.

    Examples:
        >>> sizes = {"channels": 8, "channel_mults": (1,), "num_blocks": 1, "attention_levels": ()}
        >>> image_net = Pseudo3DUNet(**sizes, norm_groups=4, temporal=False)
        >>> report = inflate(Pseudo3DUNet(**sizes, norm_groups=4), image_net)
        >>> report.num_added > 0, report.max_difference < 1e-5
        (True, True)
    """
    report = _copied(net, source)
    is_residual, net.residual = net.residual, source.residual
    report.max_difference = max_difference(net, source)
    net.residual = is_residual
    if not report.max_difference <= tolerance:
        unknown = f"; the source lacks {', '.join(report.conditions)}" if report.conditions else ""
        raise ValueError(
            f"inflation changed the output by {report.max_difference:.1e}, more than {tolerance}{unknown}"
        )
    if net.residual and not source.residual:
        net.clear_output()
        if not source.cond_channels:
            # Starting from zero, it would take long until the trained layers saw the condition.
            kernels, known = net.conv_in.spatial.weight.detach(), source.conv_in.spatial.in_channels
            x_t, x_cond = kernels[:, : net.conv_out.spatial.out_channels], kernels[:, known:]
            x_cond[:, : x_t.shape[1]] = x_t
    return report


def _copied(net: Pseudo3DUNet, source: Pseudo3DUNet) -> InflationReport:
    """Copies all tensors that have a counterpart, and reports which."""
    report, temporal = InflationReport(), {name for name, _ in net.temporal_parameters()}
    own, given = net.state_dict(), source.state_dict()
    has_variances = source.conv_out.spatial.out_channels == 2 * net.conv_out.spatial.out_channels
    mismatched = sorted(given.keys() - own.keys())
    with torch.no_grad():
        for name, tensor in own.items():
            part = name.split(".")[0]
            if name not in given:
                if name in temporal or part in CONDITIONS:
                    report.added.append(name)
                    report.num_added += tensor.numel()
                    if part in CONDITIONS and part not in report.conditions:
                        report.conditions.append(part)
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
            elif part == "conv_out" and has_variances:
                tensor.copy_(given[name][tuple(slice(size) for size in tensor.shape)])
                report.num_copied += tensor.numel()
                report.num_dropped += given[name].numel() - tensor.numel()
            else:
                mismatched.append(name)
    if mismatched:
        raise ValueError(
            f"cannot inflate: {len(mismatched)} tensors fit no counterpart, the first {mismatched[0]!r}; "
            "both networks need the same channels and blocks, and the new one all conditions of the other"
        )
    return report


@torch.no_grad()
def max_difference(net: Pseudo3DUNet, source: Pseudo3DUNet, *, num_frames: int = 3) -> float:
    """Returns the largest difference between a video network and the network that it was inflated from.

    An image network is applied frame by frame. Inputs and conditions are random, weights in fp32. Only
    the output channels that both networks have are compared.
    """
    modes = [(module, module.training) for module in (net, source)]
    net.eval()
    source.eval()
    device = next(net.parameters()).device
    generator = torch.Generator().manual_seed(0)

    def randn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator).to(device)

    size = 4 * 2 ** (len(net.down_blocks) - 1)  # 4 px where the U-Net is narrowest
    x_t, t = randn(2, net.in_channels, num_frames, size, size), torch.tensor([50, 900], device=device)
    x_cond = randn(2, net.cond_channels, num_frames, size, size)
    kwargs = {
        "image_embed": randn(2, net.image_embed_dim) if net.image_embed_dim else None,
        "noise_level": torch.rand(2, generator=generator).to(device),
        "fps": torch.tensor([3.0, 24.0], device=device),
    }

    def run(network: Pseudo3DUNet, frames: slice) -> Tensor:
        cond = x_cond[:, : network.cond_channels, frames] if network.cond_channels else None
        return network(x_t[:, : network.in_channels, frames], t, x_cond=cond, **kwargs)

    with torch.autocast(device.type, enabled=False):
        video = run(net, slice(None))
        parts = [slice(None)] if source.temporal else [slice(i, i + 1) for i in range(num_frames)]
        reference = torch.cat([run(source, part) for part in parts], dim=2)
    for module, training in modes:
        module.train(training)
    return (video - reference[:, : video.shape[1]]).abs().max().item()
