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

from streamcab.nn.acb import Acb
from streamcab.nn.cabcnn import Architecture, CabCnn
from streamcab_train.cepstra import bands
from streamcab_train.distributed import ALONE, ProcessGroup
from streamcab_train.fast_backward import run_stages
from streamcab_train.rows import Row
from streamcab_train.step import normalised

BANDS_A_HALF = 26
"""Log-mel bands of each half of an interval, which a_t learns beside the teacher's frames."""
NEAR, SPECTRUM = 0.2, 0.1
"""Weights of the targets of a_t alone; those of the trunk have 1."""
TELLING = 2.0
"""Weight of the numbers that tell accents, beside 1 for the principal components."""
LOCAL, LOCAL_S = (2.0, 8.0), 1.0
WHOLE = (4.0, 24.0)
"""Weights, for principal components and what tells accents, of the error of the mean over a second and over the row:
an accent is what stays, and in the error of single intervals it drowns."""
OPINION = 0.5
"""Weight of the opinion that a linear layer on the mean of the trunk's output has, beside that of the mean of c_t."""
NOISE, MASKED = 0.15, 12
"""Deviation of the noise on a_t, which have one of about 1, and the most intervals of a stretch of nothing."""
BARELY = 1e-3
"""What an interval that does not vote weighs, so that a row of silence has an answer."""


@dataclass(frozen=True)
class Weights:
    """Weights of the losses: the teacher's frames, its opinion, labels."""

    frames: float
    opinion: float = 0.0
    label: float = 0.0


@dataclass(frozen=True)
class Batch:
    """Rows of equal length: x (B, T, width), frames (B, T, components), votes (B, T), opinion (B, classes); of the
    first n rows, which are of a class, label (n, classes)."""

    x: Tensor
    frames: Tensor
    votes: Tensor
    opinion: Tensor
    label: Tensor | None


def frame_loss(error: Tensor, principal: int, local: int) -> Tensor:
    """Return the loss of errors (B, T, numbers) on the teacher's frames.

    It counts the first `principal` numbers, which are principal components, in three ways: by interval, in the mean
    over `local` intervals, and in the mean over all.
    """
    b, t, numbers = error.shape
    whole = t // local * local
    near = error[:, :whole].view(b, -1, local, numbers).mean(2)
    total = error.new_zeros(())
    for part, (one, some, most) in zip(
        (slice(0, principal), slice(principal, numbers)),
        ((1.0, LOCAL[0], WHOLE[0]), (TELLING, LOCAL[1], WHOLE[1])),
        strict=True,
    ):
        if part.start < part.stop:
            total = total + one * error[..., part].square().mean()
            total = total + some * near[..., part].square().mean()
            total = total + most * error[..., part].mean(1).square().mean()
    return total


def batch_of(rows: list[Row]) -> Batch:
    """Make a batch, rows of a class first."""
    labels = [row.label for row in rows if row.label is not None]
    order = sorted(rows, key=lambda row: row.label is None)

    def stack(parts: list[np.ndarray]) -> Tensor:
        return torch.from_numpy(np.stack(parts))

    return Batch(
        stack([row.x for row in order]),
        stack([row.frames for row in order]),
        stack([row.votes for row in order]).float(),
        stack([row.opinion for row in order]),
        stack(labels) if labels else None,
    )


class Pupil(nn.Module):
    """A model, and beside it what its features are compared with a teacher's by."""

    def __init__(
        self,
        architecture: Architecture,
        principal: int,
        components: int,
        *,
        bf16: bool = True,
        ranks: ProcessGroup = ALONE,
    ) -> None:
        """Make a pupil.

        Args:
            architecture: Of the model.
            principal: How many components are principal ones.
            components: How many there are in all.
            bf16: Round products and convolutions to it.
            ranks: Of several, each is given rows of its own; BatchNorm sees those of all.
        """
        super().__init__()
        self._bf16, self._ranks = bf16, ranks
        self._principal, self._local = principal, architecture.intervals(LOCAL_S)
        self.model = CabCnn(architecture)
        assert self.model.trunk is not None, "a model with a trunk"
        width = architecture.stages[-1].filters
        self.from_trunk, self.from_a = nn.Linear(width, components), nn.Linear(width, components)
        self.spectrum = nn.Linear(width, 2 * BANDS_A_HALF)
        self.opinion = nn.Linear(width, len(architecture.labels))
        self.dropout = nn.Dropout(0.1)

    def losses(self, batch: Batch, weights: Weights, *, distilled: bool) -> tuple[Tensor, dict[str, float]]:
        """Compute the weighed sum of the losses, and each by itself. `distilled`: x is a_t; the distiller stays as
        it is."""
        a = batch.x if distilled else self._distil(batch.x)
        assert self.model.trunk is not None
        clean = a
        if self.training:
            a = disturbed(a)
        with torch.autocast(a.device.type, torch.bfloat16, enabled=self._bf16):
            h = self.model.trunk(a)
        h = h.float()
        error = self.from_trunk(h) - batch.frames
        total = weights.frames * frame_loss(error, self._principal, self._local)
        told = {"frames": error.detach().square().mean().item()}
        if not distilled:
            error = self.from_a(clean) - batch.frames
            near = sum(
                (part.square().mean() for part in error.tensor_split([self._principal], -1)),
                error.new_zeros(()),
            )
            spectrum = F.mse_loss(self.spectrum(clean), log_mel(batch.x, self.model.architecture.pooled_rate))
            total = total + weights.frames * (NEAR * near + SPECTRUM * spectrum)
            told |= {"near": near.item(), "spectrum": spectrum.item()}
        if batch.label is not None and weights.opinion + weights.label > 0:
            c = self.model.acb(self.dropout(h))[0]
            log = mean_answer(c, batch.votes).clamp(min=1e-8).log()
            opinion = -(batch.opinion * log).sum(1).mean()
            label = -(batch.label * log[: len(batch.label)]).sum(1).mean()
            total = total + weights.opinion * opinion + weights.label * label
            mean = mean_answer(h, batch.votes)
            linear = -(batch.opinion * self.opinion(mean).log_softmax(1)).sum(1).mean()
            total = total + OPINION * weights.opinion * linear
            told |= {"opinion": opinion.item(), "label": label.item(), "linear": linear.item()}
        return total, told

    def _distil(self, x: Tensor) -> Tensor:
        distiller = self.model.distiller
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self._bf16):
            # Row by row: what lies between two layers then stays in the cache, a sixth of a step's time.
            y = torch.cat([run_stages(distiller, x[i : i + 1].flatten(1)) for i in range(len(x))])
        return normalised(distiller.norm, y.float().flatten(0, 1), self._ranks).view_as(y)


@torch.no_grad()
def soften(acb: Acb, answers: float, attention: float) -> None:
    """Divide the logits of the ACB's classifiers and of its attention.

    Taught to the end, a c_t flips within an interval and is a vote; rounding then moves it by more than 1e-5. Softened,
    the mean of c_t ranks as before or better (docs/results/lab-notebook.md, 10), and streamed equals offline with ease.
    """
    for part in (acb.classifiers.weights[-1], acb.classifiers.biases[-1]):
        part /= answers
    last = acb.attention[-1]
    assert isinstance(last, nn.Linear)
    for part in (last.weight, last.bias):
        part /= attention


def disturbed(a: Tensor) -> Tensor:
    """Return a (B, T, features) with some noise and, in half of the rows, a stretch of nothing."""
    b, t, _ = a.shape
    first, length = torch.rand(b, 1) * t, torch.rand(b, 1) * MASKED
    place = torch.arange(t)
    hidden = (place >= first) & (place < first + length) & (torch.rand(b, 1) < 0.5)
    return a.masked_fill(hidden.unsqueeze(-1).to(a.device), 0.0) + NOISE * torch.randn_like(a)


def mean_answer(c: Tensor, votes: Tensor) -> Tensor:
    """Return the mean of c (B, T, numbers) over the intervals that vote, votes (B, T): (B, numbers)."""
    weight = (votes + BARELY).unsqueeze(-1)
    return (c * weight).sum(1) / weight.sum(1)


def log_mel(x: Tensor, rate: int) -> Tensor:
    """Compute logarithms of bands in each half of an interval, (B, T, 2 * BANDS_A_HALF), of samples (B, T,
    interval)."""
    b, t, interval = x.shape
    hop, size = interval // 2, 1 << interval.bit_length()
    pad = (size - hop) // 2
    window, mel = (
        torch.from_numpy(part.astype(np.float32)).to(x.device)
        for part in (hamming(size, sym=False), bands(rate, size).T)
    )
    samples = F.pad(x.flatten(1), (pad, size - hop - pad))
    frames = samples.unfold(1, size, hop)[:, : 2 * t] * window
    power = torch.fft.rfft(frames).abs().square() @ mel
    return (torch.log(power + 1.0).view(b, t, 2 * BANDS_A_HALF) - 4.0) / 2.5
