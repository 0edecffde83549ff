"""Opinions: the regression is scikit-learn's, classes weigh alike, and no clip is judged by what it taught."""

import numpy as np
from sklearn.linear_model import LogisticRegression
from streamcab_train.opinion import balance, fewer, opinions, regress

RNG = np.random.default_rng(0)


def drawn(n: int, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    y = rng.integers(0, classes, n)
    return (rng.standard_normal((n, 6)) + 0.8 * np.eye(classes, 6)[y]).astype(np.float32), y


def test_it_is_the_regression_of_scikit_learn() -> None:
    x, y = drawn(300)
    weight = np.random.default_rng(2).uniform(0.5, 2, len(y))
    mine = regress(x, y, weight, 2.0)(x)
    z = (x - x.mean(0)) / (x.std(0) + 1e-6)
    theirs = LogisticRegression(C=0.5, max_iter=1000, tol=1e-8).fit(z, y, sample_weight=weight)
    np.testing.assert_allclose(mine, theirs.predict_proba(z), atol=2e-3)


def test_each_class_weighs_the_same_and_a_small_corpus_more_than_its_share() -> None:
    y = np.array([0] * 80 + [0] * 20 + [1] * 10)
    corpora = np.array(["big"] * 80 + ["small"] * 20 + ["big"] * 10)
    w = balance(y, corpora)
    np.testing.assert_allclose([w[y == 0].sum(), w[y == 1].sum()], 55)
    small = w[(y == 0) & (corpora == "small")].sum() / 55
    assert 0.2 < small < 0.5


def test_a_label_that_is_noise_is_not_repeated_to_its_own_group() -> None:
    rng = np.random.default_rng(3)
    n, per = 120, 4
    groups = np.repeat([f"g{i}" for i in range(n // per)], per)
    x = np.repeat(rng.standard_normal((n // per, 40)), per, 0).astype(np.float32)
    y = np.repeat(rng.integers(0, 2, n // per), per)
    told = opinions(x, y, np.array(["c"] * n), groups, penalty=1e-3)
    # Learnt by heart it would be right each time; a group that was not seen is a guess.
    assert (told.argmax(1) == y).mean() < 0.75
    np.testing.assert_allclose(told.sum(1), 1)


def test_clips_without_a_label_have_an_opinion_too() -> None:
    x, y = drawn(200)
    known = y.copy()
    known[:50] = -1
    told = opinions(x, known, np.array(["c"] * 200), np.array([f"g{i}" for i in range(200)]), penalty=1.0)
    assert (told[:50].argmax(1) == y[:50]).mean() > 0.5


def test_of_too_many_clips_whole_groups_are_left_out() -> None:
    y = np.array([0] * 100 + [1] * 7 + [-1] * 3)
    groups = np.array([f"g{i // 4}" for i in range(110)])
    kept = fewer(y, groups, 30, seed=1)
    assert (kept[100:] == y[100:]).all()
    own = groups[:100][kept[:100] == 0]
    assert 26 < len(own) <= 30
    assert all((kept[:100][groups[:100] == name] == 0).all() for name in set(own.tolist()))
    assert (fewer(y, groups, 100, seed=1) == y).all()
