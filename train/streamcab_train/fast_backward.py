"""The distiller's stages for training: they equal `Distiller` but for rounding, with a faster backward pass.

Two things that torch does slowly on a CPU are done by hand: the weight gradient of a convolution of one channel, which
is one matrix product, and the random numbers of dropout, which are drawn sixteen bits at a time. Knows nothing of
batches, losses or pieces.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from streamcab.nn.distiller import Distiller, Stage

BITS = 1 << 16
"""Number of values of a random number for dropout."""


def run_stages(distiller: Distiller, x: Tensor) -> Tensor:
    """Compute what BatchNorm is given (B, T / interval, filters) from samples (B, T), as the distiller's stages do."""
    y = x.unsqueeze(-1)
    for stage in distiller.stages:
        assert isinstance(stage, Stage)
        y = _stage(stage, y)
    return y


def _stage(stage: Stage, x: Tensor) -> Tensor:
    """Compute (B, T / stride, filters) from (B, T, channels), as `Stage.forward` does."""
    shape = stage.shape
    padded = F.pad(x, (0, 0, *stage.conv_pad))
    if x.shape[-1] == 1 and not x.requires_grad:
        y: Tensor = _Alone.apply(padded, stage.weight, stage.bias)  # type: ignore[no-untyped-call]
    else:
        y = _convolve(padded, stage.kernel(), stage.bias)
    # max_pool2d ignores values beyond its padding and the end, which equals padding by -inf.
    left, right = stage.pool_pad
    size, stride = (1, shape.pool), (1, shape.stride)
    image = F.max_pool2d(_image(y), size, stride, (0, left), ceil_mode=right > left)
    out = _plain(image).relu()
    return dropout(out, shape.dropout) if stage.training and shape.dropout > 0 else out


def dropout(x: Tensor, p: float) -> Tensor:
    """Set each value to 0 with probability p, to 1 in 65,536, and scale the others to keep the mean."""
    dropped = round(p * BITS)
    draws = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
    bits = draws.view(torch.int16)[: x.numel()].view(x.shape)
    kept = (bits >= dropped - BITS // 2).to(x.dtype).mul_(BITS / (BITS - dropped))
    return x * kept


class _Alone(torch.autograd.Function):
    """A convolution of one channel, x (B, T, 1), whose gradient is wanted for weight and bias alone."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        ctx.kernel = weight.shape[-1]
        return _convolve(x, weight.unsqueeze(2).contiguous(memory_format=torch.channels_last), bias)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, Tensor, Tensor]:
        (x,), g = ctx.saved_tensors, grads[0].flatten(0, 1)
        # In autocast g is bf16, and the parameters are not.
        windows = x.squeeze(-1).unfold(1, ctx.kernel, 1).flatten(0, 1).to(g.dtype)
        return None, (g.t() @ windows).to(x.dtype).unsqueeze(1), g.sum(0, dtype=x.dtype)


def _convolve(x: Tensor, kernel: Tensor, bias: Tensor) -> Tensor:
    return _plain(F.conv2d(_image(x), kernel, bias))


def _image(x: Tensor) -> Tensor:
    """View (B, T, C) as the picture (B, C, 1, T) that lies in memory the same way."""
    return x.unsqueeze(1).permute(0, 3, 1, 2)


def _plain(image: Tensor) -> Tensor:
    return image.permute(0, 2, 3, 1).squeeze(1)
