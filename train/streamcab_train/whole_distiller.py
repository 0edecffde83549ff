"""A distiller in whole numbers while it learns: what it computes is rounded, and the gradient passes as if it were not.

Knows nothing of what it learns, or by which loss.
"""

from copy import deepcopy
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from streamcab.nn import integers
from streamcab.nn.distiller import Distiller, Stage, bytes_of

QUANTILES, EVEN = (0.9995, 0.9998, 0.9998), (0.7, 0.5, 1.0)
"""By stage, of others the last: the quantile of what a filter passes on that a byte shall hold, and how far filters are
made alike in it. The rest of their differences stays, since the next stage's weights pay for what is made alike."""
SPREAD = 64
"""Most times that the range of one filter is that of another."""

Ranges = list[Tensor]


class _Round(torch.autograd.Function):
    """Rounding, whose gradient is that of the identity."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return torch.round(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return grads[0]


class _OfBytes(torch.autograd.Function):
    """The first stage's convolution, whose gradient is wanted for weight and bias alone, as one product."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        ctx.kernel = weight.shape[-1]
        return _convolve(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, Tensor, Tensor]:
        (x,), g = ctx.saved_tensors, grads[0].flatten(0, 1)
        windows = x.unfold(1, ctx.kernel, 1).flatten(0, 1).flatten(1)
        return None, (g.t() @ windows).view(-1, x.shape[2], ctx.kernel), g.sum(0)


def _round(x: Tensor) -> Tensor:
    found: Tensor = _Round.apply(x)  # type: ignore[no-untyped-call]
    return found


def _image(x: Tensor) -> Tensor:
    return x.unsqueeze(1).permute(0, 3, 1, 2)


def _plain(image: Tensor) -> Tensor:
    return image.permute(0, 2, 3, 1).squeeze(1)


def _convolve(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    kernel = weight.unsqueeze(2).contiguous(memory_format=torch.channels_last)
    return _plain(F.conv2d(_image(x), kernel, bias))


class WholeStage(nn.Module):
    """A stage of a distiller in whole numbers while it learns: its parameters are what is rounded."""

    units: Tensor

    def __init__(self, stage: Stage, weight: Tensor, bias: Tensor, *, first: bool) -> None:
        """Make a stage of the shape of `stage`; weight (filters, channels, kernel), bias (filters,)."""
        super().__init__()
        self.shape, self.first = stage.shape, first
        self.weight = nn.Parameter(weight.repeat(1, integers.channels(first, 1), 1))
        self.bias = nn.Parameter(bias)
        largest = weight.flatten(1).abs().amax(1).clamp(min=1e-6)
        self.register_buffer("units", 2.0 ** torch.ceil(torch.log2(largest / integers.WEIGHT)))

    def rounded(self) -> tuple[Tensor, Tensor]:
        """Return weight and bias as whole numbers of their units."""
        units = self.units[:, None, None]
        if self.first:
            units = units * units.new_tensor([1.0, integers.COARSE])[None, :, None]
        weight = torch.clamp(_round(self.weight / units), -integers.WEIGHT, integers.WEIGHT) * units
        unit = self.units * integers.unit(self.first)
        # Half a unit beside a whole one: then no sum is half way between two numbers that are passed on.
        return weight, (_round(self.bias / unit - 0.5) + 0.5) * unit

    def forward(self, x: Tensor) -> Tensor:
        """Compute (B, T, channels) -> (B, T / stride, filters)."""
        weight, bias = self.rounded()
        x, shape = F.pad(x, (0, 0, *self.shape.conv_pad)), self.shape
        y: Tensor = _OfBytes.apply(x, weight, bias) if self.first else _convolve(x, weight, bias)  # type: ignore[no-untyped-call]
        left, right = shape.pool_pad
        image = F.max_pool2d(_image(y), (1, shape.pool), (1, shape.stride), (0, left), ceil_mode=right > left)
        passed = torch.clamp(_plain(image) / integers.PASSED, 0, integers.MOST)
        return _round(passed) * integers.PASSED


class WholeDistiller(nn.Module):
    """A distiller in whole numbers while it learns: at first the float one with filters scaled by their ranges."""

    def __init__(self, distiller: Distiller, found: Ranges) -> None:
        super().__init__()
        self.stages, self.norm = nn.ModuleList(), deepcopy(distiller.norm).eval()
        scale = None
        for i, stage in enumerate(distiller.stages):
            assert isinstance(stage, Stage)
            weight, bias = stage.weight.detach().clone(), stage.bias.detach().clone()
            if scale is not None:
                weight = weight / scale[None, :, None]
            fit = (integers.MOST - 1) * integers.PASSED / found[i]
            scale = fit.min() * (fit / fit.min()) ** EVEN[min(i, len(EVEN) - 1)]
            made = WholeStage(stage, weight * scale[:, None, None], bias * scale, first=i == 0)
            self.stages.append(made)
        assert scale is not None
        norm = self.norm
        assert norm.running_mean is not None
        assert norm.running_var is not None
        with torch.no_grad():
            norm.running_mean.mul_(scale)
            norm.running_var.copy_(((norm.running_var + norm.eps) * scale.square() - norm.eps).clamp(min=0))

    def forward(self, x: Tensor) -> Tensor:
        """Normalised samples (B, T) -> a (B, T / interval, filters)."""
        y = bytes_of(x)
        for stage in self.stages:
            y = stage(y)
        found: Tensor = self.norm(y.flatten(0, 1)).view_as(y)
        return found

    @torch.no_grad()
    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays of a checkpoint."""
        found = {f"norm.{name}": tensor for name, tensor in self.norm.state_dict().items()}
        for i, stage in enumerate(self.stages):
            assert isinstance(stage, WholeStage)
            found[f"stages.{i}.weight"], found[f"stages.{i}.bias"] = stage.rounded()
        return {f"distiller.{name}": t.contiguous().numpy().copy() for name, t in found.items()}


@torch.no_grad()
def ranges(distiller: Distiller, x: Tensor) -> Ranges:
    """Measure what the filters of each stage pass on of samples (B, T): a quantile by filter."""
    y, found = x.unsqueeze(-1), []
    for i, stage in enumerate(distiller.stages):
        y = stage(y)
        quantile = QUANTILES[min(i, len(QUANTILES) - 1)]
        most = torch.from_numpy(np.quantile(y.flatten(0, 1).numpy(), quantile, axis=0).astype(np.float32))
        found.append(torch.maximum(most, most.max() / SPREAD).clamp(min=1e-3))
    return found
