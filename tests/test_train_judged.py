"""Figures of a model on who was kept apart."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score
from streamcab_train.judged import rank_auc


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=40))
def test_the_auc_is_scikit_learns(pairs: list[tuple[int, bool]]) -> None:
    score, positive = (np.array(some) for some in zip(*pairs, strict=True))
    if positive.all() or not positive.any():
        assert np.isnan(rank_auc(score, positive))
    else:
        assert rank_auc(score, positive) == pytest.approx(roc_auc_score(positive, score))
