"""One training step: loss and gradients of a batch, cut into pieces that fit the cache.

Only BatchNorm looks across clips, and it stands at the end of the distiller. So the stages run piece by
piece, and BatchNorm and all after it on the whole batch: the same numbers as in one go, twice as fast, and in
less memory. Knows nothing of epochs or data.
"""

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from streamcab.distiller import Distiller
from streamcab.model import CabCnn, answer

PIECE_S = 48.0
"""Seconds of audio that go through the stages together on a CPU."""
KEEP_S = 640.0
"""Seconds of audio in a batch above which activations, 4 MB a second, are computed twice and not kept."""
TINY = 1e-7
"""Keras' epsilon in the logarithm of a probability."""


def loss_of(probabilities: Tensor, y: Tensor, smoothing: float = 0.0) -> Tensor:
    """Cross entropy (B,) of clips' mean probabilities (B, m) and classes y (B,); the log of the mean (paper,
    section 3.3).

    `smoothing` gives each class that share of the target, divided among all.
    """
    log = probabilities.clamp_min(TINY).log()
    own = -log.gather(1, y.unsqueeze(1)).squeeze(1)
    return own if smoothing == 0 else (1 - smoothing) * own - smoothing * log.mean(1)


def forward(model: CabCnn, x: Tensor) -> Tensor:
    """c (B, K, labels) of whole clips x (B, K * I), as `model(x)` gives it, or of a (B, K, features)."""
    if x.dim() == 3:
        return _answers(model, x)
    if x.device.type != "cpu":
        return _answers(model, model.distiller(x))
    arch = model.architecture
    clip_s = x.shape[1] / arch.pooled_rate
    pieces = torch.split(x, max(1, round(PIECE_S / clip_s)))
    again = torch.is_grad_enabled() and len(x) * clip_s > KEEP_S
    parts = []
    for piece in pieces:
        if again:
            parts.append(checkpoint(_stages, model.distiller, piece, use_reentrant=False))
        else:
            parts.append(_stages(model.distiller, piece))
    y = torch.cat(parts) if len(parts) > 1 else parts[0]
    a = model.distiller.norm(y.flatten(0, 1)).view_as(y)
    return _answers(model, a)


def summary(model: CabCnn, x: Tensor) -> Tensor:
    """u (B, K, summary) of whole clips x, samples or a, as in `forward`."""
    assert model.summary is not None
    u: Tensor = model.summary(x if x.dim() == 3 else model.distiller(x))
    return u


def _answers(model: CabCnn, a: Tensor) -> Tensor:
    c: Tensor = model.acb(a)[0]
    return c


def _stages(distiller: Distiller, x: Tensor) -> Tensor:
    y = x.unsqueeze(-1)
    for stage in distiller.stages:
        y = stage(y)
    return y


def backward(model: CabCnn, x: Tensor, votes: Tensor, y: Tensor, smoothing: float) -> float:
    """Add a batch's gradients to the parameters'; its mean loss. x (B, K * I), votes (B, K), y (B,)."""
    loss = loss_of(answer(forward(model, x), votes), y, smoothing).mean()
    loss.backward()  # type: ignore[no-untyped-call]
    return loss.item()
