"""The evidence layer is scikit-learn's discriminant; fitted to voices, it tells them by their moments."""

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from streamcab_train.evidence import discriminant


@pytest.mark.parametrize("shrinkage", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("sizes", [(40, 9, 6), (5, 5)])
def test_the_discriminant_is_scikit_learns(shrinkage: float, sizes: tuple[int, ...]) -> None:
    rng = np.random.default_rng(1)
    y = np.repeat(np.arange(len(sizes)), sizes)
    x = rng.normal(0, 1, (len(y), 30)) @ rng.normal(0, 1, (30, 30)) + 2 * y[:, None] + 5
    priors = [1 / len(sizes)] * len(sizes)
    theirs = make_pipeline(
        StandardScaler(), LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage, priors=priors)
    ).fit(x, y)
    weight, bias = discriminant(x, y, shrinkage)
    word = x @ weight.T + bias
    p = np.exp(word - word.max(1, keepdims=True))
    np.testing.assert_allclose(p / p.sum(1, keepdims=True), theirs.predict_proba(x), atol=1e-6)


def test_a_moment_that_never_changes_says_nothing() -> None:
    rng, y = np.random.default_rng(2), np.repeat([0, 1], 20)
    x = np.column_stack((np.full(40, 3.0), rng.normal(y, 1)))
    weight, bias = discriminant(x, y, 0.5)
    assert np.abs(weight[:, 0]).max() < 1e-9
    assert np.isfinite(bias).all()
