"""What an epoch draws: cut as the paper cuts, balanced if asked, and the same for the same seed and epoch."""

from collections import Counter

import numpy as np
import pytest
from streamcab_train.batches import Selection, training_batches, whole_clips
from streamcab_train.features import Features
from streamcab_train.recipe_keys import TrainingKeys

from streamcab.dsp.gate import MISSING, SILENT, VOICED

INTERVAL_S = 0.025


def selection(lengths: list[int], y: list[int] | None = None, gate: bool = True) -> Selection:
    """Interval j of clip i holds the value 1000 * i + j; kinds go SILENT, VOICED, MISSING in turn."""
    length = np.array(lengths)
    x = np.concatenate([1000 * i + np.arange(n) for i, n in enumerate(lengths)]).astype(np.float32)
    kind = np.concatenate([np.arange(n) % 3 for n in lengths]).astype(np.uint8)
    features = Features(x[:, None], kind, np.cumsum(length) - length, length, ("",) * len(lengths))
    return Selection(features, np.arange(len(lengths)), np.array(y or [0] * len(lengths)), gate)


def test_a_batch_is_cut_to_its_shortest_clip() -> None:
    (batch,) = training_batches(selection([50, 30, 40]), TrainingKeys(), INTERVAL_S, 1)
    assert batch.x.shape == (3, 30)
    assert sorted(batch.x[:, 0]) == [0, 1000, 2000]
    np.testing.assert_array_equal(np.diff(batch.x), 1)


def test_at_most_t_seconds_are_heard() -> None:
    (batch,) = training_batches(selection([50, 30]), TrainingKeys(seconds=0.25), INTERVAL_S, 1)
    assert batch.x.shape == (2, 10)


def test_random_crops_reach_every_part_of_a_clip() -> None:
    keys = TrainingKeys(seconds=0.25, crop="random")
    some = selection([20])
    starts = {int(b.x[0, 0]) for epoch in range(200) for b in training_batches(some, keys, INTERVAL_S, epoch)}
    assert starts == set(range(11))


def test_an_epoch_is_every_clip_once() -> None:
    some = selection([10] * 23)
    batches = list(training_batches(some, TrainingKeys(batch=5), INTERVAL_S, 1))
    assert [len(b.y) for b in batches] == [5, 5, 5, 5, 3]
    assert sorted(int(v) // 1000 for b in batches for v in b.x[:, 0]) == list(range(23))


def test_seed_and_epoch_decide() -> None:
    some = selection([10] * 30)

    def order(seed: int, epoch: int) -> list[float]:
        return [
            v for b in training_batches(some, TrainingKeys(seed=seed), INTERVAL_S, epoch) for v in b.x[:, 0]
        ]

    assert order(1, 1) == order(1, 1)
    assert order(1, 1) != order(1, 2)
    assert order(1, 1) != order(2, 1)


def test_balanced_draws_each_class_equally_often_and_no_clip_much_more_than_another() -> None:
    y = [0] * 20 + [1] * 4 + [2] * 3
    some = selection([10] * 27, y)
    batches = list(training_batches(some, TrainingKeys(balanced=True), INTERVAL_S, 1))
    assert Counter(int(v) for b in batches for v in b.y) == {0: 9, 1: 9, 2: 9}
    drawn = Counter(int(v) // 1000 for b in batches for v in b.x[:, 0])
    assert max(drawn[i] for i in range(20)) == 1
    assert {drawn[i] for i in range(20, 24)} == {2, 3}
    assert {drawn[i] for i in range(24, 27)} == {3}


@pytest.mark.parametrize(("gate", "votes"), [(True, {VOICED}), (False, {VOICED, SILENT})])
def test_the_gate_says_who_votes(gate: bool, votes: set[int]) -> None:
    (batch,) = training_batches(selection([9], gate=gate), TrainingKeys(), INTERVAL_S, 1)
    assert batch.votes[0].tolist() == [kind in votes for kind in (SILENT, VOICED, MISSING)] * 3


@pytest.mark.parametrize(("crop", "heard"), [("first", 10), ("random", 50)])
def test_clips_are_judged_by_what_they_were_trained_on(crop: str, heard: int) -> None:
    keys = TrainingKeys(seconds=0.25, crop=crop)
    first, second = whole_clips(selection([50, 4], [0, 1]), keys, INTERVAL_S)
    assert (first.x.shape, second.x.shape) == ((1, heard), (1, 4))
    assert second.y.tolist() == [1]
