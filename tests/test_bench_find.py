"""The search for the largest number that holds, on oracles that answer at once."""

import pytest

from streamcab.bench.find import Found, find_max


@pytest.mark.parametrize("limit", [1, 2, 7, 99, 250, 251, 999, 1234, 5000, 19_999])
@pytest.mark.parametrize("start", [1, 250, 5000])
def test_what_it_finds_holds_and_is_within_its_precision(limit, start):
    asked = []

    def holds(n):
        asked.append(n)
        return n <= limit

    found = find_max(holds, start, 20_000)
    assert found.holds <= limit < found.fails
    assert found.fails - found.holds <= max(0.05 * found.fails, 1)
    assert len(asked) < 45


def test_it_stops_where_it_was_told():
    assert find_max(lambda n: True, 250, 1000) == Found(1000, None)


def test_nothing_holds():
    assert find_max(lambda n: False, 250, 1000) == Found(0, 1)


def test_one_bad_moment_is_forgiven():
    moments = iter([True, True, False])
    assert find_max(lambda n: n <= 500 and next(moments, True), 250, 500) == Found(500, None)
