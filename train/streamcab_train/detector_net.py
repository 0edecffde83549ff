"""The speech detector's net in torch: it is trained as it will be, in whole numbers, on the inputs of `detector.py`.

Knows nothing of files and of what it is taught on.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from streamcab.dsp import bands
from streamcab.dsp.detector import (
    ACTIVE_STEP,
    CHANNELS,
    FORM,
    FORMS,
    MOST,
    WEIGHT_STEPS,
    shapes,
)
from streamcab.dsp.detector_inputs import Inputs

SPREAD, MIDDLE = 5.0, 10.0
"""Deviation and mean of inputs, about."""
OUT_STEP = 256


def inputs(levels: NDArray[np.int16]) -> tuple[Tensor, Tensor]:
    """Compute the net's inputs (B, K, INPUTS) and means (B, K, MEANS), in octaves of power, from levels (B, K,
    BANDS)."""
    b, k = levels.shape[:2]
    slots = np.arange(b)
    x, means = Inputs(b, k).push(slots, np.zeros(b, np.int64), levels)
    return torch.from_numpy(x).float() / bands.STEP, torch.from_numpy(means).float() / bands.STEP


def _rounded(x: Tensor, step: int) -> Tensor:
    """Round to multiples of 1 / step; the gradient passes unchanged."""
    return x + (torch.round(x * step) / step - x).detach()


class Net(nn.Module):
    """`detector.py`'s net, trained as it will be: in whole numbers."""

    def __init__(self, channels: int = CHANNELS) -> None:
        super().__init__()
        self.channels = channels
        widths = [shapes(channels)[f"kernel{i}"][0] for i in range(len(FORMS[FORM].taps))]
        self.layers = nn.ModuleList(nn.Linear(width, channels) for width in widths)
        self.out = nn.Linear(channels, 1)

    def weights(self, layer: int) -> tuple[Tensor, Tensor]:
        """Return the rounded weights of a layer. The first learns on inputs of about mean 0 and deviation 1."""
        linear = self.layers[layer]
        assert isinstance(linear, nn.Linear)
        step = WEIGHT_STEPS[min(layer, 1)]
        w: Tensor = linear.weight
        b: Tensor = linear.bias
        if layer == 0:
            w = w / SPREAD
            b = b - MIDDLE * w.sum(1)
        most = 1024 / step
        return _rounded(w.clamp(-most, most), step), _rounded(b, step)

    def forward(self, x: Tensor, means: Tensor) -> Tensor:
        """Compute the evidence for speech at K instants, (B, K), from x (B, K, INPUTS) and means (B, K, MEANS).

        Before the first lies what x begins with.
        """
        k = x.shape[1]
        for i, (taps, d) in enumerate(zip(FORMS[FORM].taps, FORMS[FORM].dilations, strict=True)):
            w, b = self.weights(i)
            padded = torch.cat((x[:, :1].expand(-1, (taps - 1) * d, -1), x), 1)
            parts = [padded[:, j * d : j * d + k] for j in range(taps)]
            y = nn.functional.linear(torch.cat([*parts, means] if i == 0 else parts, 2), w, b)
            x = _rounded(y.clamp(0, MOST / ACTIVE_STEP), ACTIVE_STEP)
        out = _rounded(self.out.weight.clamp(-4, 4), OUT_STEP)
        return x @ out[0] + _rounded(self.out.bias, OUT_STEP)

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Return the tensors of a checkpoint: kernels (taps * inputs, channels), the oldest instant first, then
        means."""
        found: dict[str, Tensor] = {}
        for i in range(len(self.layers)):
            w, b = (part.detach() for part in self.weights(i))
            found[f"kernel{i}"] = w.T.contiguous()
            found[f"bias{i}"] = b
        found["out"] = torch.round(self.out.weight.detach().clamp(-4, 4)[0] * OUT_STEP) / OUT_STEP
        found["bias"] = torch.round(self.out.bias.detach() * OUT_STEP) / OUT_STEP
        return {name: t.numpy() for name, t in found.items()}
