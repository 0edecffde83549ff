"""`verify` finds the streamed answer equal to the offline one, and says so when it is not."""

import numpy as np
import pytest
import torch
from speech import SMALL_STAGES, noise, silence, talk, tiny_model

from streamcab.classifier import Classifier
from streamcab.nn.checkpoint import Checkpoint
from streamcab.verify import TOLERANCE, verify


@pytest.fixture(scope="module")
def clf() -> Classifier:
    return Classifier(Checkpoint(tiny_model(0, stages=SMALL_STAGES, classifiers=8)))


@pytest.mark.parametrize("rate", [8000, 22050, 48000])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_talk_streams_as_it_stands(clf: Classifier, rate: int, seed: int) -> None:
    x = np.concatenate([noise(1, rate, rms=1e-3), talk(4, rate, seed), silence(0.4, rate)])
    verdict = verify(clf, x, rate, seed)
    assert verdict.equal
    assert verdict.difference <= TOLERANCE == 1e-5
    assert verdict.intervals == 216
    assert 40 < verdict.voiced < 160
    assert verdict.chunks > 5


@pytest.mark.parametrize("n", [0, 1, 150, 200, 1000])
def test_short_clips_are_verified_too(clf: Classifier, n: int) -> None:
    verdict = verify(clf, talk(1, seed=1)[:n], 8000)
    assert verdict.equal
    assert verdict.intervals == n // 200


def test_another_seed_cuts_elsewhere(clf: Classifier) -> None:
    x = talk(3, seed=2)
    assert len({verify(clf, x, 8000, seed).chunks for seed in range(6)}) > 1


def test_a_stream_that_answers_otherwise_is_found_out() -> None:
    clf = Classifier(Checkpoint(tiny_model(3, stages=SMALL_STAGES, classifiers=8)))
    x = talk(2, seed=3)
    assert verify(clf, x, 8000).equal
    changed = tiny_model(3, stages=SMALL_STAGES, classifiers=8)
    with torch.no_grad():
        changed.acb.classifiers.biases[-1][:, 0] += 0.01
    clf.stream = Classifier(Checkpoint(changed)).stream  # type: ignore[method-assign]
    verdict = verify(clf, x, 8000)
    assert not verdict.equal
    assert 1e-4 < verdict.difference < 0.1
