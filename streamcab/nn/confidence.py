"""Calibration of a mean probability: a temperature, and the limits beyond which not to believe an answer.

The first two are fitted on validation by `streamcab evaluate --fit-temperature`, the limit of `other` by
`streamcab_train.other_head`; all travel in a checkpoint's card. The one place where they are applied, to whole answers
and never to a single c_t, offline and live alike. Knows nothing of windows, models or files.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

TINY = 1e-7
"""Keras' epsilon in the logarithm of a probability, as in the loss."""
COLDEST, HOTTEST = 0.05, 20.0
"""Between which a temperature can lie."""


@dataclass(frozen=True)
class Confidence:
    """What is applied to the answers of a model.

    Attributes:
        temperature: 1 leaves answers as they are.
        abstain_below: Least confidence of an answer that is sure; None where no threshold was chosen.
        abstain_other: `other` from which on an answer is not sure; None where no limit was chosen.
    """

    temperature: float = 1.0
    abstain_below: float | None = None
    abstain_other: float | None = None

    @classmethod
    def of(cls, card: Mapping[str, Any]) -> "Confidence":
        """Read the confidence from a checkpoint's card, which may lack it.

        Raises:
            ValueError: The card's values are impossible.
        """
        temperature, below = _number(card, "calibration", "temperature"), _number(card, "abstain", "below")
        if temperature is not None and not COLDEST <= temperature <= HOTTEST:
            raise ValueError(f"its temperature is {temperature}; it can be {COLDEST} to {HOTTEST}")
        if below is not None and not 0 <= below <= 1:
            raise ValueError(f"it abstains below {below}; a confidence lies in 0 to 1")
        other = _number(card, "abstain", "other")
        if other is not None and not 0 <= other <= 1:
            raise ValueError(f"it abstains from an other of {other} on, which lies in 0 to 1")
        return cls(1.0 if temperature is None else temperature, below, other)

    def __call__(self, means: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return means (n, labels) as they are to be shown; rows of zeros, which say nothing, stay."""
        if self.temperature == 1:
            return means
        return np.where(means.any(1, keepdims=True), tempered(means, self.temperature), means)

    def sure(self, confidence: float, other: float | None = None) -> bool | None:
        """Return whether an answer is within the limits; None without a threshold of confidence."""
        if self.abstain_below is None:
            return None
        return confidence >= self.abstain_below and not self.is_other(other)

    def is_other(self, other: float | None) -> bool:
        """Return whether an accent is rather of none of the labels; False without a limit."""
        return other is not None and self.abstain_other is not None and other >= self.abstain_other


BARE = Confidence()
"""Answers as they are."""


def odds_of(scores: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Turn scores of `other` into what is shown, 0 to 1."""
    shown: NDArray[np.float64] = 1 / (1 + np.exp(-np.clip(scores, -50, 50)))
    return shown


def tempered(probabilities: ArrayLike, temperature: float) -> NDArray[np.float64]:
    """Return p^(1/T), summing to 1 again: above 1 less sure, below 1 surer; the order of the classes stays.

    (n, labels); Guo et al., ICML 2017, on the logarithm of the mean, since CAB-CNN has no logits of a clip.
    """
    logs = np.log(np.maximum(np.asarray(probabilities, np.float64), TINY)) / temperature
    powers = np.exp(logs - logs.max(1, keepdims=True))
    both: NDArray[np.float64] = powers / powers.sum(1, keepdims=True)
    return both


def _number(card: Mapping[str, Any], section: str, key: str) -> float | None:
    table = card.get(section)
    value = table.get(key) if isinstance(table, Mapping) else None
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"its {section}.{key} is {value!r}; it must be a number")
    return float(value)
