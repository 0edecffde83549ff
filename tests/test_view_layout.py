"""How rows are dealt out: never more than there are, what matters first, and it keeps that in a higher picture."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streamcab.view.layout import ORDER, grant

BARS = st.integers(0, 40)
MOST = st.fixed_dictionaries({"attention": st.sampled_from([0, 2]), "answer": st.sampled_from([1, 3, 5])})


@given(st.integers(1, 120), BARS, MOST)
def test_no_more_rows_are_given_than_there_are_and_only_to_what_is_drawn(height, bars, most):
    given_ = grant(height, bars, most)
    assert sum(given_.values()) <= height
    assert all(rows > 0 for rows in given_.values())
    assert set(given_) <= {*ORDER, "footer"}
    assert given_["answer"] <= most["answer"]
    assert given_.get("attention", 0) <= most["attention"]
    assert given_.get("bars", 0) <= bars


@example(28, 7, {"attention": 0, "answer": 5})  # with row 29 the bars are spread, which takes six
@given(st.integers(1, 80), st.integers(1, 12), MOST)
def test_in_a_higher_picture_what_matters_keeps_what_it_had(height, bars, most):
    low, high = grant(height, bars, most), grant(height + 1, bars, most)
    # Strip and numbers may shrink: the air between bars comes before their height.
    for section in ("answer", "bars", "header", "footer"):
        assert high.get(section, 0) >= low.get(section, 0), section


def test_the_answer_comes_first_then_its_bars_then_the_rest():
    assert grant(1, 3, {}) == {"answer": 1}
    assert grant(3, 3, {}) == {"answer": 1, "bars": 2}
    assert grant(4, 3, {}) == {"answer": 1, "bars": 2, "header": 1}
    assert set(grant(7, 3, {})) == {"answer", "bars", "header", "strip", "numbers", "footer"}


def test_some_of_many_bars_are_better_than_none():
    assert grant(24, 60, {})["bars"] >= 10


@pytest.mark.parametrize("bars", [2, 3, 6])
def test_bars_are_spread_only_where_all_are_there_and_there_is_room_between_all(bars):
    assert grant(60, bars, {})["spread"] == bars - 1
    assert "spread" not in grant(12, bars, {})
