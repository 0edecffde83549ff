"""A model with evidence, streamed in random chunks through pauses, against the whole clip."""

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray
from speech import SMALL_STAGES, silence, talk, tiny_model

from streamcab.classifier import Classifier
from streamcab.nn.cabcnn import CabCnn
from streamcab.nn.checkpoint import Checkpoint


def check_streamed_evidence(model: CabCnn, rate: int) -> None:
    """The last answer is the offline one, and its evidence weighs in it."""
    classifier = Classifier(Checkpoint(model))
    x = np.concatenate([silence(0.7, rate), talk(9, rate, 3), silence(1.3, rate), talk(6, rate, 4)])
    offline = classifier.classify(x, rate)
    bare = Classifier(Checkpoint(tiny_model(4, stages=SMALL_STAGES, classifiers=8))).classify(x, rate)
    assert max(abs(offline.probs[k] - bare.probs[k]) for k in offline.probs) > 0.01
    rng, stream, at, said = np.random.default_rng(5), classifier.stream(rate), 0, []
    while at < len(x):
        size = int(np.exp(rng.uniform(0, np.log(2 * rate))))
        said += stream.push(x[at : at + size])
        at += size
    said += stream.finish()
    for label, p in offline.probs.items():
        assert said[-1].probs[label] == pytest.approx(p, abs=1e-5)


def talk_of(votes: Sequence[bool] | NDArray[np.bool_], length: int, second: int = 40) -> list[int]:
    """Which intervals of a stream its window of so many holds or held since it was emptied last, given those that
    vote: they, and the second after each."""
    found: list[int] = []
    since = length
    for k, vote in enumerate(votes):
        since = 0 if vote else since + 1
        if since == length:
            found = []
        elif since <= min(second, length - 1):
            found.append(k)
    return found
