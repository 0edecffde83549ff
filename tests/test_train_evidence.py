"""The evidence layer is scikit-learn's discriminant; fitted to voices, it tells them by their moments."""

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from streamcab_train.evidence import chosen_shrinkage, discriminant

from streamcab.errors import CorpusError


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


def noisy(
    voices: int, features: int, seed: int, mixed: bool = True
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Two clips of each voice, whose numbers vary together by the voice; one direction tells the classes."""
    rng = np.random.default_rng(seed)
    y = np.repeat(np.arange(2), voices)
    mixing = rng.normal(0, 1, (features, features)) if mixed else np.eye(features)
    of_voice = rng.normal(0, 1, (2 * voices, features)) @ mixing
    of_voice[:, 0] += 3 * y
    x = np.repeat(of_voice, 2, axis=0) + 0.01 * rng.normal(0, 1, (4 * voices, features))
    return x, np.repeat(y, 2), [f"v{i // 2}" for i in range(4 * voices)]


def test_the_shrinkage_is_the_one_that_tells_unheard_voices() -> None:
    # With many voices the covariance is known and worth most as it is; shrunk to nothing it says little here.
    x, y, names = noisy(150, 12, 3)
    assert chosen_shrinkage(x, y, names, (0.0, 1.0), 0) == 0.0
    # With no more voices than numbers, none of which goes with another, the covariance is empty talk.
    x, y, names = noisy(25, 40, 3, mixed=False)
    assert chosen_shrinkage(x, y, names, (0.0, 0.5), 0) == 0.5
    assert chosen_shrinkage(x, y, names, (0.3,), 0) == 0.3


def test_inner_folds_keep_a_voice_on_one_side_and_need_two_of_each_class(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    x, y, names = noisy(7, 4, 5)
    seen = []

    def watched(some: np.ndarray, of: np.ndarray, shrinkage: float) -> tuple[np.ndarray, np.ndarray]:
        seen.append({tuple(row) for row in some})
        return discriminant(some, of, shrinkage)

    monkeypatch.setattr("streamcab_train.evidence.discriminant", watched)
    chosen_shrinkage(x, y, names, (0.5,), 0)
    assert len(seen) == 20
    for fitted in seen:
        held = {name for name, row in zip(names, x, strict=True) if tuple(row) not in fitted}
        assert held
        assert not held & {name for name, row in zip(names, x, strict=True) if tuple(row) in fitted}
    with pytest.raises(CorpusError, match="a class has only one"):
        chosen_shrinkage(x[:16], np.r_[np.zeros(14, np.int64), 1, 1], names[:16], (0.5,), 0)
