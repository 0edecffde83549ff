"""A teacher's opinion on accents: logistic regression on its frozen encoder's output for whole clips.

Few voices are labelled, so opinions on these come from folds without them, by group. Knows nothing of encoders, of
files or of nets.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Labels = NDArray[np.int64]


BLOCK = 20_000
"""Clips of which probabilities are computed at a time."""


@dataclass(frozen=True)
class Regression:
    """Logits (x - mean) / deviation @ weight + bias."""

    mean: Floats
    deviation: Floats
    weight: Doubles
    bias: Doubles

    def __call__(self, x: Floats) -> Doubles:
        """Return probabilities (n, classes) of x (n, features)."""
        blocks = [self._soft(x[at : at + BLOCK]) for at in range(0, max(len(x), 1), BLOCK)]
        return np.concatenate(blocks)

    def _soft(self, x: Floats) -> Doubles:
        logits = (x - self.mean) / self.deviation @ self.weight + self.bias
        e = np.exp(logits - logits.max(1, keepdims=True))
        soft: Doubles = e / e.sum(1, keepdims=True)
        return soft

    @property
    def directions(self) -> Doubles:
        """In which it looks, (features, classes)."""
        seen: Doubles = self.weight / self.deviation[:, None]
        return seen


def regress(x: Floats, y: Labels, weight: Doubles, penalty: float) -> Regression:
    """Fit a multinomial regression.

    It minimises sum(weight * cross entropy) + penalty / 2 * |weights|^2.

    Args:
        x: (n, features).
        y: Classes from 0 to m - 1, (n,).
        weight: Of each example, (n,).
        penalty: Strength of the regularisation.
    """
    mean, deviation = x.mean(0), x.std(0) + 1e-6
    z = torch.from_numpy(((x - mean) / deviation).astype(np.float64))
    truth, w = torch.from_numpy(y), torch.from_numpy(weight)
    matrix = torch.zeros(x.shape[1], int(y.max()) + 1, dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(matrix.shape[1], dtype=torch.float64, requires_grad=True)
    solver = torch.optim.LBFGS(
        [matrix, bias], max_iter=300, tolerance_change=1e-9, line_search_fn="strong_wolfe"
    )

    def loss() -> torch.Tensor:
        solver.zero_grad()
        each = torch.nn.functional.cross_entropy(z @ matrix + bias, truth, reduction="none")
        total = (w * each).sum() + penalty / 2 * matrix.square().sum()
        total.backward()  # type: ignore[no-untyped-call]
        return total

    solver.step(loss)  # type: ignore[no-untyped-call]
    return Regression(mean, deviation, matrix.detach().numpy(), bias.detach().numpy())


def balance(y: Labels, corpora: NDArray[np.str_]) -> Doubles:
    """Return weights (n,) by which each class weighs the same, and small corpora more than their share; their mean
    is 1."""
    cells = np.array([f"{c} {k}" for c, k in zip(corpora, y, strict=True)])
    _, cell, count = np.unique(cells, return_inverse=True, return_counts=True)
    weight = (count[cell] ** -0.6).astype(np.float64)
    classes = np.unique(y)
    for k in classes:
        weight[y == k] /= weight[y == k].sum()
    return weight * len(y) / len(classes)


def fewer(y: Labels, groups: NDArray[np.str_], most: int, seed: int) -> Labels:
    """Return y (n,) with -1 where a class has more than `most` clips: groups drawn at random are left out whole."""
    y, rng = y.copy(), np.random.default_rng([seed, 5])
    for k in np.unique(y[y >= 0]):
        own = np.flatnonzero(y == k)
        names, group = np.unique(groups[own], return_inverse=True)
        place = rng.permutation(len(names))[group]
        y[own[np.cumsum(np.bincount(place))[place] > most]] = -1
    return y


def opinions(
    x: Floats,
    y: Labels,
    corpora: NDArray[np.str_],
    groups: NDArray[np.str_],
    *,
    penalty: float,
    folds: int = 5,
    seed: int = 0,
) -> Doubles:
    """Return opinions on all clips x (n, features), (n, classes).

    Args:
        x: what the encoder says of each clip.
        y: its class, or -1 where it teaches no regression.
        corpora: its corpus.
        groups: its group; a clip of class is judged by a regression that saw none of its group.
        penalty: of `regress`.
        folds: how many.
        seed: of the folds.
    """
    known = np.flatnonzero(y >= 0)
    whole = regress(x[known], y[known], balance(y[known], corpora[known]), penalty)(x)
    names = np.random.default_rng(seed).permutation(np.unique(groups[known]))
    fold = {name: i % folds for i, name in enumerate(names.tolist())}
    of = np.array([fold[g] for g in groups[known].tolist()])
    for k in range(folds):
        some, rest = known[of == k], known[of != k]
        if len(some):
            whole[some] = regress(x[rest], y[rest], balance(y[rest], corpora[rest]), penalty)(x[some])
    return whole
