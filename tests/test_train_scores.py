"""Scores against those that the paper prints for its own confusion matrices (spec, section 5)."""

import numpy as np
import pytest
from streamcab_train.scores import confusion_matrix, interval_95, scores

PAPER = {
    "CAB-CNN-5s": ([[219, 9, 2], [9, 185, 0], [10, 12, 78]], (0.9198, 0.8953, 0.9092)),
    "CAB-CNN-10s": ([[222, 8, 0], [1, 192, 1], [7, 7, 86]], (0.9542, 0.9383, 0.9475)),
    "CAB-CNN-30s": ([[226, 4, 0], [2, 191, 1], [8, 6, 86]], (0.9599, 0.9424, 0.9523)),
    "CAB-CNN-60s": ([[224, 5, 1], [3, 191, 0], [10, 9, 81]], (0.9466, 0.9228, 0.9356)),
    "VGG11-A": ([[213, 7, 10], [9, 176, 9], [24, 12, 64]], (0.8645, 0.8244, 0.8331)),
    "AttentionCNN": ([[208, 11, 11], [7, 179, 8], [22, 13, 65]], (0.8626, 0.8257, 0.8330)),
}


@pytest.mark.parametrize("model", PAPER)
def test_scores_are_those_that_the_paper_prints(model: str) -> None:
    matrix, printed = PAPER[model]
    s = scores(matrix)
    assert (round(s.accuracy, 4), round(s.uar, 4), round(s.f1, 4)) == printed


def test_recall_of_each_class_and_their_mean() -> None:
    s = scores([[3, 1], [1, 1]])
    assert s.recall.tolist() == [0.75, 0.5]
    assert s.uar == 0.625
    assert s.accuracy == pytest.approx(4 / 6)


def test_a_class_without_clips_counts_in_no_mean() -> None:
    s = scores([[2, 0, 0], [0, 1, 1], [0, 0, 0]])
    assert s.uar == 0.75
    assert np.isnan(s.recall[2])
    assert s.f1 == pytest.approx((1 + 2 / 3) / 2)


def test_truth_is_in_rows_and_answers_in_columns() -> None:
    assert confusion_matrix([0, 0, 1], [1, 1, 0], 3).tolist() == [[0, 2, 0], [1, 0, 0], [0, 0, 0]]


def test_the_interval_holds_the_score_and_is_reproducible() -> None:
    truth = [0] * 40 + [1] * 10
    answers = [0] * 30 + [1] * 10 + [1] * 6 + [0] * 4
    speakers = [str(i) for i in range(50)]
    found = interval_95(truth, answers, speakers, 2)
    assert found is not None
    low, high = found
    uar = (0.75 + 0.6) / 2
    assert low < uar < high
    # The binomial deviation of each class' recall, by hand.
    deviation = np.sqrt(0.75 * 0.25 / 40 + 0.6 * 0.4 / 10) / 2
    assert high - low == pytest.approx(2 * 1.96 * deviation, rel=0.1)
    assert interval_95(truth, answers, speakers, 2) == (low, high)


def test_one_voice_of_a_class_gives_no_interval() -> None:
    assert interval_95([0, 0, 1, 1], [0, 0, 1, 0], ["a", "b", "c", "c"], 2) is None


def test_clips_of_one_voice_are_no_independent_evidence() -> None:
    rng = np.random.default_rng(0)
    hit = rng.random(20) < 0.6
    truth, answers = np.repeat([0, 1], 100), np.repeat(np.where(hit, 0, 1), 10)
    answers[100:] = 1 - answers[100:]
    single = interval_95(truth, answers, [str(i) for i in range(200)], 2)
    voices = interval_95(truth, answers, [str(i // 10) for i in range(200)], 2)
    assert single is not None
    assert voices is not None
    assert voices[1] - voices[0] > 2 * (single[1] - single[0])
