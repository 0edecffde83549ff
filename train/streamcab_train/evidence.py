"""The evidence layer, fitted in closed form: shrinkage discriminant analysis on the second moments of clips.

A linear discriminant with equal priors, on standardised moments, whose covariance within classes is shrunk towards the
identity (Friedman 1989; Ledoit, Wolf 2004), since a few hundred numbers are estimated from as many voices. It becomes
one linear layer. The tests compare it with scikit-learn's StandardScaler and LinearDiscriminantAnalysis(solver="lsqr").
Knows nothing of audio or folders.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from streamcab.errors import CorpusError
from streamcab.evidence.layer import HALF_S, evidence_of
from streamcab.nn.cabcnn import CabCnn
from streamcab_train.batches import Selection
from streamcab_train.scores import confusion_matrix, scores
from streamcab_train.step import summary

INNER, SHUFFLES = 5, 4
"""Number of inner folds that choose the shrinkage, and of their shuffles."""

Floats = NDArray[np.float64]


def discriminant(x: Floats, y: NDArray[np.int64], shrinkage: float) -> tuple[Floats, Floats]:
    """Fit weight (m, F) and bias (m,), logarithms, to moments x (n, F) and classes y (n,), each from 0 on with a
    member."""
    centre, scale = x.mean(0), x.std(0)
    scale = np.where(scale > 0, scale, 1.0)
    z = (x - centre) / scale
    labels = np.arange(y.max() + 1)
    means = np.stack([z[y == label].mean(0) for label in labels])
    within = np.zeros((z.shape[1], z.shape[1]))
    for label in labels:
        own = z[y == label]
        within += _shrunk(own, shrinkage) / len(labels)
    weight = np.linalg.lstsq(within, means.T, rcond=None)[0].T
    bias = -0.5 * np.einsum("mf,mf->m", weight, means)
    return weight / scale, bias - (weight / scale) @ centre


def _shrunk(own: Floats, shrinkage: float) -> Floats:
    """Return the covariance of one class, shrunk towards one without correlation."""
    centred = own - own.mean(0)
    covariance = centred.T @ centred / len(own)
    even = np.trace(covariance) / len(covariance)
    drawn: Floats = (1 - shrinkage) * covariance + shrinkage * even * np.eye(len(covariance))
    return drawn


def summed_up(model: CabCnn, some: Selection) -> tuple[Floats, NDArray[np.int64]]:
    """Return the evidence's input numbers for each clip (n, F), and the number of counted intervals (n,)."""
    evidence = evidence_of(model)
    assert evidence is not None
    device = next(model.parameters()).device
    model.eval()
    found, sizes = [], []
    for clip in some.clips.tolist():
        x, kind = some.features.clip(clip)
        with torch.inference_mode():
            u = summary(model, torch.from_numpy(x[None].copy()).to(device))[0].cpu().numpy()
        numbers, counts = evidence.of_clip(u, some.votes(kind))
        found.append(numbers[0])
        sizes.append(int(counts[0]))
    return np.stack(found), np.array(sizes)


def chosen_shrinkage(
    x: Floats, y: NDArray[np.int64], speakers: Sequence[str], values: Sequence[float], seed: int
) -> float:
    """Return the value that is best on voices outside the fit; of equal values the middle one. CorpusError if a
    class has a single voice."""
    found = np.array([inner_uar(x, y, speakers, value, seed) for value in values])
    best = np.flatnonzero(found >= found.max() - 1e-12)
    return float(np.sort(np.asarray(values)[best])[len(best) // 2])


def inner_uar(x: Floats, y: NDArray[np.int64], speakers: Sequence[str], shrinkage: float, seed: int) -> float:
    """Return the mean UAR over INNER speaker-disjoint folds, in SHUFFLES shuffles."""
    names, found = np.asarray(speakers), []
    for shuffle in range(SHUFFLES):
        fold = _dealt(y, names, np.random.default_rng([seed, 7, shuffle]))
        answers = np.zeros(len(y), np.int64)
        for k in range(fold.max() + 1):
            weight, bias = discriminant(x[fold != k], y[fold != k], shrinkage)
            answers[fold == k] = (x[fold == k] @ weight.T + bias).argmax(1)
        found.append(scores(confusion_matrix(y, answers, int(y.max()) + 1)).uar)
    return float(np.mean(found))


def _dealt(y: NDArray[np.int64], names: NDArray[np.str_], rng: np.random.Generator) -> NDArray[np.int64]:
    """Return the inner fold of each clip: the voices of each class are assigned in turn."""
    voices = [np.unique(names[y == label]) for label in range(int(y.max()) + 1)]
    folds = min(INNER, *(len(own) for own in voices))
    if folds < 2:
        raise CorpusError(
            "evidence.shrinkages are chosen by folds of the training voices, and a class has only one: give "
            "evidence.shrinkage"
        )
    fold = np.zeros(len(y), np.int64)
    for own in voices:
        for turn, name in enumerate(rng.permutation(own)):
            fold[names == name] = turn % folds
    return fold


def fit_evidence(model: CabCnn, some: Selection, shrinkage: float) -> None:
    """Fit the model's evidence layer on some clips."""
    assert model.evidence is not None
    x, sizes = summed_up(model, some)
    weight, bias = discriminant(x, some.y, shrinkage)
    # A clip of usual length gets the weight of the discriminant itself.
    whole = 1 + model.architecture.intervals(HALF_S) / float(np.median(sizes))
    with torch.no_grad():
        model.evidence.weight.copy_(torch.from_numpy(weight * whole))
        model.evidence.bias.copy_(torch.from_numpy(bias * whole))
