"""Scores of a model on held-out clips: by corpus, single clips, the mean of c_t over the intervals that vote.

Knows nothing of training.
"""

from collections.abc import Sequence
from itertools import zip_longest
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from streamcab.nn.cabcnn import CabCnn, mean_of_votes
from streamcab_train.calibration import fit_temperature
from streamcab_train.distributed import ALONE, ProcessGroup
from streamcab_train.scores import confusion_matrix, interval_95, scores
from streamcab_train.voices import Parts, Voice

Floats = NDArray[np.float64]


def rank_auc(score: Floats, positive: NDArray[np.bool_]) -> float:
    """Return the chance that a positive has a higher score than a negative, ties half; NaN if there is none of
    either."""
    _, rank, count = np.unique(score, return_inverse=True, return_counts=True)
    places = np.cumsum(count) - (count - 1) / 2
    n, total = int(positive.sum()), len(score)
    if n in (0, total):
        return float("nan")
    return float((places[rank][positive].sum() - n * (n + 1) / 2) / (n * (total - n)))


class Clips(Protocol):
    """Clips as a net hears them."""

    def clip(self, i: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return x (K, width) and votes (K,) of clip i."""


@torch.inference_mode()
def answers(model: CabCnn, heard: Clips, clips: Sequence[int], ranks: ProcessGroup = ALONE) -> Floats:
    """Return the answers to whole clips, (n, classes); several processes share the work, and each gets all answers."""
    device = next(model.parameters()).device
    own = []
    for i in clips[ranks.rank :: ranks.size]:
        x, votes = heard.clip(int(i))
        c, _ = model(torch.from_numpy(x.reshape(1, -1)).to(device))
        own.append(mean_of_votes(c.cpu(), torch.from_numpy(votes[None]))[0].double().numpy())
    out = [p for turn in zip_longest(*ranks.gather(own)) for p in turn if p is not None]
    return np.stack(out) if out else np.zeros((0, len(model.architecture.labels)))


def judge(
    model: CabCnn, heard: Clips, voices: Sequence[Voice], parts: Parts, ranks: ProcessGroup = ALONE
) -> dict[str, object]:
    """Return figures by corpus, how well the surest class tells clips of a class from strangers that were left out,
    and the temperature at which all these answers are the most likely."""
    labels = model.architecture.labels
    found: dict[str, object] = {}
    known: list[Floats] = []
    truths: list[NDArray[np.int64]] = []
    for corpus in sorted({v.corpus for v in voices}):
        some = [i for i, v in enumerate(voices) if parts.judges[i] and v.corpus == corpus]
        if not some:
            continue
        p, truth = answers(model, heard, some, ranks), np.array([voices[i].label for i in some])
        known.append(p)
        truths.append(truth)
        got = scores(confusion_matrix(truth, p.argmax(1), len(labels)))
        logs = np.log(np.maximum(p, 1e-9))
        pairs = {}
        for a in range(len(labels)):
            for b in range(a + 1, len(labels)):
                both = (truth == a) | (truth == b)
                auc = rank_auc((logs[:, b] - logs[:, a])[both], truth[both] == b)
                if np.isfinite(auc):
                    pairs[f"{labels[a]}/{labels[b]}"] = round(auc, 4)
        found[corpus] = {
            "clips": np.bincount(truth, minlength=len(labels)).tolist(),
            "groups": [
                len({voices[i].group for i in some if voices[i].label == k}) for k in range(len(labels))
            ],
            "uar": round(got.uar, 4),
            "uar_95": interval_95(truth, p.argmax(1), [voices[i].group for i in some], len(labels)),
            "recall": [round(float(r), 4) if np.isfinite(r) else None for r in got.recall],
            "auc": pairs,
        }
    if known:
        found["temperature"] = round(fit_temperature(np.concatenate(known), np.concatenate(truths)), 3)
    strangers = np.flatnonzero(parts.left_out).tolist()
    if strangers and known:
        sure = [answers(model, heard, strangers, ranks).max(1), np.concatenate(known).max(1)]
        inside = np.concatenate([np.zeros(len(sure[0]), bool), np.ones(len(sure[1]), bool)])
        found["strangers"] = {
            "clips": len(strangers),
            "auroc": round(rank_auc(np.concatenate(sure), inside), 4),
            "sure_0.8": round(float((sure[0] >= 0.8).mean()), 4),
        }
    return found
