"""BatchNorm over the joint batch of several processes, on CPUs as well.

PyTorch's own SyncBatchNorm computes on accelerators only; on those it is used.
"""

from __future__ import annotations

import torch
from torch import Tensor, distributed, nn
from torch.autograd.function import FunctionCtx


class SyncedBatchNorm2d(nn.BatchNorm2d):
    """`nn.BatchNorm2d` whose statistics in training are those of all processes' images together."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``(N, C, H, W)``; N may differ between the processes."""
        if not self.training:
            return super().forward(x)
        images = x.to(torch.promote_types(x.dtype, torch.float32))
        count = torch.tensor(float(images[:, 0].numel()), device=x.device)
        distributed.all_reduce(count)
        mean = _total(images.sum((0, 2, 3))) / count
        centred = images - mean[:, None, None]
        variance = _total(centred.square().sum((0, 2, 3))) / count
        self._remember(mean.detach(), variance.detach() * count / (count - 1))
        scale = self.weight / (variance + self.eps).sqrt()
        normalised = centred * scale[:, None, None] + self.bias[:, None, None]
        return normalised.to(x.dtype)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        momentum = 0.1 if self.momentum is None else self.momentum
        self.get_buffer("running_mean").lerp_(mean, momentum)
        self.get_buffer("running_var").lerp_(variance, momentum)
        self.get_buffer("num_batches_tracked").add_(1)


def sync_norms(network: nn.Module) -> nn.Module:
    """Replace every `nn.BatchNorm2d` of the network by one over all processes; weights are kept."""
    if any(parameter.is_cuda for parameter in network.parameters()):
        synced: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
        return synced
    for name, child in list(network.named_children()):
        if isinstance(child, nn.BatchNorm2d):
            norm = SyncedBatchNorm2d(
                child.num_features, child.eps, child.momentum, dtype=child.weight.dtype
            )
            norm.load_state_dict(child.state_dict())
            setattr(network, name, norm)
        else:
            sync_norms(child)
    return network


def _total(own: Tensor) -> Tensor:
    """The sum over all processes, with a gradient to each one's share."""
    total: Tensor = _Total.apply(own)  # type: ignore[no-untyped-call]
    return total


class _Total(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, own: Tensor) -> Tensor:
        total = own.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> Tensor:
        # Every process's loss hangs on every share.
        total = gradient.clone()
        distributed.all_reduce(total)
        return total
