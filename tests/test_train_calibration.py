"""Calibration and intervals: against scipy, by hand, and on what is calibrated by construction."""

from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import softmax
from scipy.stats import bootstrap
from sklearn.calibration import calibration_curve
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    confusion_matrix,
    f1_score,
    log_loss,
    recall_score,
)
from streamcab_train.bootstrap import difference_95, intervals_95
from streamcab_train.calibration import (
    abstain_below,
    coverage,
    fit_temperature,
    nll,
    reliability,
)
from streamcab_train.scores import confusion_matrix as counted
from streamcab_train.scores import scores

from streamcab.nn.confidence import COLDEST, HOTTEST, tempered


def drawn(n: int, sharpen: float, seed: int = 0) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Probabilities (n, 3) and truth drawn from them; the ones shown are `sharpen` times as sure in log."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n, 3))
    honest = softmax(logits, axis=1)
    truth = (honest.cumsum(1) < rng.random((n, 1))).sum(1)
    return softmax(logits * sharpen, axis=1), truth


def test_ece_by_hand() -> None:
    p = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.05, 0.95]])
    found = reliability(p, [0, 1, 1, 1])
    assert [(b.low, b.clips, b.accuracy) for b in found.bins] == [
        (0.6, 1, 1.0),
        (0.7, 1, 0.0),
        (0.8, 1, 1.0),
        (0.9, 1, 1.0),
    ]
    assert found.ece == pytest.approx((0.3 + 0.8 + 0.1 + 0.05) / 4)
    assert found.nll == pytest.approx(-np.log([0.9, 0.2, 0.7, 0.95]).mean())


def test_scores_are_scikit_learns() -> None:
    p, y = drawn(300, 1.0, seed=3)
    ours, said = scores(counted(y, p.argmax(1), 3)), p.argmax(1)
    assert ours.confusion.tolist() == confusion_matrix(y, said).tolist()
    assert ours.accuracy == pytest.approx(accuracy_score(y, said))
    assert ours.uar == pytest.approx(balanced_accuracy_score(y, said))
    assert ours.f1 == pytest.approx(f1_score(y, said, average="macro"))
    assert ours.recall == pytest.approx(recall_score(y, said, average=None))
    assert nll(p, y) == pytest.approx(log_loss(y, p))


def test_bins_are_scikit_learns() -> None:
    p, y = drawn(2000, 1.7, seed=4)
    sure, right = p.max(1), p.argmax(1) == y
    theirs, means = calibration_curve(right, sure, n_bins=10, strategy="uniform")
    found = reliability(p, y)
    assert [b.accuracy for b in found.bins] == pytest.approx(theirs.tolist())
    assert [b.confidence for b in found.bins] == pytest.approx(means.tolist())
    share = np.histogram(sure, np.linspace(0, 1, 11))[0] / len(y)
    assert found.ece == pytest.approx((share[share > 0] * np.abs(theirs - means)).sum())


def test_what_is_honest_is_calibrated_and_what_boasts_is_not() -> None:
    assert reliability(*drawn(20_000, 1.0)).ece < 0.02
    assert reliability(*drawn(20_000, 3.0)).ece > 0.1


@pytest.mark.parametrize("sharpen", [0.3, 1.0, 2.5])
def test_the_temperature_is_scipys(sharpen: float) -> None:
    p, y = drawn(4000, sharpen)
    logs = np.log(p)
    own = logs[np.arange(len(y)), y]

    def loss(inverse: float) -> float:
        return float((np.log(np.exp(inverse * logs).sum(1)) - inverse * own).mean())

    best = minimize_scalar(loss, bounds=(1 / HOTTEST, 1 / COLDEST), method="bounded", options={"xatol": 1e-9})
    found = fit_temperature(p, y)
    assert found == pytest.approx(1 / best.x, rel=1e-4)
    # It was drawn with this one, and 4000 clips tell it to some percent.
    assert found == pytest.approx(sharpen, rel=0.1)
    after = tempered(p, found)
    assert after.sum(1) == pytest.approx(1)
    assert (after.argmax(1) == p.argmax(1)).all()
    assert nll(after, y) <= nll(p, y)
    assert reliability(after, y).ece < 0.03


def test_a_temperature_without_a_minimum_ends_at_a_bound() -> None:
    p = np.array([[0.6, 0.4], [0.4, 0.6]])
    assert fit_temperature(p, [0, 1]) == COLDEST
    assert fit_temperature(p, [1, 0]) == HOTTEST
    assert tempered(np.array([[1.0, 0.0]]), 2.0)[0] == pytest.approx([1.0, 0.0], abs=1e-3)


def test_coverage_begins_with_all_and_keeps_the_surest() -> None:
    p, y = drawn(1000, 1.0)
    curve = coverage(p, y)
    assert curve[0].share == 1.0
    assert curve[0].accuracy == (p.argmax(1) == y).mean()
    assert [c.clips for c in curve] == [1000, 900, 800, 700, 600, 500, 400, 300, 200, 100]
    assert curve[-1].accuracy > curve[0].accuracy
    assert all(a.threshold <= b.threshold for a, b in pairwise(curve))


def test_equals_are_not_parted() -> None:
    p = np.array([[0.8, 0.2]] * 4)
    assert {c.clips for c in coverage(p, [0, 0, 1, 1])} == {4}
    assert abstain_below(p, [0, 0, 1, 1], 0.6) is None
    assert abstain_below(p, [0, 0, 0, 1], 0.75) == 0.8


def test_where_to_abstain() -> None:
    p = np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.6, 0.4]])
    assert abstain_below(p, [0, 1, 0, 1], 1.0) == 0.9
    assert abstain_below(p, [0, 1, 0, 1], 0.6) == 0.7
    assert abstain_below(p, [0, 1, 0, 1], 0.5) == 0.6
    assert abstain_below(p, [1, 1, 1, 1], 0.5) is None


def test_an_interval_is_scipys_where_both_can_be_had() -> None:
    # One clip for each voice and one class: then it is the plain bootstrap of a mean.
    right = (np.random.default_rng(1).random(60) < 0.7).astype(np.int64)
    found = intervals_95(np.ones(60, np.int64), right, [str(i) for i in range(60)], 2)
    theirs = bootstrap((right,), np.mean, n_resamples=4000, method="percentile", rng=0).confidence_interval
    assert found["accuracy"] == pytest.approx((theirs.low, theirs.high), abs=0.02)
    assert found["recall"][0] is None
    assert found["recall"][1] == found["accuracy"]


def test_the_interval_of_uar_is_scipys() -> None:
    rng = np.random.default_rng(6)
    us, uk = ((rng.random(n) < share).astype(np.int64) for n, share in ((90, 0.8), (25, 0.4)))
    truth = np.repeat([0, 1], [90, 25])
    answers = np.concatenate([1 - us, uk])
    found = intervals_95(truth, answers, [str(i) for i in range(115)], 2, draws=4000)["uar"]
    theirs = bootstrap(
        (us, uk),
        lambda a, b, axis: (a.mean(axis) + b.mean(axis)) / 2,
        n_resamples=4000,
        method="percentile",
        rng=0,
    ).confidence_interval
    assert found == pytest.approx((theirs.low, theirs.high), abs=0.015)


def test_a_class_with_one_voice_leaves_the_others_their_intervals() -> None:
    truth = np.array([0, 0, 0, 1, 1])
    found = intervals_95(truth, [0, 1, 0, 1, 1], ["a", "b", "c", "d", "d"], 2)
    assert found["uar"] is None
    recall = found["recall"]
    assert recall[1] is None
    assert recall[0] is not None


def test_a_difference_of_the_same_is_none_and_of_another_is_paired() -> None:
    rng = np.random.default_rng(2)
    truth = np.repeat([0, 1], 100)
    names = [str(i) for i in range(200)]
    answers = np.where(rng.random(200) < 0.6, truth, 1 - truth)
    assert difference_95(truth, answers, answers, names, 2) == (0.0, 0.0)
    better = answers.copy()
    wrong = np.flatnonzero(answers != truth)[:20]
    better[wrong] = truth[wrong]
    low, high = difference_95(truth, answers, better, names, 2) or (0.0, 0.0)
    # The 20 that changed are all that it sees: far narrower than two intervals of 0.1 each.
    assert 0.05 < low < 0.1 < high < 0.15
    assert difference_95([0, 1, 1], [0, 1, 1], [0, 1, 0], ["a", "b", "c"], 2) is None
