"""A new ACB on what a frozen distiller and trunk give: minutes of talk, a few hundred steps, seconds on one core.

The loss of a step is -log of the mean of c_t (paper, section 3.3) over windows of 2 to 30 s, each class drawn equally
often, and each of its speakers. Knows nothing of files, of manifests or of what is said of the result.
"""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from streamcab.nn.acb import Acb
from streamcab.nn.cabcnn import CabCnn, mean_of_votes
from streamcab_train.batches import Selection
from streamcab_train.calibration import nll
from streamcab_train.loop import Judged, seeded
from streamcab_train.pupil import disturbed, soften
from streamcab_train.scores import confusion_matrix, scores

BLOCK = 4000
"""Intervals that are answered at a time."""


@dataclass(frozen=True)
class HeadKeys:
    """Keys of the training of an ACB.

    Attributes:
        heard: Intervals that stand for a window: neighbours are nearly the same.
        every: Steps between evaluations on the validation voices; the best state is kept.
        soften: Divisor of the logits of classifiers and attention at the end (pupil.py).
    """

    seed: int = 0
    steps: int = 800
    every: int = 50
    batch: int = 16
    seconds: tuple[float, float] = (2.0, 30.0)
    heard: int = 24
    learning_rate: float = 3e-3
    weight_decay: float = 0.02
    dropout: float = 0.1
    soften: tuple[float, float] = (4.0, 2.0)

    def to_dict(self) -> dict[str, Any]:
        """Return the keys as JSON gives them back."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}


@dataclass(frozen=True)
class Voices:
    """The clips of a selection by class and speaker, from which windows are drawn."""

    some: Selection
    own: tuple[tuple[tuple[int, ...], ...], ...]

    @classmethod
    def of(cls, some: Selection, speakers: Sequence[str]) -> "Voices":
        """Take the voices of a selection, with the speaker of each clip."""
        found: dict[int, dict[str, list[int]]] = {}
        for i, (y, speaker) in enumerate(zip(some.y, speakers, strict=True)):
            found.setdefault(int(y), {}).setdefault(speaker, []).append(i)
        return cls(some, tuple(tuple(tuple(c) for c in found[y].values()) for y in sorted(found)))

    def draw(
        self, rng: np.random.Generator, keys: HeadKeys, interval_s: float
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Draw a batch: x (B, heard, features) and y (B,)."""
        rows, y = [], []
        turns = rng.permutation(keys.batch) % len(self.own)
        for label in turns:
            speakers = self.own[label]
            clips = speakers[rng.integers(len(speakers))]
            i = clips[rng.integers(len(clips))]
            rows.append(self._window(i, rng, keys, interval_s))
            y.append(self.some.y[i])
        return np.stack(rows), np.array(y, np.int64)

    def _window(
        self, i: int, rng: np.random.Generator, keys: HeadKeys, interval_s: float
    ) -> NDArray[np.float32]:
        """Draw some voting intervals of a window of the votes of a clip, as a served window counts them."""
        x, kind = self.some.features.clip(int(self.some.clips[i]))
        votes = np.flatnonzero(self.some.votes(kind))
        shortest, longest = (np.log(seconds / interval_s) for seconds in keys.seconds)
        length = min(round(np.exp(rng.uniform(shortest, longest))), len(votes))
        first = rng.integers(len(votes) - length + 1)
        chosen = first + rng.choice(length, keys.heard, replace=length < keys.heard)
        found: NDArray[np.float32] = x[votes[np.sort(chosen)]]
        return found


@dataclass(frozen=True)
class Fitted:
    """The best ACB, softened, and the step that it is of."""

    acb: Acb
    step: int


def fit_head(
    model: CabCnn,
    labels: int,
    train: Selection,
    speakers: Sequence[str],
    validation: Selection,
    keys: HeadKeys,
) -> Fitted:
    """Train an ACB for so many labels that begins as the model's, which stays as it is; x is what an ACB reads.

    From nothing it was worse: UAR 0.42 in place of 0.50 on four first languages of 96 voices, at 300 steps.
    """
    interval_s = model.architecture.interval_s
    device = next(model.parameters()).device
    voices = Voices.of(train, speakers)
    with seeded(keys.seed, 0):
        acb = begun(model.acb, labels).to(device)
        dropout = nn.Dropout(keys.dropout)
        adam = torch.optim.AdamW(acb.parameters(), lr=keys.learning_rate, weight_decay=keys.weight_decay)
        best, best_step, least = deepcopy(acb), 0, np.inf
        for step in range(1, keys.steps + 1):
            for group in adam.param_groups:
                group["lr"] = keys.learning_rate * (0.02 + 0.98 * (1 - step / keys.steps))
            x, y = voices.draw(np.random.default_rng([keys.seed, 7, step]), keys, interval_s)
            c, _ = acb(dropout(disturbed(torch.from_numpy(x).to(device))))
            own = c.mean(1)[torch.arange(len(y)), torch.from_numpy(y)]
            adam.zero_grad(set_to_none=True)
            (-own.clamp(min=1e-7).log().mean()).backward()
            adam.step()
            if step % keys.every == 0 or step == keys.steps:
                judged = judge_head(acb, validation)
                if judged.balanced < least:
                    best, best_step, least = deepcopy(acb), step, judged.balanced
    soften(best, *keys.soften)
    return Fitted(best.eval(), best_step)


@torch.no_grad()
def begun(acb: Acb, labels: int) -> Acb:
    """Return a new ACB for `labels` labels: all layers start as in `acb`, except the last, which is random."""
    n, last = acb.classifiers.n, len(acb.classifiers.weights) - 1
    sizes = [weight.shape[1] for weight in acb.classifiers.weights]
    attention = [layer.out_features for layer in acb.attention if isinstance(layer, nn.Linear)]
    new = Acb(sizes[0], labels, n, sizes[1:], attention[:-1])
    new.attention.load_state_dict(acb.attention.state_dict())
    for i in range(last):
        new.classifiers.weights[i].copy_(acb.classifiers.weights[i])
        new.classifiers.biases[i].copy_(acb.classifiers.biases[i])
    return new


@torch.inference_mode()
def judge_head(acb: Acb, some: Selection) -> Judged:
    """Score its answers to whole clips of which it is given what it reads."""
    device = next(acb.parameters()).device
    rows = []
    for i in some.clips:
        x, kind = some.features.clip(int(i))
        blocks = [np.array(x[k : k + BLOCK]) for k in range(0, len(x), BLOCK)]
        c = torch.cat([acb(torch.from_numpy(block).to(device))[0] for block in blocks])
        votes: Tensor = torch.from_numpy(some.votes(kind)).to(device)
        rows.append(mean_of_votes(c[None], votes[None])[0].cpu().numpy())
    p, y = np.stack(rows), some.y
    balanced = float(np.mean([nll(p[y == label], y[y == label]) for label in np.unique(y)]))
    found = scores(confusion_matrix(y, p.argmax(1), p.shape[1]))
    return Judged(p, y, nll(p, y), balanced, found)
