"""A clip's answer together with its explanation: both from one vote on the same intervals. Knows nothing of files."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamcab.classifier import DEFAULT, Classifier
from streamcab.inference import voices
from streamcab.inference.engine_output import voting
from streamcab.inference.explanation import Course, Explanation, explain
from streamcab.inference.offline import intervals
from streamcab.message import Prediction
from streamcab.nn.weights import detector_of


@dataclass(frozen=True)
class Explained:
    """A clip, its answer and the explanation.

    Attributes:
        name: Of the clip.
        seconds: Its length.
        labels: Of the model.
        answer: The answer.
        explanation: The explanation.
        evidence: Whether the answer weighs more than the mean of c_t.
    """

    name: str
    seconds: float
    labels: list[str]
    answer: Prediction
    explanation: Explanation
    evidence: bool


def explained(
    classifier: Classifier, samples: NDArray[np.float32], rate: int, *, gate: bool | None, name: str
) -> Explained:
    """Explain the answer of `classify`; raise AudioError where there is none."""
    answer = classifier.classify(samples, rate, gate=gate, name=name)
    checkpoint, arch = classifier.checkpoint, classifier.architecture
    runtime = classifier.runtime_of_voices if arch.voice else classifier.runtime
    answered, heard = intervals(runtime, samples, rate, detector_of(checkpoint.weights))
    kind = heard.kind[0]
    votes = voting(kind, arch.gate if gate is None else gate)
    numbers = voices.course(checkpoint.net, answered.u, votes, max(DEFAULT.voices, 2))
    course = Course(arch.interval_s, answered.c, answered.alpha, votes, kind, heard.power[0], numbers)
    label = None if answer.top is None else classifier.labels.index(answer.top)
    told = explain(course, label, checkpoint.confidence.temperature)
    return Explained(name, len(samples) / rate, classifier.labels, answer, told, arch.summary > 0)
