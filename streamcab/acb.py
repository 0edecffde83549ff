"""The attention-based classifier block (paper, section 3): one interval's a_t in, its probabilities c_t out.

Forty small classifiers answer, an attention network says how much each is worth for this interval, and c_t is the mean
of the answers so weighed. Knows nothing of neighbouring intervals: a stream needs no state here.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Classifiers(nn.Module):
    """n independent networks, features -> hidden ... -> labels with ReLU between, as one batched product a layer."""

    def __init__(self, n: int, sizes: Sequence[int]) -> None:
        super().__init__()
        self.n = n
        self.weights = nn.ParameterList()
        self.biases = nn.ParameterList()
        for i, o in zip(sizes, sizes[1:], strict=False):
            weight = torch.empty(n, i, o)
            for one in weight:
                nn.init.xavier_uniform_(one)
            self.weights.append(nn.Parameter(weight))
            self.biases.append(nn.Parameter(torch.zeros(n, o)))

    def forward(self, a: Tensor) -> Tensor:
        """(N, features) -> logits (N, n, labels)."""
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
        for i, o in zip(sizes, sizes[1:], strict=False):
            layer = nn.Linear(i, o)
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
            self.attention.append(layer)

    def forward(self, a: Tensor) -> tuple[Tensor, Tensor]:
        """Intervals a (..., features) -> c (..., labels) and attention (..., classifiers), each summing to 1."""
        rows = a.reshape(-1, a.shape[-1])
        y = rows
        for i, layer in enumerate(self.attention):
            y = layer(y.relu() if i else y)
        alpha = y.softmax(-1)
        answers = self.classifiers(rows).softmax(-1)
        c = (alpha.unsqueeze(-1) * answers).sum(1)
        return c.view(*a.shape[:-1], -1), alpha.view(*a.shape[:-1], -1)
