"""A CAB-CNN with a trunk while it is taught by a teacher's frames, by its opinions and by labels.

The answer to a row is the mean of c_t over the intervals that vote, as it is when served, and its loss the cross
entropy of that mean with the opinion or the label. Knows nothing of files, of corpora or of steps.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy.signal.windows import hamming
from torch import Tensor, nn

from streamcab.nn.cabcnn import Architecture, CabCnn
from streamcab_train.fast_backward import run_stages
from streamcab_train.rows import Row
from streamcab_train.teacher import bands

BANDS_A_HALF = 26
"""Log-mel bands of each half of an interval, that a_t is taught beside the teacher's frames."""
NEAR, SPECTRUM = 0.3, 0.3
"""Weights of what a_t alone is taught, beside 1 for what the trunk is."""
BARELY = 1e-3
"""What an interval that does not vote weighs, so that a row of silence has an answer."""


@dataclass(frozen=True)
class Weights:
    """Of the losses: the teacher's frames, its opinion, labels."""

    frames: float
    opinion: float = 0.0
    label: float = 0.0


@dataclass(frozen=True)
class Batch:
    """Rows of equal length: x (B, T, width), frames (B, T, components), votes (B, T); of the first n rows, which are
    of a class, opinion and label (n, classes)."""

    x: Tensor
    frames: Tensor
    votes: Tensor
    opinion: Tensor | None
    label: Tensor | None


def batch_of(rows: list[Row]) -> Batch:
    """Rows of a class first."""
    some = [row for row in rows if row.opinion is not None and row.label is not None]
    order = some + [row for row in rows if row.opinion is None or row.label is None]

    def stack(parts: list[np.ndarray | None]) -> Tensor:
        return torch.from_numpy(np.stack([p for p in parts if p is not None]))

    return Batch(
        stack([row.x for row in order]),
        stack([row.frames for row in order]),
        stack([row.votes for row in order]).float(),
        stack([row.opinion for row in some]) if some else None,
        stack([row.label for row in some]) if some else None,
    )


class Pupil(nn.Module):
    """A model, and beside it what its features are compared with a teacher's by."""

    def __init__(self, architecture: Architecture, components: int) -> None:
        super().__init__()
        self.model = CabCnn(architecture)
        assert self.model.trunk is not None, "a model with a trunk"
        width = architecture.stages[-1].filters
        self.from_trunk, self.from_a = nn.Linear(width, components), nn.Linear(width, components)
        self.spectrum = nn.Linear(width, 2 * BANDS_A_HALF)
        self.dropout = nn.Dropout(0.1)

    def losses(self, batch: Batch, weights: Weights, *, distilled: bool) -> tuple[Tensor, dict[str, float]]:
        """The weighed sum of the losses, and each by itself. `distilled`: x is a_t; the distiller stays as it is."""
        a = batch.x if distilled else self._distil(batch.x)
        assert self.model.trunk is not None
        with torch.autocast(a.device.type, torch.bfloat16):
            h = self.model.trunk(a)
        h = h.float()
        frames = F.mse_loss(self.from_trunk(h), batch.frames)
        total, told = weights.frames * frames, {"frames": frames.item()}
        if not distilled:
            near = F.mse_loss(self.from_a(a), batch.frames)
            spectrum = F.mse_loss(self.spectrum(a), log_mel(batch.x, self.model.architecture.pooled_rate))
            total = total + weights.frames * (NEAR * near + SPECTRUM * spectrum)
            told |= {"near": near.item(), "spectrum": spectrum.item()}
        if batch.opinion is not None and batch.label is not None and weights.opinion + weights.label > 0:
            n = len(batch.opinion)
            c = self.model.acb(self.dropout(h[:n]))[0]
            log = mean_answer(c, batch.votes[:n]).clamp(min=1e-8).log()
            opinion, label = (-(p * log).sum(1).mean() for p in (batch.opinion, batch.label))
            total = total + weights.opinion * opinion + weights.label * label
            told |= {"opinion": opinion.item(), "label": label.item()}
        return total, told

    def _distil(self, x: Tensor) -> Tensor:
        distiller = self.model.distiller
        with torch.autocast(x.device.type, torch.bfloat16):
            y = run_stages(distiller, x.flatten(1))
        a: Tensor = distiller.norm(y.float().flatten(0, 1)).view_as(y)
        return a


def mean_answer(c: Tensor, votes: Tensor) -> Tensor:
    """The mean of c (B, T, classes) over the intervals that vote, votes (B, T): (B, classes)."""
    weight = (votes + BARELY).unsqueeze(-1)
    return (c * weight).sum(1) / weight.sum(1)


def log_mel(x: Tensor, rate: int) -> Tensor:
    """Of samples (B, T, interval): logarithms of bands in each half of an interval, (B, T, 2 * BANDS_A_HALF)."""
    b, t, interval = x.shape
    hop, size = interval // 2, 1 << interval.bit_length()
    pad = (size - hop) // 2
    window = torch.from_numpy(hamming(size, sym=False).astype(np.float32))
    samples = F.pad(x.flatten(1), (pad, size - hop - pad))
    frames = samples.unfold(1, size, hop)[:, : 2 * t] * window
    power = torch.fft.rfft(frames).abs().square() @ torch.from_numpy(bands(rate, size).T.astype(np.float32))
    return (torch.log(power + 1.0).view(b, t, 2 * BANDS_A_HALF) - 4.0) / 2.5
