"""The attention-based classifier block (paper, section 3): one interval's a_t in, its probabilities c_t out.

Forty small classifiers answer, an attention network says how much each is worth for this interval, and c_t is
the mean of the answers so weighed. Knows nothing of neighbouring intervals: a stream needs no state here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ONE_DNN: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
WIDE = 64
"""Intervals from which on a product is worth a convolution's overhead."""


class Classifiers(nn.Module):
    """n independent networks, features -> hidden ... -> labels with ReLU between, one product a layer."""

    def __init__(self, n: int, sizes: Sequence[int]) -> None:
        super().__init__()
        self.n = n
        self.weights = nn.ParameterList()
        self.biases = nn.ParameterList()
        for i, o in pairwise(sizes):
            weight = torch.empty(n, i, o)
            for one in weight:
                nn.init.xavier_uniform_(one)
            self.weights.append(nn.Parameter(weight))
            self.biases.append(nn.Parameter(torch.zeros(n, o)))

    def forward(self, a: Tensor) -> Tensor:
        """Compute logits (N, n, labels) of (N, features)."""
        # All classifiers read the same a_t, so their first layers are one wide one.
        first = self.weights[0]
        flat = first.permute(1, 0, 2).reshape(first.shape[1], -1)
        y = torch.addmm(self.biases[0].reshape(-1), a, flat).view(len(a), self.n, -1)
        for weight, bias in zip(list(self.weights)[1:], list(self.biases)[1:], strict=True):
            y = torch.baddbmm(bias.unsqueeze(1), y.relu().transpose(0, 1), weight).transpose(0, 1)
        return y


class Acb(nn.Module):
    """c_t and the attention that led to it."""

    def __init__(
        self, features: int, labels: int, classifiers: int, hidden: Sequence[int], attention: Sequence[int]
    ) -> None:
        super().__init__()
        self.classifiers = Classifiers(classifiers, (features, *hidden, labels))
        self.attention = nn.ModuleList()
        sizes = (features, *attention, classifiers)
        for i, o in pairwise(sizes):
            layer = nn.Linear(i, o)
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
            self.attention.append(layer)

    def forward(self, a: Tensor) -> tuple[Tensor, Tensor]:
        """Compute c (..., labels) and attention (..., classifiers), each summing to 1, of a (..., features)."""
        rows = a.reshape(-1, a.shape[-1])
        y = rows
        for i, layer in enumerate(self.attention):
            y = layer(y.relu() if i else y)
        alpha = y.softmax(-1)
        answers = self.classifiers(rows).softmax(-1)
        c = (alpha.unsqueeze(-1) * answers).sum(1)
        return c.view(*a.shape[:-1], -1), alpha.view(*a.shape[:-1], -1)


def affine(norm: nn.BatchNorm1d) -> tuple[Tensor, Tensor]:
    """Return what a batch norm multiplies by and adds at inference, each (features,)."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    gain = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    return gain, norm.bias - norm.running_mean * gain


@dataclass(frozen=True)
class FoldedAcb:
    """An `Acb` behind a BatchNorm, and the summary beside it, arranged for inference: the same in fewer products.

    All first layers, the classifiers' and the attention's, read the same a_t: they are one product, with the
    BatchNorm folded in. After it the intervals lie innermost, where softmax over three labels is ten times as
    fast.

    first        (width, features), (width,)
    split        how much of that width is the classifiers', the attention's, the summary's
    classifiers  their further layers: (classifiers, outputs, inputs), (classifiers, outputs, 1)
    attention    its further layers: (outputs, inputs), (outputs, 1)
    other        (1, features), (1,), if any; a product of its own, so that all else is the same to the bit without it
    """

    first: tuple[Tensor, Tensor]
    split: tuple[int, int, int]
    classifiers: list[tuple[Tensor, Tensor]]
    attention: list[tuple[Tensor, Tensor]]
    n: int
    other: tuple[Tensor, Tensor] | None = None

    def __call__(self, a: Tensor) -> Tensor:
        """Compute c and `other` above attention above u, float32, (all, N), of a_t before the BatchNorm (N,
        features)."""
        mine, alpha, u = torch.split(self._first(a), list(self.split), 1)
        y = mine.view(len(a), self.n, -1).permute(1, 2, 0)
        for weight, bias in self.classifiers:
            y = torch.baddbmm(bias, weight, y.relu_())
        alpha = alpha.t()
        for weight, bias in self.attention:
            alpha = torch.addmm(bias, weight, alpha.relu_())
        alpha = alpha.float().softmax(0)
        c = (alpha.unsqueeze(1) * y.float().softmax(1)).sum(0)
        other = [] if self.other is None else [F.linear(a, *self.other).t().float()]
        return torch.cat((c, *other, alpha, u.t().float()))

    def _first(self, a: Tensor) -> Tensor:
        weight, bias = self.first
        if len(a) < WIDE or a.device.type != "cpu" or not ONE_DNN:
            return F.linear(a, weight, bias)
        # oneDNN's convolution of width 1 is a matrix product too, at twice the speed of torch's on CPUs that
        # MKL slights.
        image = a.view(1, 1, *a.shape).permute(0, 3, 1, 2)
        y = torch.mkldnn_convolution(image, weight[:, :, None, None], bias, (0, 0), (1, 1), (1, 1), 1)
        return y.permute(0, 2, 3, 1).reshape(len(a), -1)


@torch.no_grad()
def fold(
    norm: nn.BatchNorm1d | None,
    acb: Acb,
    summary: nn.Linear | None = None,
    dtype: torch.dtype = torch.float32,
    other: nn.Linear | None = None,
) -> FoldedAcb:
    """Return the inference form of `acb`, `summary` and `other`, after `norm` if any, with weights of its own in
    `dtype`."""
    features = acb.classifiers.weights[0].shape[1]
    gain, shift = (torch.ones(features), torch.zeros(features)) if norm is None else affine(norm)
    weights, biases = list(acb.classifiers.weights), list(acb.classifiers.biases)
    layers = [layer for layer in acb.attention if isinstance(layer, nn.Linear)]
    mine = weights[0].permute(0, 2, 1).flatten(0, 1)
    beside = [] if summary is None else [summary]
    weight = torch.cat((mine, layers[0].weight, *(layer.weight for layer in beside)))
    bias = (
        torch.cat((biases[0].flatten(), layers[0].bias, *(layer.bias for layer in beside))) + weight @ shift
    )
    further = zip(weights[1:], biases[1:], strict=True)
    return FoldedAcb(
        ((weight * gain).to(dtype).contiguous(), bias.to(dtype)),
        (len(mine), len(layers[0].weight), sum(len(layer.weight) for layer in beside)),
        [(w.transpose(1, 2).to(dtype).contiguous(), b.unsqueeze(2).to(dtype, copy=True)) for w, b in further],
        [(w.weight.to(dtype, copy=True), w.bias.unsqueeze(1).to(dtype, copy=True)) for w in layers[1:]],
        acb.classifiers.n,
        None
        if other is None
        else ((other.weight * gain).to(dtype), (other.bias + other.weight @ shift).to(dtype, copy=True)),
    )
