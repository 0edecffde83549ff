"""The odds that two means are of one voice are those of the normal distributions that they are said to have."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal, norm

from streamcab.nn.voice import Metric, shapes

METRIC = Metric(np.array([4.0, 1.5, 0.2]), np.array([0.3, 0.1, 0.5]), np.array([2.0, 1.0, 3.0]), 5.0)


def directly(known: np.ndarray, blocks: int, new: np.ndarray, new_blocks: int) -> float:
    found = 0.0
    for i, b in enumerate(METRIC.between):
        one = b + METRIC.drift[i] + METRIC.within[i] / blocks
        other = b + METRIC.drift[i] + METRIC.within[i] / new_blocks
        together = multivariate_normal([0, 0], [[one, b], [b, other]]).logpdf([known[i], new[i]])
        found += together - norm(0, one**0.5).logpdf(known[i]) - norm(0, other**0.5).logpdf(new[i])
    return float(found)


@pytest.mark.parametrize(("blocks", "new_blocks"), [(1, 1), (3, 5), (50, 3)])
def test_is_the_ratio_of_the_two_densities(blocks: int, new_blocks: int) -> None:
    rng = np.random.default_rng(blocks)
    for _ in range(5):
        known, new = rng.normal(0, 2, 3), rng.normal(0, 2, 3)
        got = METRIC.ratios(50, 8)(known, np.array(blocks), new, np.array(new_blocks))
        assert got == pytest.approx(directly(known, blocks, new, new_blocks), abs=1e-9)


def test_nothing_is_known_of_a_voice_without_blocks() -> None:
    known, new = np.ones((2, 3)), np.array([[0.0, 0, 0], [3, 1, 1]])
    got = METRIC.ratios(50, 8)(known, np.zeros(2, np.int64), new, np.full(2, 4))
    np.testing.assert_allclose(got, 0, atol=1e-12)


def test_comes_from_the_arrays_of_a_net() -> None:
    arrays = {f"voice.{name}": np.full(shape, 2, np.float32) for name, shape in shapes(3).items()}
    metric = Metric.of(arrays)
    assert metric.threshold == 2.0
    np.testing.assert_array_equal(metric.within, np.full(3, 2.0))
