"""One training step: loss and gradients of a batch, cut into pieces that fit the cache.

Only BatchNorm depends on several clips, and it is at the end of the distiller. So the stages run piece by piece, and
BatchNorm and the layers after it on the whole batch: the same numbers as in one step, twice as fast, in less memory.
Knows nothing of epochs or data.
"""

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from streamcab.nn.cabcnn import CabCnn, mean_of_votes
from streamcab.nn.confidence import TINY
from streamcab_train.distributed import ALONE, ProcessGroup
from streamcab_train.fast_backward import run_stages

PIECE_S = 48.0
"""Seconds of audio that go through the stages together on a CPU."""
KEEP_S = 640.0
"""Seconds of audio in a batch above which activations, 4 MB a second, are recomputed instead of kept."""


def loss_of(probabilities: Tensor, y: Tensor, smoothing: float = 0.0) -> Tensor:
    """Return the cross entropy (B,) of clips' mean probabilities (B, m) and classes y (B,); the log of the mean (paper,
    section 3.3).

    `smoothing` gives each class that share of the target, divided among all.
    """
    log = probabilities.clamp_min(TINY).log()
    own = -log.gather(1, y.unsqueeze(1)).squeeze(1)
    return own if smoothing == 0 else (1 - smoothing) * own - smoothing * log.mean(1)


def forward(model: CabCnn, x: Tensor, ranks: ProcessGroup = ALONE) -> Tensor:
    """Compute c (B, K, labels) of whole clips x (B, K * I), as `model(x)` gives it, or of a (B, K, features).

    Of several `ranks` x is this one's share of the batch, and BatchNorm sees the whole.
    """
    if x.dim() == 3:
        return _answers(model, x)
    if x.device.type != "cpu":
        return _answers(model, _whole(model, x, ranks))
    arch = model.architecture
    clip_s = x.shape[1] / arch.pooled_rate
    pieces = torch.split(x, max(1, round(PIECE_S / clip_s)))
    again = torch.is_grad_enabled() and len(x) * clip_s > KEEP_S
    parts = []
    for piece in pieces:
        if again:
            parts.append(checkpoint(run_stages, model.distiller, piece, use_reentrant=False))
        else:
            parts.append(run_stages(model.distiller, piece))
    y = torch.cat(parts) if len(parts) > 1 else parts[0]
    a = normalised(model.distiller.norm, _wide(y).flatten(0, 1), ranks).view_as(y)
    return _answers(model, a)


def _wide(x: Tensor) -> Tensor:
    """Convert out of bf16, where it is in it."""
    return x.float() if x.dtype == torch.bfloat16 else x


def _whole(model: CabCnn, x: Tensor, ranks: ProcessGroup) -> Tensor:
    """Return a of all clips in one step, for devices other than CPUs."""
    y = x.unsqueeze(-1)
    for stage in model.distiller.stages:
        y = stage(y)
    return normalised(model.distiller.norm, _wide(y).flatten(0, 1), ranks).view_as(y)


def normalised(norm: nn.BatchNorm1d, rows: Tensor, ranks: ProcessGroup = ALONE) -> Tensor:
    """Apply BatchNorm to the rows (N, features) of all ranks together, as one process would have it."""
    if ranks.size == 1 or not norm.training:
        found: Tensor = norm(rows)
        return found
    n = ranks.sum(rows.new_tensor(float(len(rows))))
    mean = ranks.sum(rows.sum(0)) / n
    variance = ranks.sum((rows - mean).square().sum(0)) / n
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert norm.num_batches_tracked is not None
    with torch.no_grad():
        norm.num_batches_tracked += 1
        norm.running_mean.lerp_(mean, norm.momentum or 0.0)
        norm.running_var.lerp_(variance * n / (n - 1), norm.momentum or 0.0)
    return (rows - mean) * torch.rsqrt(variance + norm.eps) * norm.weight + norm.bias


def summary(model: CabCnn, x: Tensor) -> Tensor:
    """Compute u (B, K, summary) of whole clips x, samples or a, as in `forward`."""
    assert model.summary is not None
    u: Tensor = model.summary(x if x.dim() == 3 else model.distiller(x))
    return u


def _answers(model: CabCnn, a: Tensor) -> Tensor:
    if len(a) == 0:
        # A rank without a clip: nothing is answered, but the others' BatchNorm waits for its gradient.
        return a[..., : len(model.architecture.labels)]
    c: Tensor = model.acb(a)[0]
    return c


def backward(
    model: CabCnn,
    x: Tensor,
    votes: Tensor,
    y: Tensor,
    smoothing: float,
    *,
    bf16: bool = False,
    ranks: ProcessGroup = ALONE,
    clips: int = 0,
) -> float:
    """Add a batch's gradients to the parameters'; its mean loss. x (B, K * I), votes (B, K), y (B,).

    bf16   products and convolutions are rounded to it; sums, BatchNorm, softmax and loss are not
    ranks  of several, the three are this one's share of a batch of `clips`; gradients and loss are of the whole
    """
    with torch.autocast(x.device.type, torch.bfloat16, enabled=bf16):
        c = forward(model, x, ranks)
    losses = loss_of(mean_of_votes(_wide(c), votes), y, smoothing)
    loss = losses.mean() if ranks.size == 1 else losses.sum() / clips
    loss.backward()  # type: ignore[no-untyped-call]
    return loss.item() if ranks.size == 1 else ranks.add_gradients(model.parameters(), loss).item()
